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
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/inbox"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/layout"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/match"
	"github.com/homing/homing/hub/notify"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/hub/room/host"
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

	own    ownClasses
	queues []*match.Queue // beside those of the file
}

// Validate checks every part before anything is started.
func (c *frontConfig) Validate() error {
	return errors.Join(
		c.Front.Validate(), c.Auth.Validate(), c.Redis.Validate(), c.Relay.Validate(), c.Inbox.Validate(), c.Lease.Validate(),
		c.Rooms.Validate(), c.Hook.Validate(),
	)
}

// worker is one front worker with what ties it to the hub.
type worker struct {
	front     *front.Worker
	registrar *index.Registrar
	hooks     *hook.Publisher
	relay     *relay.Relay
	agreed    *layout.Check
	allowed   *rights.Check
	rooms     *gameRooms
	redis     *redisx.Redis
	log       *slog.Logger
}

// newWorker puts a front worker together on top of r. It owns listeners from
// now on. needCertificate is front.Deps.NeedCertificate.
func newWorker(back *background, c frontConfig, process hub.ProcessID, listeners []front.Listener, needCertificate bool, verifier *auth.Verifier, r *redisx.Redis, log *slog.Logger, reg prometheus.Registerer) (*worker, error) {
	keys := hub.NewKeys(c.Redis.Prefix)
	self := hub.Process{
		ID:      process,
		Node:    nodeName(),
		PID:     os.Getpid(),
		Role:    hub.RoleFront,
		Started: time.Now().Unix(),
	}
	standing := lease.NewStanding(c.Lease, lease.DefaultTiming(), log)
	registrar := index.NewRegistrar(r, keys, self, standing, log, reg)
	box := inbox.New(c.Inbox, r, keys, log, reg)
	rl := relay.New(c.Relay, r, keys, self.ID, log, reg)
	events := hook.NewPublisher(c.Hook, r, keys, log, reg)
	tickets, err := newTickets(c.Match, matchParts{redis: r, keys: keys, hooks: matchHooks{events}, own: c.queues}, log, reg)
	if err != nil {
		return nil, err
	}
	rooms, err := newGameRooms(c.Rooms, roomDeps{
		lack: lackOf(tickets), redis: r, keys: keys, self: self.ID, standing: standing, relay: rl, events: events, own: c.own, log: log, reg: reg,
	})
	if err != nil {
		return nil, fmt.Errorf("rooms: %w", err)
	}
	w, err := front.NewWorker(c.Front, listeners, front.Deps{
		Process:  self.ID,
		Auth:     verifier,
		Presence: registrar,
		Standing: standing.Now,
		Inbox:    box,
		Lobby:    newLobby(back, tickets, log),
		Rooms:    rooms.rooms(),
		Log:      log,
		Registry: reg,

		NeedCertificate: needCertificate,
	})
	if err != nil {
		return nil, fmt.Errorf("front: %w", err)
	}
	receiver := notify.NewReceiver(w.Deliver, log, reg)
	standing.HearOf(rl.Silence)
	back.run("tokens", verifier.Run)
	agreed := layout.New(r, keys, layout.Front, log, reg)
	back.run("layout", agreed.Run)
	allowed := rights.New(r, keys, log, reg)
	back.run("rights", allowed.Run)
	back.run("registrar", registrar.Run)
	back.run("inbox", box.Run)
	back.run("hook publisher", events.Run)
	back.run("relay", func(ctx context.Context) error {
		return rl.Run(ctx, rooms.upper(relay.Upper{Handle: receiver.Handle, GivenUp: receiver.GivenUp, Holder: standing}))
	})
	rooms.start(back, w, rl)
	back.run("returns", func(ctx context.Context) error { return receiver.Run(ctx, rl) })
	return &worker{
		front: w, registrar: registrar, hooks: events, relay: rl, agreed: agreed, allowed: allowed, rooms: rooms, redis: r, log: log,
	}, nil
}

// run calls serve, which returns when the worker has stopped and its connections
// have drained. Then it strikes the worker from the index, and waits until the
// API servers have confirmed the notices of the users that it missed.
func (w *worker) run(serve func() error) error {
	err := serve()
	w.rooms.wait()
	ctx, cancel := context.WithTimeout(context.Background(), signOffTimeout)
	defer cancel()
	err = errors.Join(err, w.registrar.Close(ctx))
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

// nodeName is the name that processes of this machine or pod go by.
func nodeName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
