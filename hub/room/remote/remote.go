// Package remote opens rooms in other processes, and reaches those that are open.
package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// maxProcesses is how many processes are asked to open a room, when those before
	// have too many.
	maxProcesses = 4
	// maxFinds is how often a room is looked for that was not where it should be:
	// it is on its way to another process.
	maxFinds  = 20
	findPause = 50 * time.Millisecond
	// askTimeout is how long a process may take to answer.
	askTimeout = 5 * time.Second
	// firstOffers is how long after its start a process waits for the first front
	// that takes rooms, and answerTime what it leaves of the caller's time.
	firstOffers = 10 * time.Second
	answerTime  = 500 * time.Millisecond
)

// Errors beside *call.RefusalError, call.ErrNoAnswer, *hub.FieldError and those that wrap
// hub.ErrUnavailable.
var (
	ErrNotFound = directory.ErrNotFound
	ErrMismatch = errors.New("there is a room of that id and of another class")
)

// EndedError says that a room has ended.
type EndedError struct{ Record directory.Record }

func (e *EndedError) Error() string { return "the room has ended: " + e.Record.Ended }

// Rooms are the rooms of all processes. It is safe for concurrent use; its methods
// block until the owner has answered, or their context ends.
type Rooms struct {
	directory *directory.Directory
	peer      *call.Peer
	lives     func(hub.ProcessID) bool

	unfit func(context.Context) map[hub.ProcessID]bool // that are to get no rooms; nil: nobody is

	born   time.Time
	placed atomic.Bool // a process that takes rooms was found once
}

// New returns the rooms of d, asking their owners through peer. lives reports
// whether a process is taken to live.
func New(d *directory.Directory, peer *call.Peer, lives func(hub.ProcessID) bool) *Rooms {
	return &Rooms{directory: d, peer: peer, lives: lives, born: time.Now()}
}

// Avoid has no room placed on the processes that unfit returns, which may block for a
// round trip. It is called once, before anything else.
func (r *Rooms) Avoid(unfit func(context.Context) map[hub.ProcessID]bool) { r.unfit = unfit }

