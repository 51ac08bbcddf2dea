package arena

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/crowd"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/usage"
)

// System has game rooms: Homing, or one of its peers.
type System interface {
	// OpenRoom opens a room with a seat for each user. It may be called from
	// several goroutines.
	OpenRoom(ctx context.Context, users []string) (Room, error)
	// CloseRoom ends one, which nobody is in any more.
	CloseRoom(ctx context.Context, id string) error
	Dialect() crowd.Dialect

	FrontPIDs() ([]int, error)
	APIPIDs() []int
	RedisPIDs() []int

	Alive() error // the first process that has ended by itself
	Stop(keepLogs bool) error
}

// Room is an open room.
type Room struct {
	ID    string
	Seats []Seat // in the order of the users
}

// Seat is how a player gets to its seat.
type Seat struct {
	URL   string // ws://host:port/path?query
	Login string // see crowd.Seat
}

// Options say who plays where.
type Options struct {
	System System
	Party  *crowd.Party
	Say    func(format string, args ...any) // a line of progress
	Size   int                              // players of a room
	Hz     int                              // ticks a second
	Rate   float64                          // messages a second of each player
}

// Arena is a system with its players. Its methods block and are not to be called
// at the same time. Close it.
type Arena struct {
	opts    Options
	sampler *usage.Sampler
	users   int      // that there have been
	rooms   int      // that there have been
	open    []string // ids of the rooms
	playing int
}

// Open puts a system into an arena, which owns the system and the party from now
// on, also when the error is not nil: then they are stopped.
func Open(o Options) (*Arena, error) {
	fixed := func(pids []int) func() ([]int, error) {
		return func() ([]int, error) { return pids, nil }
	}
	a := &Arena{opts: o, sampler: usage.NewSampler(
		usage.Group{Name: rig.Front, PIDs: o.System.FrontPIDs},
		usage.Group{Name: rig.API, PIDs: fixed(o.System.APIPIDs())},
		usage.Group{Name: rig.Redis, PIDs: fixed(o.System.RedisPIDs())},
		usage.Group{Name: rig.Clients, PIDs: fixed(o.Party.PIDs())},
		usage.Group{Name: rig.Callers, PIDs: fixed([]int{os.Getpid()})},
	)}
	if _, err := a.sampler.Read(); err != nil {
		return nil, errors.Join(fmt.Errorf("read what the system uses: %w", err), a.Close())
	}
	return a, nil
}

// Close ends players and system.
func (a *Arena) Close() error {
	return errors.Join(a.opts.Party.Stop(), a.opts.System.Stop(false))
}

const (
	// wave is how many players enter at a time: a seat is not reserved for long.
	wave = 500
	// openers is how many rooms are opened or closed at a time.
	openers = 8
)

// Fill opens rooms for so many players, rounded up to whole rooms, and brings
// them in, beside those who are there.
func (a *Arena) Fill(ctx context.Context, playing int) error {
	rooms := (playing + a.opts.Size - 1) / a.opts.Size
	a.opts.Say("%d players enter %d rooms", rooms*a.opts.Size, rooms)
	began := time.Now()
	for rooms > 0 {
		now := min(rooms, max(1, wave/a.opts.Size))
		if err := a.wave(ctx, now); err != nil {
			return errors.Join(err, a.opts.System.Alive())
		}
		rooms -= now
	}
	a.opts.Say("all in after %.2fs", time.Since(began).Seconds())
	return nil
}

// wave brings in the players of so many rooms.
func (a *Arena) wave(ctx context.Context, rooms int) error {
	opened := make([]Room, rooms)
	first := a.users
	a.users += rooms * a.opts.Size
	err := each(rooms, func(i int) (err error) {
		opened[i], err = a.opts.System.OpenRoom(ctx, names(first+i*a.opts.Size, a.opts.Size))
		return err
	})
	var seats []crowd.Seat
	for _, r := range opened {
		if r.ID != "" {
			a.open = append(a.open, r.ID)
		}
		for number, s := range r.Seats {
			seat, bad := s.resolve(a.rooms, number, first+len(seats))
			if err = errors.Join(err, bad); err == nil {
				seats = append(seats, seat)
			}
		}
		a.rooms++
	}
	if err != nil {
		return err
	}
	a.playing += len(seats)
	if err := a.opts.Party.Enter(ctx, a.opts.System.Dialect(), a.opts.Hz, seats); err != nil {
		return fmt.Errorf("enter rooms: %w", err)
	}
	return nil
}

// each calls f for 0 and on, some at the same time.
func each(n int, f func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(openers)
	for i := range n {
		g.Go(func() error { return f(i) })
	}
	return g.Wait()
}

func names(first, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = string(clients.User(first + i))
	}
	return all
}

var errAddress = errors.New("want ws:// and an IPv4 address")

// resolve is the seat as players take it.
func (s Seat) resolve(room, number, from int) (crowd.Seat, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return crowd.Seat{}, fmt.Errorf("seat: %w", err)
	}
	addr, err := netip.ParseAddrPort(u.Host)
	if err != nil || u.Scheme != "ws" || !addr.Addr().Is4() {
		return crowd.Seat{}, fmt.Errorf("seat at %q: %w", s.URL, errAddress)
	}
	return crowd.Seat{Addr: addr, Path: u.RequestURI(), Login: s.Login, Room: room, Number: number, From: from}, nil
}

// Clear has all players leave and ends their rooms.
func (a *Arena) Clear(ctx context.Context) error {
	a.playing = 0
	if err := a.opts.Party.Leave(ctx); err != nil {
		return fmt.Errorf("leave rooms: %w", err)
	}
	ids := a.open
	a.open = nil
	return each(len(ids), func(i int) error { return a.opts.System.CloseRoom(ctx, ids[i]) })
}

// Memory is what the front's processes occupy now, in bytes; what they share is
// counted once.
func (a *Arena) Memory() (int64, error) {
	pids, err := a.opts.System.FrontPIDs()
	if err != nil {
		return 0, fmt.Errorf("read the front's memory: %w", err)
	}
	n, err := usage.Memory(pids...)
	if err != nil {
		return 0, fmt.Errorf("read the front's memory: %w", err)
	}
	return n, nil
}
