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

// deliver sends the first event of s once. It runs on a goroutine of its own.
func (l *lane) deliver(ctx context.Context, s *subject, entry string) result {
	r := result{subject: s, outcome: outcomeReleased}
	//bound:hook-requests
	select {
	case <-ctx.Done():
		return r
	case l.s.slots <- struct{}{}:
		defer func() { <-l.s.slots }()
	}
	e, err := l.fetch(ctx, entry)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			l.s.told.warn("hook: reading an event", "err", err)
			r.outcome = outcomeFailed
		}
	case e == nil: // pushed out, and counted by who did that
		r.outcome = outcomeSkipped
	case e.id == "":
		r.outcome = l.discard(ctx, entry)
	case l.sent.has(e.id):
		l.s.met.repeated.Inc()
		r.outcome = l.remove(ctx, true, entry, e.id)
	case !l.s.wanted.match(e.kind):
		l.s.met.unwanted.Inc()
		r.outcome = l.remove(ctx, false, entry, e.id)
	case time.Since(e.at) > l.s.cfg.MaxAge:
		r.outcome = l.giveUp(ctx, s, entry, e)
	default:
		r.outcome, r.after = l.post(ctx, s, entry, e)
	}
	return r
}

// post sends e and removes it when the endpoint has taken it: before that nothing
// later of its subject is sent.
func (l *lane) post(ctx context.Context, s *subject, entry string, e *stored) (outcome, time.Duration) {
	if l.lapsed() {
		return outcomeReleased, 0 // this process stood still
	}
	begun := time.Now()
	answer := l.s.endpoint.Post(ctx, e.id, e.body)
	if answer.Verdict != Delivered && ctx.Err() != nil {
		return outcomeReleased, 0 // we broke it off
	}
	l.s.met.requests.WithLabelValues(answer.Verdict.String()).Inc()
	l.s.met.seconds.Observe(time.Since(begun).Seconds())
	switch answer.Verdict {
	case Delivered:
		l.s.met.lag.Observe(time.Since(e.at).Seconds())
		l.sent.add(e.id)
		return l.remove(ctx, true, entry, e.id), 0
	case Gone:
		l.s.stopForGood(e.id)
		return outcomeReleased, 0
	case Failed:
	}
	l.s.told.warn("hook: the backend does not take events", "id", e.id, "event", e.kind, "subject", s.name,
		"age", time.Since(e.at).Round(time.Second), "err", answer.Err)
	return outcomeFailed, min(answer.After, retryAfterMost)
}

// giveUp removes an event that is too old.
func (l *lane) giveUp(ctx context.Context, s *subject, entry string, e *stored) outcome {
	o := l.remove(ctx, false, entry, e.id)
	if o == outcomeSkipped {
		l.s.met.givenUp.WithLabelValues(givenUpExpired).Inc()
		l.s.told.warn("hook: events are given up", "reason", givenUpExpired, "id", e.id, "event", e.kind, "subject", s.name,
			"age", time.Since(e.at).Round(time.Second))
	}
	return o
}

// remove takes an event out of the stream and tries until it has an answer, or the
// lease is over. What was delivered may then be delivered again by another.
func (l *lane) remove(ctx context.Context, delivered bool, entry, id string) outcome {
	for {
		_, holds, err := l.drop(ctx, l.s.self, delivered, entry, id)
		switch {
		case err == nil && !holds:
			return outcomeReleased
		case err == nil && delivered:
			return outcomeDone
		case err == nil:
			return outcomeSkipped
		}
		l.s.told.warn("hook: removing an event", "err", err)
		select {
		case <-ctx.Done():
			return outcomeReleased
		case <-time.After(ackPause):
		}
	}
}

// discard removes an entry that is not one of ours.
func (l *lane) discard(ctx context.Context, entry string) outcome {
	if err := l.home.discard(ctx, entry); err != nil {
		return outcomeFailed
	}
	l.s.met.givenUp.WithLabelValues(givenUpMalformed).Inc()
	l.s.told.warn("hook: events are given up", "reason", givenUpMalformed, "stream", l.stream, "entry", entry)
	return outcomeSkipped
}
