package redisx

import "time"

// history is the replication offsets that a master had, oldest first, as far
// back as lag is worth telling apart.
type history struct{ samples []sample }

type sample struct {
	at     time.Time
	offset int64
}

const historySize = 64

// maxLag is how far behind a replica may be. Beyond it what it tells of who is
// where may send a message astray, and what is published reaches it too late;
// it is left until it has caught up to half of it. A delay between processes
// of tens of milliseconds is ordinary, and those who must not miss what was
// just written wait for it (WriteCopied).
const maxLag = time.Second

// lagKnown is how long after this process has noticed that a replica lags
// others may still read from it: each looks once a second. So long a write that
// must be found there waits for it.
const lagKnown = 2 * time.Second

// catchUp notes whether the node, a replica of master that follows it, lags
// too much, given how far behind it was at its last look.
func (m *member) catchUp(master *member, lag time.Duration) {
	switch {
	case master == nil: // there is nothing to catch up with, and nothing newer than what it has
	case m.known.role != roleReplica || m.known.replID != master.known.replID:
		m.lagging = false // what it lacks cannot be told
	case lag > maxLag && !m.lagging:
		m.lagging, m.lags = true, m.known.at
	case lag <= maxLag/2:
		m.lagging = false
	}
}

func (h *history) add(at time.Time, offset int64) {
	if len(h.samples) == historySize {
		copy(h.samples, h.samples[1:])
		h.samples = h.samples[:historySize-1]
	}
	h.samples = append(h.samples, sample{at, offset})
}

// lag says how far behind a replica was that had offset at the time at, in
// bytes and in time. It knows the master only at the moments of its samples:
// the lag is never more than it says by the time between two, and zero when
// the replica had all that the newest sample before at had.
func (h *history) lag(at time.Time, offset int64) (int64, time.Duration) {
	var bytes int64
	var since time.Time
	for _, s := range h.samples {
		if s.at.After(at) {
			break
		}
		if s.offset <= offset {
			since, bytes = time.Time{}, 0
			continue
		}
		if since.IsZero() {
			since = s.at
		}
		bytes = s.offset - offset
	}
	if since.IsZero() {
		return 0, 0
	}
	return bytes, at.Sub(since)
}
