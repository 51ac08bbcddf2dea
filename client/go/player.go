package client

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Frame is what a game room tells a member at one tick.
type Frame struct {
	Tick int64 `json:"tick"`
	// Recovered is set in the first frame of each connection: false says that
	// events are missing that the room has forgotten.
	Recovered *bool       `json:"recovered"`
	Events    []RoomEvent `json:"events"` // each once, also over reconnects and moves
	// State has the values that have changed, or all of them in the first frame of a
	// connection. null: there is none any more.
	State map[string]stdjson.RawMessage `json:"state"`
}

// RoomEvent is something that happened in a room.
type RoomEvent struct {
	N    uint64             `json:"n"`
	From string             `json:"from"` // the member that said it; empty: the room
	Data stdjson.RawMessage `json:"data"`
}

// Joined says that the player has its seat.
type Joined struct {
	Room   string `json:"room"`
	Class  string `json:"class"`
	Seat   int    `json:"seat"`
	Hz     int    `json:"hz"` // ticks per second
	Epoch  uint64 `json:"epoch"`
	Ticket string `json:"ticket"` // to come back with
}

// Left says that the player is in the room no more.
type Left struct {
	Room   string `json:"room"`
	Why    string `json:"why"`    // left, kicked, closed or replaced
	Reason string `json:"reason"` // of closed: finished, idle, failed, stuck, lost or closed; else for people
}

// RoomError is why the player could not join, for good.
type RoomError struct {
	Code   string `json:"code"`   // ticket_bad, ticket_expired, ticket_other, room_ended or no_seat
	Reason string `json:"reason"` // of room_ended: how
}

func (e *RoomError) Error() string {
	if e.Reason == "" {
		return "join: " + e.Code
	}
	return "join: " + e.Code + ": " + e.Reason
}

// PlayerHandler is told what happens to a Player, from one goroutine; nil functions
// are skipped.
type PlayerHandler struct {
	Joined func(Joined) // also when the player has come back, or the room has moved
	Frame  func(Frame)
	// Refused is told of messages that the room did not take: why, and how many.
	Refused func(code string, count int)
	Other   func(Message) // all else that the server says: notifications, for example
	Down    func(err error, retryAfter time.Duration)
}

// ErrNotJoined says that the player is not connected now: what it would say is not
// kept.
var ErrNotJoined = errors.New("the player is not in its room now")

// Player keeps its user on a seat of a game room: it connects to where the room is,
// joins, comes back after a loss, and goes along when the room moves. Rooms whose
// messages are binary are not for it.
type Player struct {
	opts    Options
	handler PlayerHandler
	backoff Backoff

	// Owned by Run.
	url, ticket string
	failed      int    // dials in a row
	read        uint64 // number of the last event
	sent        int    // on, since it has joined

	leaving atomic.Bool

	mu   sync.Mutex
	conn *Conn // while it has joined
}

// NewPlayer prepares a player with the ticket of a seat; opts.URL is the url that
// came with it.
func NewPlayer(opts Options, ticket string, h PlayerHandler) *Player {
	return &Player{opts: opts, handler: h, url: opts.URL, ticket: ticket, backoff: Backoff{Longest: opts.LongestWait}}
}

