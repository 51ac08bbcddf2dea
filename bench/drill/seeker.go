package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/homing/homing/bench/clients"
	client "github.com/homing/homing/client/go"
)

// seeker is a player who connects, asks for a match, and goes into the room that it
// is told of.
type seeker struct {
	number int
	user   string
	rating float64

	mu     sync.Mutex
	asked  time.Time
	waits  bool // the server has said so
	refuse string
	failed error // why it could not connect, or lost its connection
	told   time.Time
	found  []found // by the ids of what it was told, each once
	again  int     // told once more, under the same id
	seated bool    // it has been in the room
	seat   error   // why not
}

// found is what a player is told of a match.
type found struct {
	id string

	Match   string   `json:"match"`
	Room    string   `json:"room"`
	URL     string   `json:"url"`
	Ticket  string   `json:"ticket"`
	Team    int      `json:"team"`
	Players []string `json:"players"`
}

func newSeeker(n int) *seeker {
	return &seeker{number: n, user: fmt.Sprintf("seeker%d", n), rating: 1500 + 300*rand.NormFloat64()}
}

// over reports whether nothing more is to be waited for.
func (s *seeker) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seated || s.seat != nil || s.failed != nil || s.refuse != ""
}

var errSentAway = errors.New("sent away")

// run plays until ctx ends.
func (s *seeker) run(ctx context.Context, at *entrance) {
	token, err := clients.Token(at.secret, s.user, "")
	if err != nil {
		s.fail(err)
		return
	}
	o := client.Options{URL: at.front(s.number), Token: client.StaticToken(token), NetDial: at.dialer(s.number, net.Dialer{})}
	conn, err := client.Dial(ctx, o)
	if err != nil {
		s.fail(err)
		return
	}
	defer conn.Close()
	if err := s.ask(conn); err != nil {
		s.fail(err)
		return
	}
	var room sync.WaitGroup
	defer room.Wait()
	for {
		msg, err := conn.Receive(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.fail(err)
			}
			return
		}
		if f := s.take(&msg); f != nil {
			room.Go(func() { s.sit(ctx, o, f) })
		}
	}
}

// fail notes that the connection failed.
func (s *seeker) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

func (s *seeker) ask(conn *client.Conn) error {
	s.mu.Lock()
	s.asked = time.Now()
	s.mu.Unlock()
	return conn.Send(fmt.Appendf(nil, `{"t":"match","queue":%q,"rating":%g,"ref":1}`, drillQueue, s.rating))
}

// take enters a message. It returns the match that the player is told of first.
func (s *seeker) take(msg *client.Message) *found {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case msg.Kind == "ok":
		s.waits = true
	case msg.Kind == "error":
		s.refuse = string(msg.Raw)
	case msg.Kind == "reconnect":
		s.failed = errSentAway
	case msg.Notification != nil && msg.Notification.Type == "match.found":
		return s.toldLocked(msg.Notification)
	}
	return nil
}

func (s *seeker) toldLocked(n *client.Notification) *found {
	for i := range s.found {
		if s.found[i].id == n.ID {
			s.again++
			return nil
		}
	}
	f := found{id: n.ID}
	_ = json.Unmarshal(n.Data, &f) // what is not there is found missing
	s.found = append(s.found, f)
	if len(s.found) > 1 {
		return nil
	}
	s.told = time.Now()
	return &f
}

// sit goes into the room, and leaves it.
func (s *seeker) sit(ctx context.Context, o client.Options, f *found) {
	o.URL = f.URL
	var p *client.Player
	p = client.NewPlayer(o, f.Ticket, client.PlayerHandler{Joined: func(j client.Joined) {
		s.mu.Lock()
		s.seated = j.Room == f.Room
		s.mu.Unlock()
		_ = p.Leave() // if it fails, it comes back and tries again
	}})
	left, err := p.Run(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.seated:
	case left != nil:
		s.seat = fmt.Errorf("left: %s %s", left.Why, left.Reason)
	case err != nil && ctx.Err() == nil:
		s.seat = err
	}
}

// seekersVerdict is what the players' books say together.
type seekersVerdict struct {
	waited      int // that were told that they wait
	told        int // of a match
	twice       int // of two matches, or rooms
	strange     int // of a match that its other players were not told the same of
	repeated    int // messages that came once more
	refused     int
	unconnected int // at first, or whose connection has ended
	unseated    int // of those who were told
	longest     time.Duration
	example     string // of what went wrong last
}

// judgeSeekers reads the books. Nobody plays any more.
func judgeSeekers(all []*seeker) (v seekersVerdict) {
	by := make(map[string]*seeker, len(all))
	for _, s := range all {
		by[s.user] = s
	}
	for _, s := range all {
		v.add(s)
		if len(s.found) > 0 && !s.agrees(by) {
			v.strange++
		}
	}
	return v
}

func (v *seekersVerdict) add(s *seeker) {
	switch {
	case s.failed != nil:
		v.unconnected++
		v.example = s.user + ": " + s.failed.Error()
	case s.refuse != "":
		v.refused++
		v.example = s.user + ": " + s.refuse
	}
	if s.waits {
		v.waited++
	}
	v.repeated += s.again
	if len(s.found) == 0 {
		return
	}
	v.told++
	v.longest = max(v.longest, s.told.Sub(s.asked))
	if len(s.found) > 1 {
		v.twice++
	}
	if !s.seated {
		v.unseated++
		v.example = fmt.Sprintf("%s: %v", s.user, s.seat)
	}
}

// agrees reports whether the two players of a match were told the same of it, and
// stand in different teams.
func (s *seeker) agrees(by map[string]*seeker) bool {
	mine := s.found[0]
	if len(mine.Players) != 2 {
		return false
	}
	self := false
	for _, name := range mine.Players {
		other := by[name]
		if name == s.user {
			self = true
			continue
		}
		if other == nil || len(other.found) == 0 {
			return false
		}
		its := other.found[0]
		if its.Match != mine.Match || its.Room != mine.Room || its.Team == mine.Team {
			return false
		}
	}
	return self
}
