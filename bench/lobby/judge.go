package lobby

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/homing/homing/bench/load"
)

// longestWait is the longest that is told apart, in microseconds.
const longestWait = 600_000_000

// Verdict is what the callers' books and the servers' say together.
type Verdict struct {
	Books load.Queue

	Put        int // tickets
	Taken      int // of those, that a server said to wait
	Refused    int // not taken, by the last answer
	Unanswered int // not taken, without an answer
	Known      int // tickets that servers know of at the end
	Retried    int // calls beyond a ticket's first

	Matches int // that tickets name
	Double  int // tickets, players, rooms and matches that were used twice
	Lost    int // tickets that were taken, and nobody knows of, or that ended as lost
	Left    int // that wait and could have been matched
	Wrong   int // canceled tickets that ended otherwise than their callers heard
	Unseen  int // matched tickets of which nobody has seen when their players were told

	Waits *hdrhistogram.Histogram // µs from a ticket's instant until its players were told
	Rare  *hdrhistogram.Histogram // the same of the players that were watched

	Broke []string // what was promised and not kept
}

// Judge reads the books; nothing may be under way. rareWithin is how long a rare
// player may wait.
func (l *Lobby) Judge(books load.Queue, rareWithin time.Duration) *Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := judge(l.tickets, books)
	v.Retried = l.retried
	v.decide(l.tickets, rareWithin)
	return v
}

func judge(tickets []*Ticket, books load.Queue) *Verdict {
	v := &Verdict{
		Books: books, Put: len(tickets),
		Waits: hdrhistogram.New(1, longestWait, 3), Rare: hdrhistogram.New(1, longestWait, 3),
	}
	m := meetings{match: make(map[string]*load.Match), ofUser: make(map[string]string), ofRoom: make(map[string]string)}
	for _, t := range tickets {
		v.add(t)
		v.addWait(t)
		if t.Status == "matched" {
			v.Double += m.add(t)
		}
	}
	v.Matches = len(m.match)
	if books.Tickets > 1 { // all who are left have come to the last step, which accepts all
		v.Left = books.Tickets
	}
	return v
}

func (v *Verdict) add(t *Ticket) {
	switch {
	case t.Taken:
		v.Taken++
	case t.Refused:
		v.Refused++
	default:
		v.Unanswered++
	}
	if t.Status != "" {
		v.Known++
	}
	if t.Taken && t.Status == "" || t.Status == "lost" {
		v.Lost++
	}
	if t.Canceled == Canceled && t.Status != "cancelled" || t.Canceled == Ended && t.Status == "cancelled" {
		v.Wrong++
	}
}

func (v *Verdict) addWait(t *Ticket) {
	switch {
	case t.Status != "matched":
	case t.Told.IsZero():
		v.Unseen++
	default:
		wait := min(max(1, t.Told.Sub(t.Due).Microseconds()), longestWait)
		_ = v.Waits.RecordValue(wait) // it is in range
		if t.Rare {
			_ = v.Rare.RecordValue(wait)
		}
	}
}

// meetings are the matches that tickets tell of.
type meetings struct {
	match  map[string]*load.Match
	ofUser map[string]string // the match of each player
	ofRoom map[string]string // the match that is played in each room
}

// add enters the match of a ticket, and returns how much in it was used twice.
func (m *meetings) add(t *Ticket) (double int) {
	if t.Match == nil {
		return 0
	}
	if known := m.match[t.Match.Match]; known == nil {
		m.match[t.Match.Match] = t.Match
		double += m.enter(t.Match)
	} else if known.Room != t.Match.Room {
		double++
	}
	if m.ofUser[t.User] != t.Match.Match { // the match is one of others
		double++
	}
	return double
}

func (m *meetings) enter(x *load.Match) (double int) {
	if other := m.ofRoom[x.Room]; other != "" {
		double++
	}
	m.ofRoom[x.Room] = x.Match
	for _, p := range x.Players {
		if other := m.ofUser[p.User]; other != "" { // of another match, or this one
			double++
		}
		m.ofUser[p.User] = x.Match
	}
	if len(x.Players) != 2 {
		double++
	}
	return double
}

// decide says what was not kept.
func (v *Verdict) decide(tickets []*Ticket, rareWithin time.Duration) {
	b := v.Books
	unverified := 0
	for _, t := range tickets {
		if t.Status == "matched" && t.Match == nil {
			unverified++
		}
	}
	v.breaks(v.Double, "used twice: tickets, players, rooms or matches")
	v.breaks(v.Lost, "tickets that were taken are lost")
	v.breaks(v.Left, "tickets wait that could have been matched")
	v.breaks(v.Wrong, "callers who canceled were told what was not so")
	v.breaks(v.Refused+v.Unanswered, "tickets were not taken by any server")
	v.breaks(unverified, "matched tickets whose match no server remembers")
	v.breaks(b.Ended.Expired, "tickets have expired")
	if b.Created != b.Ended.Sum()+b.Tickets {
		v.Broke = append(v.Broke, fmt.Sprintf("the books do not balance: %d created, %d ended, %d wait", b.Created, b.Ended.Sum(), b.Tickets))
	}
	if b.Created != v.Known {
		v.Broke = append(v.Broke, fmt.Sprintf("%d tickets were created by the books, and %d are known", b.Created, v.Known))
	}
	if longest := time.Duration(v.Rare.Max()) * time.Microsecond; longest > rareWithin {
		v.Broke = append(v.Broke, fmt.Sprintf("a player of the rating %.0f has waited for %v, want at most %v", RareRating, longest, rareWithin))
	}
}

func (v *Verdict) breaks(n int, what string) {
	if n > 0 {
		v.Broke = append(v.Broke, fmt.Sprintf("%d %s", n, what))
	}
}
