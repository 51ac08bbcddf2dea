package app

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/directory"
	"github.com/homing/homing/hub/room/host"
	"github.com/homing/homing/redisx"
)

// gameRooms are the rooms of a front worker, with what they need of the hub. The
// nil *gameRooms is a worker without rooms.
type gameRooms struct {
	host *host.Host
	over chan struct{} // closed when no room runs any more
}

// roomDeps is what the rooms of a worker stand on.
type roomDeps struct {
	redis    *redisx.Redis
	keys     hub.Keys
	self     hub.ProcessID
	standing *lease.Standing
	census   *lease.Census
	events   *hook.Publisher
	lack     func(ctx context.Context, id string, epoch uint64, queue string, l *room.Lack) error // nil: there is no matchmaking
	own      []*room.Class                                                                        // beside those that every front has
	log      *slog.Logger
	reg      prometheus.Registerer
}

// newGameRooms prepares the rooms of a worker; nil when there are to be none.
func newGameRooms(cfg host.Config, d roomDeps) (*gameRooms, error) {
	if !cfg.Enabled() {
		return nil, nil
	}
	classes, err := roomClasses(d.own, cfg.Classes)
	if err != nil {
		return nil, err
	}
	h, err := host.New(cfg, host.Deps{
		Process:   d.self,
		Classes:   classes,
		Directory: directory.New(d.redis, d.keys),
		Store:     host.NewStore(d.redis, d.keys),
		Census:    d.census,
		Standing:  d.standing.Now,
		Event: func(kind, id string, data any) {
			d.events.Publish(hook.Event{Type: kind, Subject: id, Data: data}) // what is lost is counted there
		},
		Lack:     d.lack,
		Log:      d.log,
		Registry: d.reg,
	})
	if err != nil {
		return nil, err
	}
	return &gameRooms{h, make(chan struct{})}, nil
}

// rooms is what the front joins connections to.
func (g *gameRooms) rooms() front.Rooms {
	if g == nil {
		return nil
	}
	return g.host
}

// methods are what other processes ask of the rooms.
func (g *gameRooms) methods() map[string]call.Handler {
	if g == nil {
		return nil
	}
	return g.host.Methods()
}

// start runs the rooms until w begins to stop, and then hands them over.
func (g *gameRooms) start(back *background, w *front.Worker, peer *call.Peer) {
	if g == nil {
		return
	}
	g.host.Attach(w, peer)
	back.run("rooms", func(ctx context.Context) error {
		defer close(g.over)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-w.Leaving():
			case <-ctx.Done():
			}
			cancel()
		}()
		return g.host.Run(ctx)
	})
}

// wait blocks until no room runs any more.
func (g *gameRooms) wait() {
	if g != nil {
		<-g.over
	}
}
