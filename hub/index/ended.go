package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// Ended is a user of a process that died: nobody has the user now.
type Ended struct {
	User    hub.UserID
	Process hub.ProcessID // that died
	At      time.Time     // when that was found, by the clock of the user's data Redis
	Came    time.Time     // when it came, if the process may have told nobody; else zero
	// Back says that somebody has the user again: an earlier sweep may have died
	// before it told of its going.
	Back bool
}

// endedMost is how many users of dead processes are told of at once: a front
// takes so many in one envelope.
//
//bound:swept-users
const endedMost = hub.MaxUsers

// Tell has f called with the users whom the death of their process left without
// any, when this Index sweeps. Only when f returns nil they are forgotten; else, or
// when this process dies first, a later sweep tells of them again, with the same
// Process and At. Users that come in one sweep are told of together, up to 10,000.
// f may block until ctx ends.
//
// Every Index that sweeps must tell, or what it finds is told by nobody. Tell is
// called before Run.
func (ix *Index) Tell(f func(context.Context, []Ended) error) { ix.ended = f }

// mark has the users of r told of whom nobody else has, later.
func (s *sweep) mark(ctx context.Context, r removal) error {
	err := s.remove(ctx, r, s.note)
	s.marks = append(s.marks, r)
	if err == nil && len(s.ended) >= endedMost-walkPage {
		return s.tell(ctx)
	}
	return err
}

// note takes the reply of a call that marks.
func (s *sweep) note(keys []string, reply []any) error {
	if len(reply) != 2 {
		return fmt.Errorf("reply of %d values, want 2", len(reply))
	}
	list, _ := reply[1].([]any)
	for _, one := range list {
		e, err := s.read(keys, one)
		if err != nil {
			return err
		}
		s.ended = append(s.ended, e)
	}
	return nil
}

var errReply = errors.New("a reply that cannot be read")

// read reads what sweep.lua says of one user.
func (s *sweep) read(keys []string, one any) (e Ended, err error) {
	f, _ := one.([]any)
	if len(f) != 5 {
		return e, errReply
	}
	place, _ := f[0].(int64)
	if place < 1 || place > int64(len(keys)) {
		return e, errReply
	}
	process, _ := f[1].(string)
	what, _ := f[3].(string)
	e.User, _ = s.ix.keys.UserOf(keys[place-1])
	e.Process, e.Back = hub.ProcessID(process), what == "back"
	if came, _ := f[4].(string); came != "" {
		if e.Came, err = microseconds(came); err != nil {
			return e, err
		}
	}
	e.At, err = microseconds(f[2])
	return e, err
}

// markWait is how long replicas may take to have the marks.
const markWait = 2 * time.Second

// copied returns when every replica that is read from has the marks: whoever looks
// from now on sees that those users have gone.
func (s *sweep) copied(ctx context.Context) error {
	var shards []*redisx.Shard
	for _, r := range s.marks {
		if len(r.keys) == 0 || slices.Contains(shards, r.shard) {
			continue
		}
		shards = append(shards, r.shard)
		if _, err := r.shard.WriteCopied(ctx, markWait, func(redis.Pipeliner) {}); err != nil {
			return outage.During(fmt.Sprintf("waiting for the replicas of %s", r.shard.Name()), err)
		}
	}
	return nil
}

// tell tells of those who are marked, and removes the marks then.
func (s *sweep) tell(ctx context.Context) error {
	if len(s.marks) == 0 {
		return nil
	}
	byUser := func(a, b Ended) int { return cmp.Compare(a.User, b.User) }
	slices.SortStableFunc(s.ended, byUser) // a walk may meet a user twice
	s.ended = slices.CompactFunc(s.ended, func(a, b Ended) bool { return a.User == b.User })
	if len(s.ended) > 0 {
		if err := s.copied(ctx); err != nil {
			return err
		}
		if err := s.ix.ended(ctx, s.ended); err != nil {
			return fmt.Errorf("telling of %d users who have gone: %w", len(s.ended), err)
		}
	}
	marks := s.marks
	s.ended, s.marks = nil, nil
	for _, r := range marks {
		if err := s.remove(ctx, r, nil); err != nil {
			return err
		}
	}
	return nil
}
