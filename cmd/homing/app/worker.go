package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/master"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/inbox"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/layout"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/match"
	"github.com/homing/homing/hub/notify"
	"github.com/homing/homing/hub/presence"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/hub/room/host"
	"github.com/homing/homing/hub/topic"
	"github.com/homing/homing/redisx"
)

// signOffTimeout is how long a worker that stops may take to strike its users
// from the index. After it the lease lapses and the sweeper does it.
const signOffTimeout = 5 * time.Second

// frontConfig is the configuration of a front worker.
type frontConfig struct {
	Front front.Config  `embed:"" prefix:"front-" group:"Front"`
	Auth  auth.Config   `embed:"" prefix:"auth-" group:"Player tokens"`
	Redis redisx.Config `embed:"" prefix:"redis-" group:"Redis"`
	Relay relay.Config  `embed:"" prefix:"relay-" group:"Relay"`
	Inbox inbox.Config  `embed:"" prefix:"inbox-" group:"Inbox"`
	Lease lease.Config  `embed:"" prefix:"lease-" group:"Lease"`
	Rooms host.Config   `embed:"" prefix:"room-" group:"Rooms"`
	Hook  hook.Config   `embed:"" group:"Hooks"`
	Match match.Config  `embed:"" prefix:"match-" group:"Matchmaking"`
	Topic topic.Config  `embed:"" group:"Topics"`
	Node  nodeConfig    `embed:"" prefix:"node-" group:"Node"`

	Presence presence.Config `embed:"" group:"Presence"`

	own    ownClasses
	queues []*match.Queue // beside those of the file
}

// Validate checks every part before anything is started.
func (c *frontConfig) Validate() error {
	return errors.Join(
		c.Front.Validate(), c.Auth.Validate(), c.Redis.Validate(), c.Relay.Validate(), c.Inbox.Validate(), c.Lease.Validate(),
		c.Rooms.Validate(), c.Hook.Validate(), c.Topic.Validate(c.Inbox.MaxAge), c.Presence.Validate(), c.Node.Validate(&c.Front),
	)
}

// worker is one front worker with what ties it to the hub.
type worker struct {
	*ground

	front     *front.Worker
	registrar *index.Registrar
	standing  *lease.Standing
	teller    *teller
	hooks     *hook.Publisher
	rooms     *gameRooms
	node      *node
}

// door is where a front worker's players come in.
type door struct {
	process   hub.ProcessID
	listeners []front.Listener
	verifier  *auth.Verifier

	needCertificate bool // see front.Deps

	child *master.Child // nil: there is no master
}

// newWorker puts a front worker together on top of r. It owns the door's listeners from
// now on.
func newWorker(back *background, c frontConfig, d door, r *redisx.Redis, log *slog.Logger, reg prometheus.Registerer) (*worker, error) {
	g := newGround(groundConfig{d.process, layout.Front, c.Redis, c.Relay, c.Inbox, c.Topic}, r, log, reg)
	self := hub.Process{ID: d.process, Node: machineName(), PID: os.Getpid(), Role: hub.RoleFront, Started: time.Now().Unix()}
	w := &worker{ground: g, standing: lease.NewStanding(c.Lease, lease.DefaultTiming(), log)}
	w.registrar = index.NewRegistrar(r, g.keys, self, w.standing, log, reg)
	w.hooks, _ = newPublisher(back, c.Hook, r, g.keys, log, reg)
	tickets, err := newTickets(c.Match, matchParts{redis: r, keys: g.keys, hooks: matchHooks{w.hooks}, own: c.queues}, log, reg)
	if err != nil {
		return nil, err
	}
	if w.rooms, err = newGameRooms(c.Rooms, roomDeps{
		lack: lackOf(tickets), redis: r, keys: g.keys, self: self.ID, standing: w.standing, census: g.census, events: w.hooks, own: c.own, log: log, reg: reg,
	}); err != nil {
		return nil, fmt.Errorf("rooms: %w", err)
	}
	w.teller = newTeller(c.Presence, presence.Deps{
		Index: g.index, Registrar: w.registrar, Relay: g.relay, Census: g.census, Hooks: w.hooks,
		Store: presence.NewStore(r, g.keys, c.Presence.Keep), Log: log, Registry: reg,
	})
	if c.Presence.Friends {
		d.verifier.ReadFriends()
	}
	dispatcher, handovers := notify.New(notify.Deps{
		Census: g.census, Index: g.index, Relay: g.relay, Histories: g.histories, Agreed: g.agreed.Err, Log: log, Registry: reg,
	})
	w.node = newNode(c, d.child, g)
	polls := &front.Exchange{}
	if w.front, err = front.NewWorker(c.Front, d.listeners, front.Deps{
		Process: self.ID, Auth: d.verifier, Presence: w.registrar, Standing: w.standing.Now, Inbox: g.box,
		Lobby: newLobby(back, tickets, log), Friends: w.teller.friends(), Publisher: publisher{dispatcher}, Histories: g.histories,
		Rooms: w.rooms.rooms(), Exchange: polls, Log: log, Registry: reg, NeedCertificate: d.needCertificate,
		Arrived: w.node.arrived(),
	}); err != nil {
		return nil, fmt.Errorf("front: %w", err)
	}
	peer := newPeer(w.front, polls, w.rooms, log, reg)
	polls.Attach(peer, g.ended)
	back.run("tokens", d.verifier.Run)
	w.start(back, peer, handovers)
	return w, nil
}

