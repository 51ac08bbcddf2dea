package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/match"
)

// fakeMatchmaker has one queue, duel, in which the tickets of ann wait already, those
// of bob have ended, and whoever else comes is new.
type fakeMatchmaker struct {
	mu    sync.Mutex
	err   error // answer of every method, when set
	calls []string
}

func (f *fakeMatchmaker) begin(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	return f.err
}

// known is what has become of the tickets that there are.
var known = map[string]match.State{
	"duel:ann": {
		Ticket: match.Ticket{ID: "duel:ann", Players: []hub.UserID{"ann"}, Rating: -3.5, Labels: []string{"eu"}},
		Queue:  "duel", Status: match.Waiting, Waited: 1500 * time.Millisecond, Estimate: 2 * time.Second,
	},
	"duel:a/b": {
		Ticket: match.Ticket{ID: "duel:a/b", Players: []hub.UserID{"a/b"}}, Queue: "duel", Status: match.Offered,
		Until: time.Unix(1_700_000_000, 0),
	},
	"duel:bob": {
		Ticket: match.Ticket{ID: "duel:bob"}, Queue: "duel", Status: match.Matched,
		Found: &match.Found{Match: "m1", Queue: "duel", Room: "r1", URL: "ws://x/ws", Players: []match.Seated{{User: "bob", Team: 1, Ticket: "t.t"}}},
	},
}

func (f *fakeMatchmaker) Put(_ context.Context, queue string, t *match.Ticket, beats bool) (match.State, bool, error) {
	if err := f.begin("put " + t.ID); err != nil {
		return match.State{}, false, err
	}
	if queue != "duel" && queue != "squads" || beats {
		return match.State{}, false, match.ErrNoQueue
	}
	if slices.Contains(t.Players, "ann") {
		return known["duel:ann"], false, nil
	}
	return match.State{Ticket: *t, Queue: queue, Status: match.Waiting}, true, nil
}

func (f *fakeMatchmaker) Get(_ context.Context, id string) (match.State, error) {
	if err := f.begin("get " + id); err != nil {
		return match.State{}, err
	}
	if s, ok := known[id]; ok {
		return s, nil
	}
	return match.State{}, match.ErrNoTicket
}

func (f *fakeMatchmaker) Cancel(ctx context.Context, id string) (match.State, error) {
	s, err := f.Get(ctx, id)
	if s.Status == match.Waiting {
		s = match.State{Ticket: match.Ticket{ID: id}, Queue: s.Queue, Status: match.Canceled}
	}
	return s, err
}

func (f *fakeMatchmaker) Accept(ctx context.Context, id string, user hub.UserID, yes bool) error {
	s, err := f.Get(ctx, id)
	switch {
	case err != nil:
		return err
	case user == "eve":
		return match.ErrStranger
	case !yes || s.Status == match.Matched:
		return match.ErrNotAsked
	}
	return nil
}

func (f *fakeMatchmaker) Stats(context.Context) ([]match.Stats, error) {
	q := &match.Queue{Name: "duel", Mode: "ranked"}
	counts := match.Counts{Created: 5, Waiting: 1, Players: 1, Ended: map[match.Status]int64{match.Matched: 4}}
	waits := match.Quantiles{P50: time.Second, P90: 2 * time.Second, P99: 3 * time.Second}
	return []match.Stats{
		{Queue: q, Counts: counts, Matched: 4, Waits: waits, Deciles: []match.Decile{{From: 1, To: 2, Quantiles: waits}}},
		{Queue: &match.Queue{Name: "empty"}},
	}, f.begin("stats")
}

// fakeHub is a hub with a fixed set of users online. It keeps what it sent.
type fakeHub struct {
	online map[hub.UserID]hub.Presence

	mu          sync.Mutex
	sent        []hub.Notification
	broadcasts  []hub.Notification
	disconnects map[hub.UserID]string
	err         error         // answer of every method, when set
	health      hub.Health    // answer of Health
	block       chan struct{} // when set, sending waits for it
	receipts    chan struct{} // when set, whoever asks for receipts waits for it
	waits       int           // how many do
	panics      bool
}

func newFakeHub() *fakeHub {
	const front = hub.ProcessID("AAAAAAAAAAA")
	h := &fakeHub{online: make(map[hub.UserID]hub.Presence), disconnects: make(map[hub.UserID]string)}
	h.online["ann"] = hub.Presence{User: "ann", Processes: []hub.Holding{
		{Process: front, Services: []hub.ServiceCount{{Service: "shop", Count: 1}, {Service: "chess", Count: 2}}},
		{Process: "BBBBBBBBBBB", Services: []hub.ServiceCount{{Service: "chess", Count: 1}}},
	}}
	h.online["a/b%c"] = hub.Presence{User: "a/b%c", Processes: []hub.Holding{
		{Process: front, Services: []hub.ServiceCount{{Service: "", Count: 1}}},
	}}
	return h
}