var roomID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$`)

// check reports the first field of o that cannot be.
func check(o *asks.Open) error {
	switch {
	case !roomID.MatchString(o.Room):
		return hub.Invalid("id", "%q: want %s", o.Room, roomID)
	case len(o.Metadata) > room.MaxMetadata:
		return hub.Invalid("metadata", "%d bytes, want at most %d", len(o.Metadata), room.MaxMetadata)
	case len(o.Data) > room.MaxMessage:
		return hub.Invalid("data", "%d bytes, want at most %d", len(o.Data), room.MaxMessage)
	}
	return checkUsers(o.Users)
}

func checkUsers(users []hub.UserID) error {
	if len(users) > room.MaxSeats {
		return hub.Invalid("users", "%d users, want at most %d", len(users), room.MaxSeats)
	}
	for i, u := range users {
		if err := u.Check(); err != nil {
			return hub.Invalid(fmt.Sprintf("users[%d]", i), "%v", err)
		}
	}
	return nil
}

// Open opens a room with seats for users, in the process that has the fewest. Asked
// again with the same id, it gives seats of the room there is. Without an id it
// draws one. In the first 10 s of r it waits for a process that takes rooms.
func (r *Rooms) Open(ctx context.Context, o asks.Open) (*asks.Opened, error) {
	drawn := o.Room == ""
	if drawn {
		o.Room = rand.Text()
	}
	if err := check(&o); err != nil {
		return nil, err
	}
	opened, err := r.openSomewhere(ctx, &o) // one that is there is found there, too: most are not
	if err == nil || drawn || found(err) {
		return opened, err
	}
	if there, thereErr := r.opened(ctx, &o); !errors.Is(thereErr, ErrNotFound) && !errors.Is(thereErr, hub.ErrUnavailable) {
		return there, thereErr
	}
	return nil, err
}

// found reports whether err is about a room that was found.
func found(err error) bool { return errors.As(err, new(*EndedError)) || errors.Is(err, ErrMismatch) }

// opened gives seats of a room that is open already.
func (r *Rooms) opened(ctx context.Context, o *asks.Open) (*asks.Opened, error) {
	rec, err := r.directory.Find(ctx, o.Room)
	switch {
	case err != nil:
		return nil, err
	case rec.Ended != "":
		return nil, &EndedError{rec}
	case rec.Class != o.Class:
		return nil, ErrMismatch
	}
	opened, err := r.Seats(ctx, o.Room, o.Users)
	if err == nil {
		opened.Existed = true
	}
	return opened, err
}

// openSomewhere asks one process after the other, as long as they have too much.
func (r *Rooms) openSomewhere(ctx context.Context, o *asks.Open) (*asks.Opened, error) {
	tried := make(map[hub.ProcessID]bool)
	var unfit map[hub.ProcessID]bool
	if r.unfit != nil {
		unfit = r.unfit(ctx)
	}
	fit := func(p hub.ProcessID) bool { return !tried[p] && !unfit[p] && r.lives(p) }
	var last error
	for range maxProcesses {
		p, err := r.place(ctx, len(o.Users), fit)
		if err != nil {
			return nil, errors.Join(last, err)
		}
		tried[p] = true
		opened := new(asks.Opened)
		err = r.ask(ctx, p, asks.MethodOpen, o, opened)
		switch code := codeOf(err); {
		case err == nil:
			return opened, nil
		case code == asks.CodeExists: // somebody else opens the same
			return r.opened(ctx, o)
		case errors.Is(err, call.ErrNoAnswer): // it may have opened it
			return r.openedUnheard(ctx, o, err)
		case code != asks.CodeTooMany && code != asks.CodeClass:
			return nil, err
		}
		last = err
	}
	return nil, last
}

// place chooses a process. Just after the start it waits for the first that takes
// rooms: those that do may not be known yet.
func (r *Rooms) place(ctx context.Context, seats int, fit func(hub.ProcessID) bool) (hub.ProcessID, error) {
	for {
		p, err := r.directory.Place(ctx, seats, fit)
		if err == nil {
			r.placed.Store(true)
		}
		if !errors.Is(err, directory.ErrNoProcess) || !r.mayCome(ctx) {
			return p, err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(findPause):
		}
	}
}

// mayCome reports whether it is too early to say that nobody takes rooms.
func (r *Rooms) mayCome(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return !r.placed.Load() && time.Since(r.born) < firstOffers && (!ok || time.Until(end) > answerTime)
}

// openedUnheard looks for a room that was asked for and whose process has not
// answered.
func (r *Rooms) openedUnheard(ctx context.Context, o *asks.Open, why error) (*asks.Opened, error) {
	opened, err := r.opened(ctx, o)
	if err != nil {
		return nil, why
	}
	return opened, nil
}

// codeOf is the code of a refusal; empty: err is none.
func codeOf(err error) string {
	if refused := new(call.RefusalError); errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// Seats gives users seats of a room, each with a ticket, or none.
func (r *Rooms) Seats(ctx context.Context, id string, users []hub.UserID) (*asks.Opened, error) {
	return r.SeatsOf(ctx, id, 0, users)
}

// SeatsOf is Seats of a room whose owner has an epoch; 0: any.
func (r *Rooms) SeatsOf(ctx context.Context, id string, epoch uint64, users []hub.UserID) (*asks.Opened, error) {
	if err := checkUsers(users); err != nil {
		return nil, err
	}
	o := new(asks.Opened)
	return o, r.askOwner(ctx, id, asks.MethodSeats, &asks.Seats{Room: id, Epoch: epoch, Users: users}, o)
}

// Info tells how a room is. Of one that has ended the error is an *EndedError.
func (r *Rooms) Info(ctx context.Context, id string) (*asks.Info, error) {
	i := new(asks.Info)
	return i, r.askOwner(ctx, id, asks.MethodInfo, &asks.Room{Room: id}, i)
}

// Signal says something to a room's logic and returns its reply.
func (r *Rooms) Signal(ctx context.Context, id, name string, data []byte) ([]byte, error) {
	reply := new(asks.Reply)
	err := r.askOwner(ctx, id, asks.MethodSignal, &asks.Signal{Room: id, Name: name, Data: data}, reply)
	return reply.Reply, err
}

// Finish ends a room with a result. Of one that has ended the error is an
// *EndedError.
func (r *Rooms) Finish(ctx context.Context, id string, result []byte) error {
	return r.end(ctx, &asks.Finish{Room: id, Why: string(room.EndFinished), Result: result})
}

// Close ends a room without a result.
func (r *Rooms) Close(ctx context.Context, id string) error {
	return r.end(ctx, &asks.Finish{Room: id, Why: string(room.EndClosed)})
}

func (r *Rooms) end(ctx context.Context, ask *asks.Finish) error {
	return r.askOwner(ctx, ask.Room, asks.MethodFinish, ask, new(struct{}))
}

// Move has a room go on in another process: to, or, when that is empty, the one with
// the fewest seats.
func (r *Rooms) Move(ctx context.Context, id string, to hub.ProcessID) (*asks.Moved, error) {
	if to != "" && !r.lives(to) {
		return nil, hub.Invalid("process", "no such process lives")
	}
	m := new(asks.Moved)
	return m, r.askOwner(ctx, id, asks.MethodMove, &asks.Move{Room: id, To: to}, m)
}

// List lists rooms that live; see directory.Directory.List.
func (r *Rooms) List(ctx context.Context, class string, limit int, cursor string) ([]directory.Record, string, error) {
	return r.directory.List(ctx, class, limit, cursor)
}

// askOwner asks the owner of a room. A room that is on its way is looked for until
// it has come.
func (r *Rooms) askOwner(ctx context.Context, id, method string, ask, answer any) error {
	if !roomID.MatchString(id) {
		return ErrNotFound
	}
	var err error
	for range maxFinds {
		var rec directory.Record
		if rec, err = r.directory.Find(ctx, id); err != nil {
			return err
		}
		if rec.Ended != "" {
			return &EndedError{rec}
		}
		if err = r.ask(ctx, rec.Owner, method, ask, answer); codeOf(err) != asks.CodeNotHere {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(findPause):
		}
	}
	return fmt.Errorf("%w: the room is not where it should be: %w", hub.ErrUnavailable, err)
}

func (r *Rooms) ask(ctx context.Context, to hub.ProcessID, method string, ask, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	b, err := r.peer.Ask(ctx, to, method, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, answer)
}