// Run plays until the seat is given up, which it returns as what the room has said;
// until the player cannot join (*RoomError) or connect for good (see Permanent); or
// until ctx ends. A player whose ctx ends keeps its seat for the room's grace: call
// Leave before, to give it up. Run may be called once.
func (p *Player) Run(ctx context.Context) (*Left, error) {
	for {
		began := time.Now()
		left, err := p.once(ctx)
		p.set(nil)
		switch {
		case left != nil:
			return left, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil: // the room has moved
			if !p.wander(ctx) {
				return nil, ctx.Err()
			}
			continue
		case errors.As(err, new(*RoomError)), Permanent(err):
			return nil, err
		}
		if time.Since(began) > lasted {
			p.backoff.Reset()
		}
		pause := p.backoff.Next(err, nil)
		if p.handler.Down != nil {
			p.handler.Down(err, pause)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// wander waits a little once the player was sent on several times without having
// joined: the room is on its way.
func (p *Player) wander(ctx context.Context) bool {
	p.sent++
	pause := min(time.Duration(max(0, p.sent-2))*wanderPause, time.Second)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// wanderPause is how much longer each such pause is.
const wanderPause = 20 * time.Millisecond

// lasted is how long a connection has lasted that counts as a good one.
const lasted = 10 * time.Second

// errUnavailable has the player try again.
var errUnavailable = errors.New("the room cannot be joined now")

// once plays on one connection. It returns nothing at all when the room has moved.
func (p *Player) once(ctx context.Context) (*Left, error) {
	opts := p.opts
	at := p.url
	if p.failed >= 2 && p.failed%2 == 0 { // the machine may be gone: where the player came to first knows the way
		at = opts.URL
	}
	var err error
	if opts.URL, err = withRoom(at, p.ticket); err != nil {
		return nil, err
	}
	c, err := Dial(ctx, opts)
	if err != nil {
		p.failed++
		return nil, err
	}
	p.failed = 0
	defer c.Close()
	if err := c.Send(p.join()); err != nil {
		return nil, err
	}
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			return nil, err
		}
		if left, over, err := p.take(c, m); over {
			return left, err
		}
	}
}

// withRoom is the address with the ticket in its query, by which the connection
// finds the worker that runs the room.
func withRoom(address, ticket string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAddress, err)
	}
	q := u.Query()
	q.Set("room", ticket)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (p *Player) join() []byte {
	b, _ := json.Marshal(struct {
		T      string `json:"t"`
		Ticket string `json:"ticket"`
		N      uint64 `json:"n"`
	}{"join", p.ticket, p.read}) // strings and numbers always marshal
	return b
}

// take deals with a message, and reports whether it ends this connection's turn.
func (p *Player) take(c *Conn, m Message) (left *Left, over bool, err error) {
	switch m.Kind {
	case "joined":
		err = p.joined(c, m.Raw)
	case "frame":
		err = p.frame(m.Raw)
	case "moved":
		if p.leaving.Load() { // the leave goes after the room
			return &Left{Why: "left"}, true, nil
		}
		return nil, true, p.moved(m.Raw)
	case "left":
		left = new(Left)
		return left, true, parse(m.Raw, left)
	case "error":
		err = p.refused(m)
	default:
		if p.handler.Other != nil {
			p.handler.Other(m)
		}
	}
	return nil, err != nil, err
}

func (p *Player) joined(c *Conn, raw []byte) error {
	var j Joined
	if err := parse(raw, &j); err != nil {
		return err
	}
	p.ticket, p.sent = j.Ticket, 0
	p.set(c)
	if p.handler.Joined != nil {
		p.handler.Joined(j)
	}
	return nil
}

// frame leaves out events that were read on a connection before.
func (p *Player) frame(raw []byte) error {
	var f Frame
	if err := parse(raw, &f); err != nil {
		return err
	}
	fresh := f.Events[:0]
	for _, e := range f.Events {
		if e.N > p.read {
			fresh = append(fresh, e)
			p.read = e.N
		}
	}
	f.Events = fresh
	if p.handler.Frame != nil {
		p.handler.Frame(f)
	}
	return nil
}

func (p *Player) moved(raw []byte) error {
	var m struct {
		URL    string `json:"url"`
		Ticket string `json:"ticket"`
	}
	if err := parse(raw, &m); err != nil {
		return err
	}
	p.url, p.ticket = m.URL, m.Ticket
	return nil
}

func (p *Player) refused(m Message) error {
	var e struct {
		Of     string `json:"of"`
		Code   string `json:"code"`
		Reason string `json:"reason"`
		Count  int    `json:"count"`
	}
	if err := parse(m.Raw, &e); err != nil {
		return err
	}
	switch {
	case e.Of == "say":
		if p.handler.Refused != nil {
			p.handler.Refused(e.Code, max(1, e.Count))
		}
		return nil
	case e.Of != "join":
		return nil
	case e.Code == "unavailable":
		return errUnavailable
	}
	return &RoomError{Code: e.Code, Reason: e.Reason}
}

func (p *Player) set(c *Conn) {
	p.mu.Lock()
	p.conn = c
	p.mu.Unlock()
}

func (p *Player) send(text []byte) error {
	p.mu.Lock()
	c := p.conn
	p.mu.Unlock()
	if c == nil {
		return ErrNotJoined
	}
	return c.Send(text)
}

// Say sends a message to the room: any JSON. It may be called from any goroutine.
// What was sent when the connection is lost may not have arrived.
func (p *Player) Say(data []byte) error {
	b := append([]byte(`{"t":"say","data":`), data...)
	if !jsontext.Value(data).IsValid() {
		return fmt.Errorf("say: not JSON: %.40q", data)
	}
	return p.send(append(b, '}'))
}

// Leave gives the seat up; Run returns when the room has said so.
func (p *Player) Leave() error {
	p.leaving.Store(true)
	return p.send([]byte(`{"t":"leave"}`))
}

// Drop cuts the connection, as a lost network does; Run comes back. It is for tests
// and demonstrations.
func (p *Player) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.Abort() // it ends either way
	}
}
