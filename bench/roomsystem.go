package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/homing/homing/bench/arena"
	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/crowd"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/bench/peers"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/stack"
)

const (
	openTimeout = 15 * time.Second // that a system may take to open or close a room
	openPause   = 100 * time.Millisecond
)

var errSeats = errors.New("not a seat for each user")

// homingRooms is a Homing that we started, as an arena.System.
type homingRooms struct {
	homing

	classes string // file of the front's classes
	dialect crowd.Dialect
	calls   *load.Poster
}

// roomClass is the class of the rooms that are played in.
const roomClass = "bench"

// writeClasses writes the file of a class in which everybody sees where everybody
// is, and says as much as it likes.
func (o Options) writeClasses(gather bool) (file string, err error) {
	f, err := os.CreateTemp("", "homing-classes-*.yaml")
	if err != nil {
		return "", fmt.Errorf("write room classes: %w", err)
	}
	_, err = fmt.Fprintf(f, "classes:\n  - name: %s\n    seats: %d\n    hz: %d\n    binary: %v\n    immediate: %v\n    says: state\n"+
		"    member_rate: 1e6\n    member_bytes: 1e9\n    room_bytes: 1e9\n", roomClass, o.Size, o.Hz, o.BinaryFrames, !gather)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("write room classes: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return f.Name(), nil
}

func startHomingRooms(ctx context.Context, o Options, gather bool) (*homingRooms, error) {
	classes, err := o.writeClasses(gather)
	if err != nil {
		return nil, err
	}
	so := o.stack()
	so.Rooms, so.FrontArgs = true, append(so.FrontArgs, "--room-classes", classes)
	started, err := stack.Start(ctx, so)
	if err != nil {
		return nil, errors.Join(err, os.Remove(classes))
	}
	h := homing{Stack: started}
	s := &homingRooms{homing: h, classes: classes, dialect: crowd.Homing}
	if o.BinaryFrames {
		s.dialect = crowd.HomingBinary
	}
	s.calls = load.NewPoster(h.APIs()[0], h.Key(), openTimeout)
	return s, nil
}

// Dialect implements arena.System.
func (s *homingRooms) Dialect() crowd.Dialect { return s.dialect }

// OpenRoom implements arena.System.
func (s *homingRooms) OpenRoom(ctx context.Context, users []string) (arena.Room, error) {
	body, err := json.Marshal(map[string]any{"id": rand.Text(), "class": roomClass, "users": users})
	if err != nil {
		return arena.Room{}, fmt.Errorf("open a room: %w", err)
	}
	var opened struct {
		Room, URL string
		Seats     []struct{ User, Ticket string }
	}
	if err := openRoom(ctx, s.calls, body, &opened); err != nil {
		return arena.Room{}, fmt.Errorf("open a room: %w", err)
	}
	if len(opened.Seats) != len(users) {
		return arena.Room{}, fmt.Errorf("open a room: %w: %d for %d", errSeats, len(opened.Seats), len(users))
	}
	r := arena.Room{ID: opened.Room}
	for _, seat := range opened.Seats {
		token, err := clients.Token(s.Secret(), seat.User, "")
		if err != nil {
			return arena.Room{}, err
		}
		at, login := crowd.HomingSeat(opened.URL, token, seat.Ticket)
		r.Seats = append(r.Seats, arena.Seat{URL: at, Login: login})
	}
	return r, nil
}

// openRoom asks until a front has a room: one that has just started offers none yet.
func openRoom(ctx context.Context, calls *load.Poster, body []byte, opened any) error {
	for began := time.Now(); ; {
		err := calls.OpenRoom(ctx, body, opened)
		refused, ok := errors.AsType[*load.RefusedError](err)
		if !ok || refused.Status != http.StatusServiceUnavailable || time.Since(began) > openTimeout {
			return err
		}
		if err := rig.Pause(ctx, openPause); err != nil {
			return err
		}
	}
}

// CloseRoom implements arena.System.
func (s *homingRooms) CloseRoom(ctx context.Context, id string) error {
	return s.calls.CloseRoom(ctx, id)
}

// Stop implements arena.System.
func (s *homingRooms) Stop(keepLogs bool) error {
	s.calls.Close()
	return errors.Join(s.homing.Stop(keepLogs), os.Remove(s.classes))
}

// peerRooms is a peer, as an arena.System.
type peerRooms struct {
	*peers.Rooms

	hz    int
	calls []*load.Poster // by process
	next  atomic.Int64   // which opens the next room
}

func startPeerRooms(ctx context.Context, r *run, name string) (*peerRooms, error) {
	s, err := peers.StartRooms(ctx, peers.RoomOptions{Name: name, Processes: r.opts.workers(), LogDir: r.opts.LogDir})
	if err != nil {
		return nil, err
	}
	r.addSetup(name, s.Versions(), s.Settings())
	p := &peerRooms{Rooms: s, hz: r.opts.Hz}
	for _, u := range s.URLs() {
		p.calls = append(p.calls, load.NewPoster(u, s.Key(), openTimeout))
	}
	return p, nil
}

// Dialect implements arena.System.
func (s *peerRooms) Dialect() crowd.Dialect { return crowd.Dialect(s.Rooms.Dialect()) }

// OpenRoom implements arena.System. The processes open rooms in turn.
func (s *peerRooms) OpenRoom(ctx context.Context, users []string) (arena.Room, error) {
	body, err := json.Marshal(map[string]any{"users": users, "hz": s.hz})
	if err != nil {
		return arena.Room{}, fmt.Errorf("open a room: %w", err)
	}
	process := int(s.next.Add(1)) % len(s.calls)
	var opened struct {
		Room  string
		Seats []struct{ Path, Login string }
	}
	if err := s.calls[process].OpenRoom(ctx, body, &opened); err != nil {
		return arena.Room{}, fmt.Errorf("open a room at %s: %w", s.Name(), err)
	}
	if len(opened.Seats) != len(users) {
		return arena.Room{}, fmt.Errorf("open a room at %s: %w: %d for %d", s.Name(), errSeats, len(opened.Seats), len(users))
	}
	r := arena.Room{ID: opened.Room}
	at := "ws://" + strings.TrimPrefix(s.URLs()[process], "http://")
	for _, seat := range opened.Seats {
		r.Seats = append(r.Seats, arena.Seat{URL: at + seat.Path, Login: seat.Login})
	}
	return r, nil
}

// CloseRoom implements arena.System: a peer's room ends when it is empty.
func (*peerRooms) CloseRoom(context.Context, string) error { return nil }

// FrontPIDs implements arena.System.
func (s *peerRooms) FrontPIDs() ([]int, error) { return s.PIDs(), nil }

// APIPIDs implements arena.System: rooms are opened at the processes that run them.
func (*peerRooms) APIPIDs() []int { return nil }

// RedisPIDs implements arena.System.
func (*peerRooms) RedisPIDs() []int { return nil }

// Stop implements arena.System.
func (s *peerRooms) Stop(keepLogs bool) error {
	for _, c := range s.calls {
		c.Close()
	}
	return s.Rooms.Stop(keepLogs)
}