// begin is what every method of the hub goes through.
func (h *fakeHub) begin(ctx context.Context) error {
	h.mu.Lock()
	block, err, panics := h.block, h.err, h.panics
	h.mu.Unlock()
	if panics {
		panic("the hub is broken")
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (h *fakeHub) set(f func(*fakeHub)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
}

func (h *fakeHub) notifications() []hub.Notification {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sent)
}

func (h *fakeHub) Notify(ctx context.Context, n *hub.Notification) (hub.Summary, error) {
	if err := h.begin(ctx); err != nil {
		return hub.Summary{}, err
	}
	h.awaitReceipts(ctx, n)
	distinct := make(map[hub.UserID]bool)
	sum := hub.Summary{ID: n.ID}
	for _, u := range n.Users {
		if distinct[u] {
			continue
		}
		distinct[u] = true
		if p, ok := h.online[u]; ok {
			sum.Online++
			sum.Processes = max(sum.Processes, len(p.Processes))
		}
	}
	sum.Targets = len(distinct)
	sum.Offline = sum.Targets - sum.Online
	if n.Wait > 0 {
		sum.Report = &hub.Report{Written: sum.Online, Offline: sum.Offline}
		if n.PerUser {
			sum.Report.PerUser = make(map[hub.UserID]hub.Fate)
			for u := range distinct {
				sum.Report.PerUser[u] = "offline"
				if _, ok := h.online[u]; ok {
					sum.Report.PerUser[u] = "written"
				}
			}
		}
	}
	h.set(func(h *fakeHub) { h.sent = append(h.sent, *n) })
	return sum, nil
}

// awaitReceipts waits as the hub does after everything was sent.
func (h *fakeHub) awaitReceipts(ctx context.Context, n *hub.Notification) {
	if n.Wait == 0 {
		return
	}
	if n.Sent != nil {
		n.Sent()
	}
	var receipts chan struct{}
	h.set(func(h *fakeHub) { receipts = h.receipts })
	if receipts == nil {
		return
	}
	h.set(func(h *fakeHub) { h.waits++ })
	select {
	case <-receipts:
	case <-ctx.Done():
	}
	h.set(func(h *fakeHub) { h.waits-- })
}

func (h *fakeHub) waiting() (n int) {
	h.set(func(h *fakeHub) { n = h.waits })
	return n
}

func (h *fakeHub) Broadcast(ctx context.Context, n *hub.Notification) (hub.Summary, error) {
	if err := h.begin(ctx); err != nil {
		return hub.Summary{}, err
	}
	h.set(func(h *fakeHub) { h.broadcasts = append(h.broadcasts, *n) })
	return hub.Summary{ID: n.ID, Targets: 5, Online: 5, Processes: 2}, nil
}

func (h *fakeHub) Presence(ctx context.Context, users []hub.UserID) ([]hub.Presence, error) {
	if err := h.begin(ctx); err != nil {
		return nil, err
	}
	out := make([]hub.Presence, len(users))
	for i, u := range users {
		out[i] = h.online[u]
		out[i].User = u
	}
	return out, nil
}

func (h *fakeHub) Online(ctx context.Context, _ int) ([]hub.UserID, error) {
	if err := h.begin(ctx); err != nil {
		return nil, err
	}
	return []hub.UserID{"left-just-now", "ann", "a/b%c"}, nil
}

func (h *fakeHub) Disconnect(ctx context.Context, user hub.UserID, reason string) (int, error) {
	if err := h.begin(ctx); err != nil {
		return 0, err
	}
	h.set(func(h *fakeHub) { h.disconnects[user] = reason })
	return len(h.online[user].Processes), nil
}

func (h *fakeHub) Health(context.Context) hub.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.health
}

// fakeOnce remembers claims in memory, for ever.
type fakeOnce struct {
	mu      sync.Mutex
	records map[string]*onceRecord
	err     error
}

type onceRecord struct {
	print [32]byte
	done  bool
	reply []byte
}

func newFakeOnce() *fakeOnce { return &fakeOnce{records: make(map[string]*onceRecord)} }

func (o *fakeOnce) Begin(_ context.Context, scope, id string, mark [32]byte) (hub.OnceState, []byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, nil, o.err
	}
	r, ok := o.records[scope+":"+id]
	switch {
	case !ok:
		o.records[scope+":"+id] = &onceRecord{print: mark}
		return hub.OnceFresh, nil, nil
	case r.print != mark:
		return hub.OnceMismatch, nil, nil
	case !r.done:
		return hub.OnceInFlight, nil, nil
	}
	return hub.OnceDone, r.reply, nil
}

func (o *fakeOnce) Finish(_ context.Context, scope, id string, mark [32]byte, reply []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.records[scope+":"+id] = &onceRecord{print: mark, done: true, reply: slices.Clone(reply)}
	return nil
}

func (o *fakeOnce) Abort(_ context.Context, scope, id string, _ [32]byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.records, scope+":"+id)
	return nil
}
