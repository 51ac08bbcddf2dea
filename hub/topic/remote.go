package topic

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
)

// Asker asks another process; see call.Peer.
type Asker interface {
	Ask(ctx context.Context, to hub.ProcessID, method string, body []byte) ([]byte, error)
}

// Remote changes and reads the members of topics, wherever they are connected. It is
// safe for concurrent use. Its methods block until all processes that have to do with it
// have answered, or ctx ends; errors wrap hub.ErrUnavailable, or are those of call.Peer.
type Remote struct {
	index     *index.Index
	asker     Asker
	processes func() []hub.Process // those that hold connections
}

// NewRemote returns a Remote. processes returns those that live and hold connections.
func NewRemote(ix *index.Index, asker Asker, processes func() []hub.Process) *Remote {
	return &Remote{index: ix, asker: asker, processes: processes}
}

// Join makes all connections that users have now members of a topic. The fates are in
// the order of users, who must be distinct.
func (r *Remote) Join(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error) {
	return r.change(ctx, methodJoin, name, users)
}

// Leave ends the memberships of all connections of users in a topic.
func (r *Remote) Leave(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error) {
	return r.change(ctx, methodLeave, name, users)
}

func (r *Remote) change(ctx context.Context, method string, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error) {
	where, err := r.index.LocateNow(ctx, users, nil)
	if err != nil {
		return nil, fmt.Errorf("look up %d users: %w", len(users), err)
	}
	if n := len(where.Unavailable); n > 0 {
		return nil, fmt.Errorf("%w: the data shard of %d users does not answer", hub.ErrUnavailable, n)
	}
	places := make(map[hub.UserID]int, len(users))
	for i, u := range users {
		places[u] = i
	}
	fates := make([]hub.TopicFate, len(users))
	var mu sync.Mutex
	err = each(where.Groups, func(g index.Group) error {
		var did []hub.TopicFate
		if err := r.ask(ctx, g.Process, method, change{name, g.Users}, &did); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i, u := range g.Users[:min(len(did), len(g.Users))] {
			at := places[u]
			fates[at] = max(fates[at], did[i])
		}
		return nil
	})
	return fates, err
}

// Members is what is known of a topic's members.
type Members struct {
	Users       int      // of each process; one who is connected to several counts for each
	Connections int      // in all
	Processes   int      // that have some
	Page        []Member // the first that come after the place asked for, by name
}

// Members returns how many members a topic has, and the first limit of the users that
// come after the one named, by name.
func (r *Remote) Members(ctx context.Context, name hub.Topic, after hub.UserID, limit int) (Members, error) {
	where, err := r.index.Locate(ctx, []hub.UserID{name.Address()}, nil)
	if err != nil {
		return Members{}, fmt.Errorf("look up topic %s: %w", name, err)
	}
	if len(where.Unavailable) > 0 {
		return Members{}, fmt.Errorf("%w: the data shard of topic %s does not answer", hub.ErrUnavailable, name)
	}
	var mu sync.Mutex
	sum := Members{Processes: len(where.Groups)}
	all := make(map[hub.UserID]int)
	err = each(where.Groups, func(g index.Group) error {
		var m members
		if err := r.ask(ctx, g.Process, methodMembers, page{Topic: name, After: string(after), Limit: limit}, &m); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		sum.Users += m.Users
		sum.Connections += m.Connections
		for _, one := range m.Page {
			all[one.User] += one.Connections
		}
		return nil
	})
	for user, n := range all {
		sum.Page = append(sum.Page, Member{user, n})
	}
	slices.SortFunc(sum.Page, func(a, b Member) int { return cmp.Compare(a.User, b.User) })
	sum.Page = sum.Page[:min(limit, len(sum.Page))]
	return sum, err
}

// List returns the first limit topics that have members, begin with prefix and come
// after the one named, by name.
func (r *Remote) List(ctx context.Context, prefix string, after hub.Topic, limit int) ([]hub.TopicCount, error) {
	var mu sync.Mutex
	all := make(map[hub.Topic]int)
	err := each(r.processes(), func(p hub.Process) error {
		var counts []hub.TopicCount
		if err := r.ask(ctx, p.ID, methodList, page{Prefix: prefix, After: string(after), Limit: limit}, &counts); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, c := range counts {
			all[c.Topic] += c.Connections
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []hub.TopicCount
	for name, n := range all {
		out = append(out, hub.TopicCount{Topic: name, Connections: n})
	}
	slices.SortFunc(out, func(a, b hub.TopicCount) int { return strings.Compare(string(a.Topic), string(b.Topic)) })
	return out[:min(limit, len(out))], nil
}

// each calls f for all of some at once and returns the first error.
func each[T any](some []T, f func(T) error) error {
	errs := make([]error, len(some))
	var all sync.WaitGroup
	for i, one := range some {
		all.Go(func() { errs[i] = f(one) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Remote) ask(ctx context.Context, to hub.ProcessID, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := r.asker.Ask(ctx, to, method, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}
