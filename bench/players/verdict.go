package players

import (
	"time"
)

// Verdict is what the books say.
type Verdict struct {
	Players    int           `json:"players"`
	Said       int           `json:"said"`       // messages
	Unheard    int           `json:"unheard"`    // that nobody has heard
	Events     int           `json:"events"`     // messages that somebody has heard
	Heard      int           `json:"heard"`      // events, by all players
	Lost       int           `json:"lost"`       // events that a player of the room has not heard
	Duplicated int           `json:"duplicated"` // that one has heard twice
	Reordered  int           `json:"reordered"`  // that one has heard after a later one of the same player
	Backward   int           `json:"backward"`   // frames of a tick before one that was read
	Unwhole    int           `json:"unwhole"`    // connections that were told that events are missing
	Refused    int           `json:"refused"`    // messages
	Frames     int           `json:"frames"`
	Rejoins    int           `json:"rejoins"`
	Reseated   int           `json:"reseated"`   // rejoins on another seat
	TwoOwners  int           `json:"two_owners"` // rooms of which a frame of an owner was read after one of a later owner, by anybody
	TakenOver  int           `json:"taken_over"` // rooms of which frames of more than one owner were read
	LongestGap time.Duration `json:"-"`          // between two frames of a player
	Ended      []string      `json:"ended"`      // players whose seat has ended, and how
}

// Judge reads the books.
func (c *Crowd) Judge() (v Verdict) {
	by := make(map[string]*player, len(c.players))
	for _, p := range c.players {
		by[p.user] = p
		p.mu.Lock()
	}
	defer func() {
		for _, p := range c.players {
			p.mu.Unlock()
		}
	}()
	for _, p := range c.players {
		v.add(p)
	}
	for _, p := range c.players {
		v.judgeSaid(p, by)
	}
	v.judgeOwners(c.players)
	return v
}

// judgeOwners counts the rooms in which two owners were heard at a time: by all who hear
// what they are told at once, or by one of the others.
func (v *Verdict) judgeOwners(all []*player) {
	type hearers struct {
		room, late string // empty: all who are not late
	}
	spans := make(map[hearers]map[uint64]span)
	for _, p := range all {
		who := hearers{room: p.room}
		if p.late {
			who.late = p.user
		}
		of := spans[who]
		if of == nil {
			of = make(map[uint64]span)
			spans[who] = of
		}
		for epoch, s := range p.owners {
			sum, met := of[epoch]
			if !met || s.first.Before(sum.first) {
				sum.first = s.first
			}
			if s.last.After(sum.last) {
				sum.last = s.last
			}
			of[epoch] = sum
		}
	}
	takenOver, twoOwners := make(map[string]bool), make(map[string]bool)
	for who, of := range spans {
		if len(of) > 1 {
			takenOver[who.room] = true
		}
		if overlap(of) {
			twoOwners[who.room] = true
		}
	}
	v.TakenOver, v.TwoOwners = len(takenOver), len(twoOwners)
}

func overlap(of map[uint64]span) bool {
	for epoch, s := range of {
		for later, next := range of {
			if later > epoch && s.last.After(next.first) {
				return true
			}
		}
	}
	return false
}

func (v *Verdict) add(p *player) {
	v.Players++
	v.Said += p.said
	v.Frames += p.frames
	v.Refused += p.refused
	v.Backward += p.backward
	v.Unwhole += p.lost
	v.Rejoins += max(0, len(p.epochs)-1)
	v.Reseated += p.reseated
	v.LongestGap = max(v.LongestGap, p.gap)
	if p.end != "" {
		v.Ended = append(v.Ended, p.user+": "+p.end)
	}
	for _, all := range p.heard {
		seen := make(map[int]bool, len(all))
		highest := 0
		for _, h := range all {
			switch {
			case seen[h.number]:
				v.Duplicated++
			case h.number < highest:
				v.Reordered++
			}
			seen[h.number] = true
			highest = max(highest, h.number)
		}
		v.Heard += len(all)
	}
}

// judgeSaid counts who has not heard what p said and somebody heard.
func (v *Verdict) judgeSaid(p *player, by map[string]*player) {
	hearers := make(map[int]int, p.said)
	for _, other := range p.others {
		seen := make(map[int]bool)
		for _, h := range by[other].heard[p.user] {
			if !seen[h.number] {
				seen[h.number] = true
				hearers[h.number]++
			}
		}
	}
	v.Events += len(hearers)
	v.Unheard += p.said - len(hearers)
	for _, n := range hearers {
		v.Lost += len(p.others) - n
	}
}
