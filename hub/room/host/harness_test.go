package host

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
	"github.com/homing/homing/hub/room/remote"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

var secret = []byte("a secret of thirty-two characters")

// world is one Redis with the processes of a test.
type world struct {
	t    *testing.T
	r    *redisx.Redis
	keys hub.Keys
	all  []*process
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	cfg := redistest.Config(t, redistest.Server(t))
	return &world{t: t, r: redistest.Open(t, cfg), keys: hub.NewKeys(cfg.Prefix)}
}

// process is one that runs rooms, with a lease, a relay and what members are told.
type process struct {
	*Host

	id       hub.ProcessID
	peer     *call.Peer
	relay    *relay.Relay
	standing atomic.Uint32
	outbox   *outbox
	events   chan event
	lacks    chan lackSaid
	stop     context.CancelFunc
	renew    context.CancelFunc
	done     chan struct{}
}

type lackSaid struct {
	room  string
	epoch uint64
	queue string
	lack  *room.Lack
}

type event struct {
	kind, room string
	data       any
}

// outbox keeps what members are told.
type outbox struct {
	mu     sync.Mutex
	told   map[*Seat][]Told
	holds  bool // what is told is not done
	held   []*Batch
	frames int
}

func (o *outbox) Tell(b *Batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range b.Told {
		o.told[t.Seat] = append(o.told[t.Seat], t)
		if t.Kind == KindFrame {
			o.frames++
		}
	}
	if o.holds {
		o.held = append(o.held, b)
		return
	}
	b.Done()
}

func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holds = true
}

func (o *outbox) of(s *Seat) []Told {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Told(nil), o.told[s]...)
}

// process starts one, whose rooms are of classes.
func (w *world) process(classes ...*room.Class) *process {
	w.t.Helper()
	reg := prometheus.NewRegistry()
	log := slog.New(slog.DiscardHandler)
	p := &process{
		id: hub.NewProcessID(), outbox: &outbox{told: make(map[*Seat][]Told)},
		events: make(chan event, 100), lacks: make(chan lackSaid, 100), done: make(chan struct{}),
	}
	p.relay = relay.New(relayConfig(), w.r, w.keys, p.id, log, reg)
	census := lease.NewCensus(w.r, w.keys, p.relay.Witness(), lease.DefaultTiming(), log, reg)
	h, err := New(Config{
		Secrets: [][]byte{secret}, URL: "ws://" + string(p.id) + "/ws", MaxRooms: 10, MaxSeats: 100, TicketTTL: time.Hour,
		CheckpointRate: 1 << 20, AdoptRate: 100, MoveRate: 10_000, Stuck: time.Second, DrainTimeout: 2 * time.Second, RecordDir: w.t.TempDir(),
	}, Deps{
		Process: p.id, Classes: classes, Directory: directory.New(w.r, w.keys), Store: NewStore(w.r, w.keys), Census: census,
		Standing: func() hub.Standing { return hub.Standing(p.standing.Load()) },
		Event:    func(kind, id string, data any) { p.events <- event{kind, id, data} },
		Lack: func(_ context.Context, id string, epoch uint64, queue string, l *room.Lack) error {
			select {
			case p.lacks <- lackSaid{id, epoch, queue, l}:
			default:
			}
			return nil
		},
		Log: log, Registry: reg,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	p.Host, p.peer = h, call.NewPeer(h.Methods(), Urgent, log, reg)
	h.Attach(p.outbox, p.peer)
	base, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = p.relay.Run(base, relay.Upper{Handle: p.peer.Handle(func(m *relay.Message) bool { m.Done(nil); return true }), Judge: census})
	})
	wg.Go(func() { _ = census.Run(base) })
	wg.Go(func() { _ = p.peer.Run(base, p.relay) })
	leased, renew := context.WithCancel(base)
	p.renew = renew
	w.renew(p.id)
	wg.Go(func() {
		for pause(leased, 500*time.Millisecond) {
			w.renew(p.id)
		}
	})
	if err := p.relay.WaitReady(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := census.WaitReady(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	serving, stop := context.WithCancel(base)
	p.stop = stop
	wg.Go(func() {
		defer close(p.done)
		_ = h.Run(serving)
	})
	w.t.Cleanup(func() {
		stop()
		<-p.done
		cancel()
		wg.Wait()
	})
	w.eventually("the process offers itself", func() bool {
		n, err := w.master().ZScore(w.t.Context(), w.keys.RoomOffers(), string(p.id)).Result()
		return err == nil && n >= 0
	})
	w.all = append(w.all, p)
	for _, q := range w.all {
		w.eventually("all know of it", func() bool { return q.env.lives(p.id) })
	}
	return p
}

func relayConfig() relay.Config {
	return relay.Config{Window: 10 * time.Second, Memory: 64 << 20, RetransmitTimeout: 250 * time.Millisecond}
}

func (w *world) renew(p hub.ProcessID) {
	_, _ = lease.Renew(context.Background(), w.master(), w.keys, &hub.Process{ID: p, Role: hub.RoleFront}, true, lease.Period, time.Now())
}

func (w *world) master() *redis.Client {
	c, err := w.r.Data.Lead().Master()
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// dies takes the process's life: nothing is heard of it any more, and it is declared
// dead.
func (w *world) dies(p *process) {
	w.t.Helper()
	p.standing.Store(uint32(hub.StandingLost))
	p.renew()
	if err := lease.Bury(w.t.Context(), w.r, w.keys, []hub.ProcessID{p.id}, slog.New(slog.DiscardHandler)); err != nil {
		w.t.Fatal(err)
	}
}

// rooms are those of all processes as p, which lives, reaches them.
func (w *world) rooms(p *process) *remote.Rooms {
	return remote.New(directory.New(w.r, w.keys), p.peer, p.env.lives)
}

func (w *world) open(p *process, class string, users ...hub.UserID) *asks.Opened {
	w.t.Helper()
	return w.openWith(p, &asks.Open{Class: class, Users: users})
}

// openWith opens a room of a name of its own.
func (w *world) openWith(p *process, ask *asks.Open) *asks.Opened {
	w.t.Helper()
	ask.Room = "room-" + string(hub.NewProcessID())
	o, err := p.server.open(w.t.Context(), "", ask)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// join joins and waits until the seat is told so.
func (w *world) join(p *process, o *asks.Opened, seat int, after uint64) *Seat {
	w.t.Helper()
	s := p.Join(nil, o.Seats[seat].User, o.Seats[seat].Ticket, after)
	w.told(p, s, KindJoined)
	return s
}

// told waits until a seat is told something of a kind.
func (w *world) told(p *process, s *Seat, kind Kind) *Note {
	w.t.Helper()
	var note *Note
	w.eventually("told", func() bool {
		for _, t := range p.outbox.of(s) {
			if t.Kind == kind {
				note = t.Note
				return true
			}
		}
		return false
	})
	return note
}

// heard lists the events that a seat was told, as text.
func heard(p *process, s *Seat) (all []string, numbers []uint64) {
	for _, t := range p.outbox.of(s) {
		var f struct {
			Events []struct {
				N    uint64          `json:"n"`
				Data json.RawMessage `json:"data"`
			} `json:"events"`
		}
		if t.Kind == KindFrame && json.Unmarshal(t.Frame, &f) == nil {
			for _, e := range f.Events {
				all, numbers = append(all, string(e.Data)), append(numbers, e.N)
			}
		}
	}
	return all, numbers
}

// class is one for tests.
func class(name string, change func(*room.Class)) *room.Class {
	c := room.DefaultClass()
	c.Name, c.Hz = name, 50
	if change != nil {
		change(&c)
	}
	return &c
}
