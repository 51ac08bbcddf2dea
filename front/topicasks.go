package front

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/homing/homing/hub"
)

// errBusy says that the loop takes no more work, or has ended.
var errBusy = fmt.Errorf("%w: the worker is busy or stops", hub.ErrUnavailable)

// onLoop has f called by the loop and waits until it was, or ctx ends.
func (w *Worker) onLoop(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !w.loop.Post(func() { f(); close(done) }) {
		return errBusy
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// JoinTopic makes all connections that users have here now members of a topic, tells
// them so, and returns what became of each user when others can find them there. It may
// be called from any goroutine and blocks until then, or until ctx ends.
func (w *Worker) JoinTopic(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error) {
	fates := make([]hub.TopicFate, 0, len(users))
	for some := range slices.Chunk(users, askUsers) {
		did, err := w.joinSome(ctx, name, some)
		if err != nil {
			return nil, err
		}
		fates = append(fates, did...)
	}
	return fates, nil
}

// askUsers is how many users join or leave in one turn of the loop.
const askUsers = 100

func (w *Worker) joinSome(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error) {
	fates := make([]hub.TopicFate, len(users))
	joined := make(chan error, 1)
	err := w.onLoop(ctx, func() {
		waits := 1
		one := func(err error) {
			if waits--; err != nil || waits == 0 {
				select {
				case joined <- err:
				default: // it was said before
				}
			}
		}
		for i, u := range users {
			fates[i] = w.joinUser(u, name, func() func(error) { waits++; return one })
		}
		one(nil)
	})
	if err != nil {
		return nil, err
	}
	select {
	case err := <-joined:
		if err != nil {
			return nil, fmt.Errorf("%w: %w", hub.ErrUnavailable, err)
		}
		return fates, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// joinUser makes a user's connections members; each that is none yet is waited for.
func (w *Worker) joinUser(user hub.UserID, name hub.Topic, wait func() func(error)) hub.TopicFate {
	fate := hub.TopicAway
	for c, next := w.sessions.users.newest[user], (*conn)(nil); c != nil; c = next {
		next = c.State.older() // what c is told may end it
		s := c.State.subscriptions()
		switch {
		case w.topics.member(c, name):
			fate = hub.TopicDone
			w.topics.whenFound(w.topics.byName[name], unlessLeft(wait()))
		case s != nil && len(s.of) >= hub.MaxTopics:
			if fate == hub.TopicAway {
				fate = hub.TopicFull
			}
		default:
			fate = hub.TopicDone
			done := unlessLeft(wait())
			w.topics.join(c, name, func(err error) {
				if err == nil && c.State.stage < stageClosing {
					w.subscribes.tell(c, "subscribed", name, nil)
				}
				done(err)
			})
		}
	}
	return fate
}

// unlessLeft calls done without an error for somebody who has left meanwhile.
func unlessLeft(done func(error)) func(error) {
	return func(err error) {
		if errors.Is(err, errTopicLeft) {
			err = nil
		}
		done(err)
	}
}

// LeaveTopic ends the memberships of all connections that users have here in a topic,
// tells them so, and returns what became of each user. It blocks as JoinTopic does.
func (w *Worker) LeaveTopic(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error) {
	fates := make([]hub.TopicFate, 0, len(users))
	for some := range slices.Chunk(users, askUsers) {
		did := make([]hub.TopicFate, len(some))
		err := w.onLoop(ctx, func() {
			for i, u := range some {
				did[i] = w.leaveUser(u, name)
			}
		})
		if err != nil {
			return nil, err
		}
		fates = append(fates, did...)
	}
	return fates, nil
}

func (w *Worker) leaveUser(user hub.UserID, name hub.Topic) hub.TopicFate {
	fate := hub.TopicAway
	for c, next := w.sessions.users.newest[user], (*conn)(nil); c != nil; c = next {
		next = c.State.older() // what c is told may end it
		fate = hub.TopicDone
		if w.topics.leave(c, name) {
			w.resumes.endCatchUp(c, name)
			w.subscribes.tell(c, "unsubscribed", name, nil)
		}
	}
	return fate
}

// askTopics is how many topics, or members of one, are looked at in one turn of the loop.
const askTopics = 1000

// inTurns calls part in turns of the loop until nothing is left, and then take, after
// each, with what it found. part is given where the one before it has begun, and looks at
// what is before that: of what is in no order, where the last takes the place of one that
// goes, nothing is missed that is there throughout, and something may be met twice.
func inTurns[T any](ctx context.Context, w *Worker, part func(before int) (found []T, from int), take func([]T)) error {
	for at := math.MaxInt; at > 0; {
		var found []T
		var from int
		if err := w.onLoop(ctx, func() { found, from = part(at) }); err != nil {
			return err // the loop may be at it yet
		}
		take(found)
		at = from
	}
	return nil
}

// TopicMembers returns the users of the connections that are members of a topic here,
// one for each, in no order. It blocks as JoinTopic does.
func (w *Worker) TopicMembers(ctx context.Context, name hub.Topic) ([]hub.UserID, error) {
	type member struct {
		user   hub.UserID
		joined uint64
	}
	var all []member
	err := inTurns(ctx, w, func(before int) (found []member, from int) {
		of := w.topics.byName[name]
		if of == nil {
			return nil, 0
		}
		before = min(before, len(of.members))
		from = max(0, before-askTopics)
		for _, c := range of.members[from:before] {
			found = append(found, member{c.State.user, c.State.joined})
		}
		return found, from
	}, func(found []member) { all = append(all, found...) })
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b member) int { return cmp.Compare(a.joined, b.joined) })
	all = slices.Compact(all)
	users := make([]hub.UserID, len(all))
	for i, m := range all {
		users[i] = m.user
	}
	return users, nil
}

// Topics returns the topics that have members here and begin with prefix, come after
// the topic after, and how many connections each has: the first limit of them by name.
// It blocks as JoinTopic does.
func (w *Worker) Topics(ctx context.Context, prefix string, after hub.Topic, limit int) ([]hub.TopicCount, error) {
	var counts []hub.TopicCount
	err := inTurns(ctx, w, func(before int) (found []hub.TopicCount, from int) {
		return w.topics.matching(prefix, after, before)
	}, func(found []hub.TopicCount) {
		if counts = append(counts, found...); len(counts) > limit+askTopics {
			counts = firstTopics(counts, limit)
		}
	})
	if err != nil {
		return nil, err
	}
	return firstTopics(counts, limit), nil
}

// matching returns those of the last askTopics topics before a place that begin with
// prefix and come after the topic after, and where it has begun.
func (t *topics) matching(prefix string, after hub.Topic, before int) (found []hub.TopicCount, from int) {
	before = min(before, len(t.all))
	from = max(0, before-askTopics)
	for _, of := range t.all[from:before] {
		if of.name > after && strings.HasPrefix(string(of.name), prefix) {
			found = append(found, hub.TopicCount{Topic: of.name, Connections: len(of.members)})
		}
	}
	return found, from
}

// firstTopics returns the first limit of counts by name, each topic once.
func firstTopics(counts []hub.TopicCount, limit int) []hub.TopicCount {
	slices.SortStableFunc(counts, func(a, b hub.TopicCount) int { return strings.Compare(string(a.Topic), string(b.Topic)) })
	counts = slices.CompactFunc(counts, func(a, b hub.TopicCount) bool { return a.Topic == b.Topic })
	return counts[:min(limit, len(counts))]
}