// start has run what w stands on, and gives each part what comes for it.
func (w *worker) start(back *background, peer *call.Peer, handovers *notify.Handovers) {
	receiver := notify.NewReceiver(w.front.Deliver, w.log, w.reg)
	w.teller.attach(back, w.registrar, w.front)
	w.standing.HearOf(w.relay.Silence)
	w.ground.start(back, relay.Upper{
		Handle: w.teller.handle(w.front, peer.Handle(byKind(receiver.Handle, handovers.Handle))),
		GivenUp: func(gone []relay.Abandoned) {
			receiver.GivenUp(gone)
			handovers.GivenUp(gone)
			w.teller.givenUp(gone)
		},
		Holder: w.standing,
	})
	back.run("registrar", w.registrar.Run)
	back.run("calls", func(ctx context.Context) error { return peer.Run(ctx, w.relay) })
	back.run("hand-overs", handovers.Run)
	w.rooms.start(back, w.front, peer)
	back.run("returns", func(ctx context.Context) error { return receiver.Run(ctx, w.relay) })
}

// run calls serve, which returns when the worker has stopped and its connections
// have drained. Then it strikes the worker from the index, and waits until the
// API servers have confirmed the notices of the users that it missed.
func (w *worker) run(serve func() error) error {
	err := serve()
	w.rooms.wait()
	ctx, cancel := context.WithTimeout(context.Background(), w.teller.linger()+signOffTimeout)
	defer cancel()
	err = errors.Join(err, w.teller.retire(ctx, w.registrar, w.front), w.registrar.Close(ctx))
	flush(w.relay, w.log)
	if ferr := w.hooks.Flush(ctx); ferr != nil {
		w.log.Warn("stopping before every event is in Redis", "err", ferr)
	}
	return err
}

// waitReady blocks until what is sent to the worker reaches it, or ctx ends.
func (w *worker) waitReady(ctx context.Context) error {
	if err := w.relay.WaitReady(ctx); err != nil {
		return fmt.Errorf("subscribe to the worker's channel: %w", err)
	}
	if err := w.agreed.WaitAgreed(ctx); err != nil {
		return fmt.Errorf("compare the layout of Redis: %w", err)
	}
	if err := w.allowed.WaitGranted(ctx); err != nil {
		return fmt.Errorf("ask Redis what it lets us do: %w", err)
	}
	return nil
}

// waitsFor says what waitReady waits for.
func (w *worker) waitsFor() error {
	for _, check := range []func() error{w.redis.Err, w.relay.Ready, w.agreed.Err, w.allowed.Err} {
		if err := check(); err != nil {
			return err
		}
	}
	return errors.New("for its subscriptions")
}

// machineName is the name that processes of this machine or pod go by.
func machineName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
