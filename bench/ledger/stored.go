package ledger

import (
	"fmt"
	"time"

	"github.com/homing/homing/hub"
)

// Device is one client of a user over all its connections: one that keeps its
// place in the user's inbox, and drops repeats. The client appends to Given and
// Resumes, and nobody reads them before Settle.
type Device struct {
	User    hub.UserID
	Service hub.Service
	Given   []Given
	Resumes []Resume
	// CameBack says that it must have been given all that was stored for it:
	// it has come back and asked after the load had ended, or should have.
	CameBack bool
}

// Given is one notification that a device's application was given.
type Given struct {
	Key

	At time.Time
	// Loose says that it came while the inbox could not be read, when there is
	// no order between what is stored.
	Loose bool
}

// Resume is an answer to a device that asked what it missed.
type Resume struct {
	Asked     time.Time
	Done      time.Time // the replay was given in full; zero: the connection ended before
	Recovered bool
}

// Device records a client.
func (b *Book) Device(user hub.UserID, service hub.Service) *Device {
	d := &Device{User: user, Service: service}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.devices = append(b.devices, d)
	return d
}

// settleStored accounts for everything that was to be kept.
func (a *account) settleStored(devices []*Device) {
	due := make(map[hub.UserID][]*Message)
	for _, m := range a.messages {
		if m.Stored && m.Outcome == Accepted {
			for _, u := range m.Users {
				due[u] = append(due[u], m)
			}
		}
	}
	for _, d := range devices {
		given := a.readGiven(d)
		for _, m := range due[d.User] {
			if m.names(d.User, d.Service) {
				a.demandStored(d, m, given)
			}
		}
		for i := range d.Resumes {
			a.checkResume(d, &d.Resumes[i], due[d.User], given)
		}
	}
}

// readGiven counts what a device gave to its application: each once, and what
// was stored in order. It returns when that was.
func (a *account) readGiven(d *Device) map[Key]time.Time {
	given := make(map[Key]time.Time, len(d.Given))
	newest := make(map[source]int)
	for _, g := range d.Given {
		m := a.messages[g.Key]
		if m == nil {
			continue // counted as misdelivered where it arrived
		}
		from := source{g.Sender, m.API}
		switch _, again := given[g.Key]; {
		case again:
			a.entry.Duplicated++
			a.tell("given twice", g.Key, fmt.Sprintf("to %s at %s", d.User, g.At.Format(clock)), d.User)
		case !m.Stored || m.Outcome != Accepted || m.Roamed || g.Loose || a.rules.excused(m) || a.rules.givesUp(m):
		case g.N < newest[from]:
			a.entry.StoredReordered++
			a.tell(fmt.Sprintf("stored and given out of order: after %d", newest[from]), g.Key, fmt.Sprintf("to %s at %s", d.User, g.At.Format(clock)), d.User)
		default:
			newest[from] = g.N
		}
		given[g.Key] = g.At
	}
	return given
}

// demandStored counts one stored notification for a device, if the device has
// asked for it.
func (a *account) demandStored(d *Device, m *Message, given map[Key]time.Time) {
	_, got := given[m.Key]
	switch {
	case got:
		a.entry.Stored++
	case d.CameBack || d.askedAfter(m.Answered):
		a.entry.Stored++
		a.entry.StoredLost++
		a.tell("stored and lost", m.Key, fmt.Sprintf("for %s, whose last answers to resume were %s", d.User, d.lastResumes()), d.User)
	}
}

// askedAfter reports whether a resume that was asked for after t was answered
// in full.
func (d *Device) askedAfter(t time.Time) bool {
	for _, r := range d.Resumes {
		if !r.Done.IsZero() && r.Asked.After(t) {
			return true
		}
	}
	return false
}

// checkResume compares what an answer said with what the device had then.
func (a *account) checkResume(d *Device, r *Resume, due []*Message, given map[Key]time.Time) {
	a.entry.Resumes++
	if r.Done.IsZero() {
		return
	}
	var missing *Message
	for _, m := range due {
		if !m.names(d.User, d.Service) || !m.Answered.Before(r.Asked) {
			continue
		}
		if at, got := given[m.Key]; !got || at.After(r.Done) {
			missing = m
		}
	}
	switch {
	case missing != nil && r.Recovered:
		a.entry.RecoveredWrong++
		a.tell("recovered, and it was missing", missing.Key, fmt.Sprintf("for %s, who asked at %s", d.User, r.Asked.Format(clock)), d.User)
	case missing == nil && !r.Recovered && !a.rules.Forgets:
		a.entry.RecoveredNeedless++
		if len(due) > 0 {
			a.tell("not recovered, and nothing was missing", due[0].Key, fmt.Sprintf("nor any other for %s, who asked at %s", d.User, r.Asked.Format(clock)), d.User)
		}
	}
}

// lastResumes names the last few answers.
func (d *Device) lastResumes() string {
	text := "none"
	for i, r := range d.Resumes[max(0, len(d.Resumes)-3):] {
		if i == 0 {
			text = ""
		}
		text += fmt.Sprintf(" %s (recovered %v)", r.Asked.Format(clock), r.Recovered)
	}
	return text
}
