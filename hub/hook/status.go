package hook

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// State is what is done for an endpoint now.
type State string

// The states.
const (
	Sending    State = "sending"     // events are sent as they come
	BackingOff State = "backing_off" // the last request failed, and events wait
	IsGone     State = "gone"        // it answered 410, and has taken nothing since
	Unattended State = "unattended"  // no API server sends to it
)

// Status is how it stands with one endpoint.
type Status struct {
	Endpoint string
	State    State
	Senders  int   // API servers that send to it
	Events   int64 // that wait in Redis
	Bytes    int64 // that they take

	Oldest      time.Time // when the first of them was published; zero: there is none
	LastSuccess time.Time // zero: never, or some days ago
	LastFailure time.Time // zero: likewise
	LastError   string    // of that failure

	// Given up since the endpoint's streams were last empty for some days.
	Expired    int64 // too old
	StreamFull int64 // too much waited
}

// Board says how it stands with every endpoint, from what Redis knows. It is safe
// for concurrent use.
type Board struct {
	role *redisx.Role
	keys hub.Keys
}

// NewBoard returns the board of all endpoints.
func NewBoard(r *redisx.Redis, keys hub.Keys) *Board { return &Board{role: r.Inbox, keys: keys} }

// Status reads how it stands with every endpoint, by name, and with those that were
// withdrawn and for which something waits. Errors wrap hub.ErrUnavailable when Redis was
// the cause.
func (b *Board) Status(ctx context.Context) ([]Status, error) {
	names, withdrawn, err := b.names(ctx)
	if err != nil {
		return nil, outage.During("hook: listing endpoints", err)
	}
	all := make([]Status, 0, len(names))
	for _, name := range names {
		s, err := b.one(ctx, Target{Name: name})
		if err != nil {
			return nil, outage.During("hook: looking at endpoint "+name, err)
		}
		if s.Events > 0 || !withdrawn[name] {
			all = append(all, s)
		}
	}
	return all, nil
}

// names lists the endpoints, also those that were withdrawn, at most rosterMost.
func (b *Board) names(ctx context.Context) (names []string, withdrawn map[string]bool, err error) {
	var said map[string]string
	err = b.role.Lead().Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		said, err = c.HGetAll(ctx, b.keys.HookEndpoints()).Result()
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	withdrawn = make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(said)) {
		_, there, err := parseTarget(name, said[name])
		if err == nil && len(names) < rosterMost {
			names, withdrawn[name] = append(names, name), !there
		}
	}
	return names, withdrawn, nil
}

// one reads how it stands with one endpoint.
func (b *Board) one(ctx context.Context, t Target) (Status, error) {
	s := Status{Endpoint: t.Name}
	var state, senders *redis.MapStringStringCmd
	var now *redis.TimeCmd
	err := b.role.Lead().Write(ctx, func(ctx context.Context, c *redis.Client) error {
		_, err := c.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			state, senders = pipe.HGetAll(ctx, t.keys(b.keys).State()), pipe.HGetAll(ctx, t.keys(b.keys).Senders())
			now = pipe.Time(ctx) // by whose clock senders count
			return nil
		})
		return err
	})
	if err != nil {
		return Status{}, err
	}
	for _, h := range homesOf(b.role, t.keys(b.keys)) {
		if err := h.addTo(ctx, &s); err != nil {
			return Status{}, err
		}
	}
	s.LastSuccess, s.LastFailure, s.LastError = timeIn(state.Val(), stateTaken), timeIn(state.Val(), stateFailed), state.Val()[stateError]
	for _, until := range senders.Val() {
		if ms, err := strconv.ParseInt(until, 10, 64); err == nil && now.Val().Before(time.UnixMilli(ms)) {
			s.Senders++
		}
	}
	s.State = s.judge(timeIn(state.Val(), stateGone))
	return s, nil
}

// judge says in which state the endpoint is that answered 410 at gone.
func (s *Status) judge(gone time.Time) State {
	switch {
	case gone.After(s.LastSuccess):
		return IsGone
	case s.Senders == 0:
		return Unattended
	case s.Events > 0 && s.LastFailure.After(s.LastSuccess):
		return BackingOff
	}
	return Sending
}

func timeIn(fields map[string]string, name string) time.Time {
	ms, err := strconv.ParseInt(fields[name], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// addTo adds what h holds to s.
func (h *home) addTo(ctx context.Context, s *Status) error {
	reply, err := h.call(ctx, lookScript, []string{h.stream, h.book})
	if err != nil || len(reply) != 5 {
		return fmt.Errorf("look at partition %d: %w", h.number, wrong(err))
	}
	s.Events += number(reply[0])
	s.Bytes += number(reply[1])
	s.StreamFull += number(reply[3])
	s.Expired += number(reply[4])
	text, _ := reply[2].(string)
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		if at := time.UnixMilli(ms); s.Oldest.IsZero() || at.Before(s.Oldest) {
			s.Oldest = at
		}
	}
	return nil
}
