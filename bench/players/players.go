// Package players plays in real game rooms with real clients, and keeps books of
// what each player has said and heard.
package players

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

// Backend is a game's backend as the API servers know it.
type Backend struct {
	URL    string // of an API server
	Key    string // with the scope rooms; empty: none is needed
	Secret []byte // that signs players' tokens

	// Dialer returns what the i-th player of a crowd dials with, and whether it may hear
	// later than others what it is told. nil: all dial plainly.
	Dialer func(i int) (dial Dial, late bool)
}

// Dial connects over TCP.
type Dial = func(ctx context.Context, network, addr string) (net.Conn, error)

func (b *Backend) dialer(i int) (dial Dial, late bool) {
	if b.Dialer == nil {
		return nil, false
	}
	return b.Dialer(i)
}

// Room is a room as POST /rooms answers it.
type Room struct {
	Room  string `json:"room"`
	Class string `json:"class"`
	Epoch uint64 `json:"epoch"`
	URL   string `json:"url"`
	Seats []Seat `json:"seats"`
}

// Seat is a seat of a user.
type Seat struct {
	User   string `json:"user"`
	Seat   int    `json:"seat"`
	Ticket string `json:"ticket"`
}

// Do sends a request with a body, nil: none, and reads the reply into out, nil: not
// at all. An answer that is not 2xx is an error with its text.
func (b *Backend) Do(ctx context.Context, method, path string, body, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, b.URL+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if b.Key != "" {
		req.Header.Set("Authorization", "Bearer "+b.Key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	case out == nil:
		return nil
	}
	return json.Unmarshal(text, out)
}

// Open opens a room.
func (b *Backend) Open(ctx context.Context, class string, users []string) (r Room, err error) {
	return r, b.Do(ctx, http.MethodPost, "/rooms", map[string]any{"class": class, "users": users}, &r)
}

// openPatiently is Open, and waits for a front that takes rooms.
func (b *Backend) openPatiently(ctx context.Context, class string, users []string) (r Room, err error) {
	for deadline := time.Now().Add(joinTimeout); ; {
		r, err = b.Open(ctx, class, users)
		if err == nil || !strings.Contains(err.Error(), "rooms_full") || time.Now().After(deadline) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// tokenTTL outlasts any run.
const tokenTTL = 24 * time.Hour

func (b *Backend) token(user string) (string, error) {
	return auth.Mint(b.Secret, auth.Identity{User: hub.UserID(user)}, tokenTTL)
}

// Crowd is players in rooms of a class that relays: what one says is an event for
// the others of its room.
type Crowd struct {
	backend *Backend
	Rooms   []Room
	players []*player
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// player is one with its books.
type player struct {
	*client.Player

	room, user string
	others     []string
	late       bool // see Backend.Dialer

	mu       sync.Mutex
	said     int // the messages are numbered from 1
	heard    map[string][]heardAt
	epochs   []uint64         // of the owners that it has joined
	seat     int              // that it was given last
	reseated int              // times that it came back into another one
	owners   map[uint64]*span // when frames of each came
	tick     int64            // of the last frame
	refused  int
	frames   int
	last     time.Time // of the last frame
	gap      time.Duration
	recent   time.Duration // the longest gap since Gap was called
	backward int           // frames of a tick before one that it has read
	lost     int           // frames that said that events are missing
	end      string
}

type heardAt struct{ number int }

// span is from the first frame to the last.
type span struct{ first, last time.Time }

// Enter opens rooms of a class, each with size players, and has all of them join.
// name begins the users' names. It returns when everybody has joined.
func Enter(ctx context.Context, b *Backend, class, name string, rooms, size int) (*Crowd, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &Crowd{backend: b, cancel: cancel}
	for i := range rooms {
		users := make([]string, size)
		for k := range users {
			users[k] = name + "-" + strconv.Itoa(i) + "-" + strconv.Itoa(k)
		}
		r, err := b.openPatiently(ctx, class, users)
		if err == nil {
			err = c.sit(ctx, &r)
		}
		if err != nil {
			c.Leave()
			return nil, err
		}
	}
	return c.whole(ctx)
}

// Join has everybody with a seat in an open room join it, and returns when they have.
func Join(ctx context.Context, b *Backend, r Room) (*Crowd, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &Crowd{backend: b, cancel: cancel}
	if err := c.sit(ctx, &r); err != nil {
		c.Leave()
		return nil, err
	}
	return c.whole(ctx)
}

// sit sends a player to each seat of a room.
func (c *Crowd) sit(ctx context.Context, r *Room) error {
	c.Rooms = append(c.Rooms, *r)
	for _, seat := range r.Seats {
		if err := c.add(ctx, r, seat); err != nil {
			return err
		}
	}
	return nil
}

// whole returns c once everybody has joined.
func (c *Crowd) whole(ctx context.Context) (*Crowd, error) {
	if err := c.waitJoined(ctx); err != nil {
		c.Leave()
		return nil, err
	}
	return c, nil
}

func (c *Crowd) add(ctx context.Context, r *Room, seat Seat) error {
	token, err := c.backend.token(seat.User)
	if err != nil {
		return err
	}
	dial, late := c.backend.dialer(len(c.players))
	p := &player{room: r.Room, user: seat.User, late: late, heard: make(map[string][]heardAt), owners: make(map[uint64]*span)}
	for _, other := range r.Seats {
		if other.User != seat.User {
			p.others = append(p.others, other.User)
		}
	}
	p.Player = client.NewPlayer(client.Options{URL: r.URL, Token: client.StaticToken(token), NetDial: dial}, seat.Ticket, client.PlayerHandler{
		Joined: p.joined, Frame: p.frame, Refused: p.wasRefused,
	})
	c.players = append(c.players, p)
	c.wg.Go(func() {
		left, err := p.Run(ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case left != nil:
			p.end = left.Why + " " + left.Reason
		case err != nil && !errors.Is(err, context.Canceled):
			p.end = err.Error()
		}
	})
	return nil
}

func (p *player) joined(j client.Joined) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.epochs) > 0 && j.Seat != p.seat {
		p.reseated++
	}
	p.seat = j.Seat
	p.epochs = append(p.epochs, j.Epoch)
}

func (p *player) frame(f client.Frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.frames++; !p.last.IsZero() {
		since := now.Sub(p.last)
		p.gap, p.recent = max(p.gap, since), max(p.recent, since)
	}
	p.last = now
	p.spanOf(p.epochs[len(p.epochs)-1], now).last = now
	whole := f.Recovered == nil || *f.Recovered
	if !whole {
		p.lost++
	} else if f.Tick < p.tick {
		p.backward++
	}
	p.tick = f.Tick
	for _, e := range f.Events {
		var number int
		if json.Unmarshal(e.Data, &number) == nil {
			p.heard[e.From] = append(p.heard[e.From], heardAt{number})
		}
	}
}

func (p *player) spanOf(epoch uint64, now time.Time) *span {
	s := p.owners[epoch]
	if s == nil {
		s = &span{first: now}
		p.owners[epoch] = s
	}
	return s
}

func (p *player) wasRefused(_ string, count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused += count
}

// joinTimeout is how long everybody together may take to join.
const joinTimeout = 30 * time.Second

func (c *Crowd) waitJoined(ctx context.Context) error {
	deadline := time.Now().Add(joinTimeout)
	for _, p := range c.players {
		for {
			p.mu.Lock()
			joined, end := len(p.epochs) > 0, p.end
			p.mu.Unlock()
			switch {
			case joined:
			case end != "":
				return fmt.Errorf("%s did not join: %s", p.user, end)
			case time.Now().After(deadline):
				return fmt.Errorf("%s has not joined within %v", p.user, joinTimeout)
			default:
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(5 * time.Millisecond):
				}
				continue
			}
			break
		}
	}
	return nil
}

// Talk has every player say so many messages per second, until ctx ends.
func (c *Crowd) Talk(ctx context.Context, perSecond float64) {
	var wg sync.WaitGroup
	period := time.Duration(float64(time.Second) / perSecond)
	for i, p := range c.players {
		wg.Go(func() {
			_, part := math.Modf(float64(i) * math.Phi) // multiples of the golden ratio: those of one room are spread, too
			pause := time.Duration(part * float64(period))
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
				pause = period
				p.sayNext()
			}
		})
	}
	wg.Wait()
}

// sayNext says the next number. One that is not sent counts as never said.
func (p *player) sayNext() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Say([]byte(strconv.Itoa(p.said+1))) == nil {
		p.said++
	}
}

// Drop cuts every nth connection, the first one too.
func (c *Crowd) Drop(nth int) {
	for i := 0; i < len(c.players); i += nth {
		c.players[i].Drop()
	}
}

// Gap is the longest time between two frames of a player since it was called last.
func (c *Crowd) Gap() (longest time.Duration) {
	for _, p := range c.players {
		p.mu.Lock()
		longest = max(longest, p.recent)
		p.recent = 0
		p.mu.Unlock()
	}
	return longest
}

// Leave ends all players. Their seats are left as they are.
func (c *Crowd) Leave() {
	c.cancel()
	c.wg.Wait()
}
