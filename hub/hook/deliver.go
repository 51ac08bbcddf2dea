package hook

import (
	"context"
	"time"
)

const (
	// retryAfterMost bounds what a backend may ask for with Retry-After.
	retryAfterMost = 10 * time.Minute
	// ackPause is between two tries to remove what was delivered.
	ackPause = 100 * time.Millisecond
)

// result is what came of one try.
type result struct {
	parcel  *parcel
	outcome outcome
	out     map[string]bool // entries that are out of the stream
	after   time.Duration   // the backend asked to wait
	posted  bool            // the endpoint was asked to take them
}

// outcome is what is to be done with the entries of a try that are not out.
type outcome uint8

const (
	outcomeDone     outcome = iota // all are out of the stream
	outcomeSkipped                 // likewise, but the backend has taken none
	outcomeFailed                  // to be tried again
	outcomeReleased                // the lease is lost, or the lane ends
)

// deliver sends the events of a parcel, which stand at entries, once. It runs on a
// goroutine of its own.
func (l *lane) deliver(ctx context.Context, p *parcel, entries []string) result {
	r := result{parcel: p, outcome: outcomeReleased, out: make(map[string]bool)}
	//bound:hook-requests
	select {
	case <-ctx.Done():
		return r
	case l.s.slots <- struct{}{}:
		defer func() { <-l.s.slots }()
	}
	events, err := l.fetch(ctx, entries)
	if err != nil {
		if ctx.Err() == nil {
			l.s.told.warn("hook: reading events", "err", err)
			r.outcome = outcomeFailed
		}
		return r
	}
	for _, entry := range entries {
		r.out[entry] = true // pushed out, and counted by who did that
	}
	for _, e := range events {
		delete(r.out, e.entry)
	}
	wanted, outcome := l.sift(ctx, events, &r)
	if r.outcome = outcome; outcome == outcomeSkipped && len(wanted) > 0 {
		r.outcome, r.after = l.post(ctx, wanted, &r)
	}
	return r
}

// sift removes the events that are not to be sent, and returns the others. The
// outcome is outcomeSkipped when they may be sent.
func (l *lane) sift(ctx context.Context, events []*stored, r *result) (wanted []*stored, o outcome) {
	for _, e := range events {
		switch {
		case e.id == "":
			o = l.discard(ctx, e)
		case l.sent.has(e.id):
			l.s.met.repeated.Inc()
			o = l.remove(ctx, removeDelivered, e)
		case !l.s.wanted.match(e.kind):
			l.s.met.unwanted.Inc()
			o = l.remove(ctx, removeUnwanted, e)
		case l.age(e) > l.s.cfg.MaxAge:
			o = l.giveUp(ctx, e)
		default:
			wanted = append(wanted, e)
			continue
		}
		if o == outcomeFailed || o == outcomeReleased {
			return nil, o
		}
		r.out[e.entry] = true
	}
	return wanted, outcomeSkipped
}

// post sends events and removes them when the endpoint has taken them: before that
// nothing later of their subjects is sent.
func (l *lane) post(ctx context.Context, events []*stored, r *result) (outcome, time.Duration) {
	if l.lapsed() {
		return outcomeReleased, 0 // this process stood still
	}
	begun, id, body := time.Now(), events[0].id, events[0].body
	if l.s.cfg.Batch > 0 {
		id, body = batchID(events), batchBody(events)
	}
	r.posted = true
	answer := l.s.endpoint.Post(ctx, id, body)
	if answer.Verdict != Delivered && ctx.Err() != nil {
		return outcomeReleased, 0 // we broke it off
	}
	l.s.count(answer, begun)
	switch answer.Verdict {
	case Delivered:
		return l.delivered(ctx, events, r), 0
	case Gone:
		l.s.stopForGood(id)
		return outcomeReleased, 0
	case Failed:
	}
	l.s.told.warn("hook: the backend does not take events", "id", id, "events", len(events), "event", events[0].kind,
		"subject", events[0].subject, "age", time.Since(events[0].at).Round(time.Second), "err", answer.Err)
	return outcomeFailed, min(answer.After, retryAfterMost)
}

// delivered removes what the endpoint has taken.
func (l *lane) delivered(ctx context.Context, events []*stored, r *result) outcome {
	for _, e := range events {
		l.s.met.lag.Observe(time.Since(e.at).Seconds())
		l.sent.add(e.id)
	}
	o := l.remove(ctx, removeDelivered, events...)
	if o == outcomeSkipped {
		o = outcomeDone
	}
	for _, e := range events {
		r.out[e.entry] = true
	}
	return o
}

// giveUp removes an event that is too old.
func (l *lane) giveUp(ctx context.Context, e *stored) outcome {
	o := l.remove(ctx, removeExpired, e)
	if o == outcomeSkipped {
		l.s.met.givenUp.WithLabelValues(givenUpExpired).Inc()
		l.s.told.warn("hook: events are given up", "reason", givenUpExpired, "id", e.id, "event", e.kind, "subject", e.subject,
			"age", time.Since(e.at).Round(time.Second))
	}
	return o
}

// remove takes events out of the stream and tries until it has an answer, or the
// lease is over. What was delivered may then be delivered again by another.
func (l *lane) remove(ctx context.Context, why removal, events ...*stored) outcome {
	for {
		_, holds, err := l.drop(ctx, l.s.self, why, events...)
		switch {
		case err == nil && !holds:
			return outcomeReleased
		case err == nil:
			return outcomeSkipped
		}
		l.s.told.warn("hook: removing events", "err", err)
		select {
		case <-ctx.Done():
			return outcomeReleased
		case <-time.After(ackPause):
		}
	}
}

// discard removes an entry that is not one of ours.
func (l *lane) discard(ctx context.Context, e *stored) outcome {
	if err := l.home.discard(ctx, e.entry); err != nil {
		return outcomeFailed
	}
	l.s.met.givenUp.WithLabelValues(givenUpMalformed).Inc()
	l.s.told.warn("hook: events are given up", "reason", givenUpMalformed, "stream", l.stream, "entry", e.entry)
	return outcomeSkipped
}
