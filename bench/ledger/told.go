package ledger

import (
	"fmt"
	"time"

	"github.com/homing/homing/hub"
)

// Reply is what the API says of the targets of a notification that it
// accepted, by the JSON names of its answer.
type Reply struct {
	Targets     int     `json:"targets"`
	Online      int     `json:"online"`
	Offline     int     `json:"offline"`
	Unavailable int     `json:"unavailable"`
	Report      *Report `json:"report"` // nil: the caller did not wait for one
}

// Report is what a caller is told that waited.
type Report struct {
	Written     int `json:"written"`
	Queued      int `json:"queued"`
	DroppedSlow int `json:"dropped_slow"`
	Offline     int `json:"offline"`
	Moved       int `json:"moved"`
	Stored      int `json:"stored"`
	Unavailable int `json:"unavailable"`
	Unknown     int `json:"unknown"`

	Users map[hub.UserID]string `json:"users"` // each target's fate
}

func (r *Report) sum() int {
	return r.Written + r.Queued + r.DroppedSlow + r.Offline + r.Moved + r.Stored + r.Unavailable + r.Unknown
}

// told is what an answer said of targets that did not hear: by name when there
// is a report, else by numbers, which are used up one by one.
type told struct {
	fates          map[hub.UserID]string // nil: only the numbers are known
	offlines, shut int                   // offline and unavailable targets not accounted for yet

	heldOffline int // targets held throughout that it said were offline
}

// told returns what m's answer said. Those who are offline without a doubt are
// taken off the number.
func (m *Message) told(targets []target) *told {
	if m.Reply == nil {
		return &told{}
	}
	if r := m.Reply.Report; r != nil && r.Users != nil {
		return &told{fates: r.Users}
	}
	t := &told{offlines: m.Reply.Offline, shut: m.Reply.Unavailable}
	for i := range targets {
		if targets[i].absent {
			t.offlines--
		}
	}
	return t
}

// offline reports whether the answer may have said that t was offline.
func (d *told) offline(t *target) bool {
	if d.fates != nil {
		return d.fates[t.user] == "offline"
	}
	d.offlines--
	return d.offlines >= 0
}

// unavailable reports whether the answer may have said that t's shard was.
func (d *told) unavailable(t *target) bool {
	if d.fates != nil {
		return d.fates[t.user] == "unavailable"
	}
	if t.absent {
		return false
	}
	d.shut--
	return d.shut >= 0
}

// checkReply compares what m's answer said with what is known.
func (a *account) checkReply(m *Message, targets []target, told *told) {
	r := m.Reply
	if r == nil {
		return
	}
	if r.Targets != len(targets) || r.Online+r.Offline+r.Unavailable != r.Targets {
		a.wrong(m, 1, fmt.Sprintf("counts: %d targets, %d online, %d offline, %d unavailable, of %d", r.Targets, r.Online, r.Offline, r.Unavailable, len(targets)), "")
	}
	certain, possible := 0, 0
	for i := range targets {
		if len(targets[i].held) > 0 {
			certain++
		}
		if !targets[i].absent {
			possible++
		}
	}
	if short := certain - r.Online - r.Unavailable - told.heldOffline; short > 0 && !a.rules.excused(m) {
		a.wrong(m, short, fmt.Sprintf("too few online: %d, and %d were connected throughout", r.Online, certain), "")
	}
	if r.Online > possible {
		a.wrong(m, r.Online-possible, fmt.Sprintf("too many online: %d, and %d can have been", r.Online, possible), "")
	}
	if r.Report != nil {
		a.checkReport(m, targets)
	}
}

func (a *account) checkReport(m *Message, targets []target) {
	r := m.Reply.Report
	if r.sum() != len(targets) || r.Users != nil && len(r.Users) != len(targets) {
		a.wrong(m, 1, fmt.Sprintf("report: of %d targets by count, %d by name, of %d", r.sum(), len(r.Users), len(targets)), "")
	}
	if r.Users == nil {
		return
	}
	for i := range targets {
		t := &targets[i]
		fate := r.Users[t.user]
		if fate == "unknown" {
			a.entry.ToldUnknown++
		}
		if why := a.lie(m, t, fate); why != "" {
			a.wrong(m, 1, fmt.Sprintf("%q: %s", fate, why), t.user)
		}
	}
}

func (a *account) wrong(m *Message, n int, what string, u hub.UserID) {
	a.entry.ToldWrong += n
	a.tell("told "+what, m.Key, fmt.Sprintf("for %q", u), u)
}

// lie says why the fate told of t cannot be true; empty: it can.
func (a *account) lie(m *Message, t *target, fate string) string {
	switch fate {
	case "written", "queued", "moved":
		if !t.reached && !t.tried { // else it may have gone to a connection that nobody read
			return a.unread(m, t, fate)
		}
	case "offline":
		if len(t.held) > 0 && !a.rules.excused(m) {
			return "connected throughout"
		}
	case "dropped_slow", "unavailable":
		if t.reached {
			return "it was read"
		}
	case "stored":
		if !m.Stored {
			return "nobody asked for that"
		}
	case "unknown":
	default:
		return "no such fate"
	}
	return ""
}

// unread says why something cannot have been sent to t and not been read;
// empty: it can.
func (a *account) unread(m *Message, t *target, fate string) string {
	for _, s := range t.sheets {
		stayed := s.openAt(m.Answered.Add(a.rules.Stayed))
		switch {
		case fate == "moved" && stayed && !s.Opened.After(m.Answered):
			return "it was never read, and a connection stayed"
		case fate == "written" && a.endedWith(s, m) && !stayed, fate == "queued" && a.endedWith(s, m):
			return ""
		case fate != "moved" && s.Roams && !s.closed.IsZero() && s.overlaps(m.Due.Add(-heartbeat), m.Answered):
			return ""
		}
	}
	if fate == "moved" {
		return ""
	}
	return "it was never read, and no connection ended"
}

// heartbeat is how long the system may take to notice that a client is gone which it has
// no connection of, so that there is none that ends.
const heartbeat = 36 * time.Second

// endedWith reports whether the connection was there for m, as far as the system could
// have noticed, and has ended.
func (a *account) endedWith(s *sheet, m *Message) bool {
	return !s.closed.IsZero() && s.overlaps(m.Due.Add(-a.rules.Noticed), m.Answered)
}
