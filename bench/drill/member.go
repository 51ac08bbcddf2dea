package drill

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/homing/homing/bench/ledger"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

// member is a client that is a member of topics: of some by its token, of others
// because it asks for it or a backend does. It does what docs/protocol.md asks of a
// client that comes back: it subscribes again, to topics that keep what they were told
// with its place.
type member struct {
	*assembly

	number  int
	user    hub.UserID
	service hub.Service // that it connects from; empty: none
	streams bool        // it reads an event stream, and says what it wants with its request
	record  *ledger.Listener
	named   []hub.Topic // by its token

	mu      sync.Mutex
	wanted  []hub.Topic // subscribed to by itself
	places  map[hub.Topic]string
	lent    map[hub.Topic]bool // joined by a backend's word, as far as that knows
	present *presentee         // nil: not connected
	leaves  bool               // it has ended its connection itself
	said    int                // posts published
}

// link is a connection that messages of homing.v1 are read from.
type link interface {
	LocalAddr() net.Addr
	Send(text []byte) error
	Receive(ctx context.Context) (client.Message, error)
	Abort() error
}

// presentee is a connection of a member.
type presentee struct {
	*member

	conn    link
	sitting *ledger.Sitting
	serial  int // of all connections of the drill

	// Guarded by mu.
	refs int
	asks map[int]ask

	// Owned by the reader.
	replays []replaying // under way, in order
}

// ask is what a member waits for an answer to.
type ask struct {
	topic hub.Topic
	leave bool
	post  *ledger.Post // published; nil: it is about a membership
}

// replaying is what a member is being told that it has missed.
type replaying struct {
	topic hub.Topic
	left  int
	last  string
}

// keep is the member's life.
func (m *member) keep(ctx context.Context) {
	var backoff client.Backoff
	for ctx.Err() == nil {
		m.dialing <- struct{}{}
		dialed := time.Now()
		conn, asked, err := m.dial(ctx)
		<-m.dialing
		var hint *client.Reconnect
		if err == nil {
			backoff.Reset()
			hint, err = m.sit(ctx, conn, dialed, asked)
		} else if ctx.Err() == nil {
			m.dialFailed(err)
		}
		select {
		case <-time.After(backoff.Next(err, hint)):
		case <-ctx.Done():
			return
		}
	}
}

// dial connects. asked are the topics that it has asked for with that.
func (m *member) dial(ctx context.Context) (conn link, asked []hub.Topic, err error) {
	if !m.streams {
		conn, err = client.Dial(ctx, m.at.options(m.number, m.token, net.Dialer{}))
		return conn, nil, err
	}
	m.mu.Lock()
	asked = slices.Clone(m.wanted)
	m.mu.Unlock()
	token, err := m.token(ctx)
	if err != nil {
		return nil, nil, err
	}
	conn, err = openStream(ctx, m.at.front(m.number), token, asked)
	return conn, asked, err
}

// dialTimeout is how long connecting may take.
const dialTimeout = 5 * time.Second

func (m *member) token(context.Context) (string, error) {
	all := hub.TopicPatterns{"*"}
	return auth.Mint(m.at.secret, auth.Identity{User: m.user, Service: m.service, Topics: &auth.Topics{Member: m.named, MayJoin: all, MayPublish: all}}, time.Hour)
}

// sit reads a connection until it ends; it returns why, and the server's last wish.
func (m *member) sit(ctx context.Context, conn link, dialed time.Time, asked []hub.Topic) (hint *client.Reconnect, err error) {
	defer conn.Abort() //nolint:errcheck // a close that fails leaves nothing to do
	p := &presentee{member: m, conn: conn, serial: m.seated(), asks: make(map[int]ask)}
	p.sitting = m.record.Open(dialed, m.named)
	m.enter(p, conn.LocalAddr().String())
	m.mu.Lock()
	m.present, m.leaves = p, false
	wanted := slices.Clone(m.wanted)
	m.mu.Unlock()
	p.expect(asked)
	if !m.streams {
		for _, t := range wanted {
			p.subscribe(t)
		}
	}
	for {
		msg, err := conn.Receive(ctx)
		if err != nil {
			m.mu.Lock()
			m.present = nil
			end := ledger.End{At: time.Now(), Code: client.CloseCode(err), Told: hint != nil, Left: m.leaves}
			asks := p.asks
			p.asks = nil
			m.mu.Unlock()
			if ctx.Err() == nil {
				p.sitting.Close(end)
				if !end.Left {
					m.ended.Add(1)
				}
			}
			m.exit(p)
			for _, a := range asks { // which nobody answers any more
				m.answered(a.post, ledger.Unknown)
			}
			return hint, err
		}
		if msg.Reconnect != nil {
			hint = msg.Reconnect
		}
		p.take(msg)
	}
}

// say sends a message with a reference of its own. What cannot be sent is found when
// the connection is read.
func (p *presentee) say(text string, a ask) {
	p.mu.Lock()
	if p.asks == nil {
		p.mu.Unlock()
		p.answered(a.post, ledger.Unknown)
		return
	}
	p.refs++
	ref := p.refs
	p.asks[ref] = a
	p.mu.Unlock()
	number, _ := json.Marshal(ref)
	_ = p.conn.Send([]byte(text + `,"ref":` + string(number) + `}`))
}

// expect notes topics that were asked for with the request. What is missed of those that
// keep it is not asked for.
func (p *presentee) expect(asked []hub.Topic) {
	for _, t := range asked {
		p.sitting.Asks(t, false)
		p.mu.Lock()
		p.refs++
		p.asks[p.refs] = ask{topic: t}
		p.mu.Unlock()
	}
}

// subscribe asks to be a member of t, and for what was missed of it if it keeps that.
func (p *presentee) subscribe(t hub.Topic) {
	text := `{"t":"subscribe","topic":"` + string(t) + `"`
	if keeps(t) {
		text += `,"after":"` + p.place(t) + `"`
	}
	p.sitting.Asks(t, keeps(t))
	p.say(text, ask{topic: t})
}

func (p *presentee) unsubscribe(t hub.Topic) {
	p.sitting.Leaves(t)
	p.say(`{"t":"unsubscribe","topic":"`+string(t)+`"`, ask{topic: t, leave: true})
}

// about is what a server says beside what the client library reads.
type about struct {
	Topic     hub.Topic       `json:"topic"`
	Topics    []hub.Topic     `json:"topics"`
	Ref       json.RawMessage `json:"ref"`
	Recovered *bool           `json:"recovered"`
	Count     int             `json:"count"`
	Last      string          `json:"last"`
}

// take handles one message of the server.
func (p *presentee) take(msg client.Message) {
	var of about
	_ = json.Unmarshal(msg.Raw, &of) // what is none of it stays empty
	a, asked := p.answer(of.Ref)
	switch msg.Kind {
	case "notify":
		p.notification(msg.Notification, of.Topics)
	case "subscribed":
		p.sitting.Joined(of.Topic, of.Recovered == nil || *of.Recovered)
		if of.Recovered != nil {
			p.replays = append(p.replays, replaying{of.Topic, of.Count, of.Last})
			p.advance()
		}
	case "unsubscribed":
		p.sitting.Left(of.Topic)
	case "published":
		p.answered(a.post, ledger.Accepted)
	case "error":
		if asked {
			p.refused(a, msg.Error.Code)
		}
	}
}

// answer is what a reference is about: a number, or the topic that was asked for with
// the request.
func (p *presentee) answer(ref json.RawMessage) (ask, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var number int
	var topic hub.Topic
	if json.Unmarshal(ref, &topic) == nil && topic != "" {
		for n, a := range p.asks {
			if a.topic == topic {
				number = n
			}
		}
	} else {
		_ = json.Unmarshal(ref, &number) // none: 0, which is nobody's
	}
	a, asked := p.asks[number]
	delete(p.asks, number)
	return a, asked
}

func (p *presentee) refused(a ask, code string) {
	p.wasRefused(code)
	switch {
	case a.post != nil:
		p.answered(a.post, ledger.Refused)
	case p.streams: // it can ask with another request only
		p.sitting.Left(a.topic)
		time.AfterFunc(time.Second+rand.N(time.Second), p.leave)
	case !a.leave:
		p.sitting.Left(a.topic)
		time.AfterFunc(time.Second+rand.N(time.Second), func() { p.again(a.topic) })
	}
}

// again subscribes once more, if that is wanted still.
func (p *presentee) again(t hub.Topic) {
	p.mu.Lock()
	want := p.present == p && slices.Contains(p.wanted, t)
	p.mu.Unlock()
	if want {
		p.subscribe(t)
	}
}

// notification enters one, and moves the places of its topics.
func (p *presentee) notification(n *client.Notification, topics []hub.Topic) {
	r := receipt(n)
	r.Replayed = len(p.replays) > 0
	p.sitting.Hear(r)
	p.received.Add(1)
	if r.Replayed {
		p.replays[0].left--
		p.advance()
		return
	}
	for _, t := range topics {
		p.reached(t, n.ID)
	}
}

// advance ends the replays that have been read.
func (p *presentee) advance() {
	for len(p.replays) > 0 && p.replays[0].left <= 0 {
		done := p.replays[0]
		p.replays = p.replays[1:]
		p.sitting.CaughtUp(done.topic)
		p.reached(done.topic, done.last)
	}
}

// place is the last notification of t that the member was told.
func (m *member) place(t hub.Topic) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.places[t]
}

// reached moves the place in t.
func (m *member) reached(t hub.Topic, id string) {
	if m.streams || !keeps(t) || strings.ContainsAny(id, `"\`) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.wanted, t) {
		m.places[t] = id
	}
}

// publish sends a post to one of the member's topics, unless it is not connected. One
// goes at a time.
func (m *member) publish() {
	m.mu.Lock()
	p := m.present
	busy := p == nil || m.streams
	if p != nil {
		for _, a := range p.asks {
			busy = busy || a.post != nil
		}
	}
	if busy || len(m.named) == 0 {
		m.mu.Unlock()
		return
	}
	m.said++
	post := &ledger.Post{
		Key: ledger.Key{Sender: firstPublisher + m.number, N: m.said}, By: firstPublisher + p.serial,
		Topics: []hub.Topic{m.named[rand.IntN(len(m.named))]}, Due: time.Now(),
	}
	m.mu.Unlock()
	data, _ := json.Marshal(payload{Sender: post.Sender, N: post.N}) // numbers always marshal
	p.say(`{"t":"publish","topic":"`+string(post.Topics[0])+`","type":"drill","data":`+string(data), ask{post: post})
}

// change has the member leave one of the topics that it has subscribed to by itself
// and that keep nothing, or join one.
func (m *member) change(all []hub.Topic) {
	t := all[rand.IntN(len(all))]
	m.mu.Lock()
	p, i := m.present, slices.Index(m.wanted, t)
	switch {
	case p == nil, m.streams, slices.Contains(m.named, t), keeps(t), m.lent[t], p.waits(t):
		m.mu.Unlock()
	case i >= 0:
		m.wanted = slices.Delete(m.wanted, i, i+1)
		m.mu.Unlock()
		p.unsubscribe(t)
	case len(m.wanted)+len(m.named) < mostTopics:
		m.wanted = append(m.wanted, t)
		m.mu.Unlock()
		p.subscribe(t)
	default:
		m.mu.Unlock()
	}
}

// leave ends the member's connection; it comes back.
func (m *member) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.present != nil {
		m.leaves = true
		_ = m.present.conn.Abort()
	}
}

// waits reports whether an answer about t is under way. The lock is held.
func (p *presentee) waits(t hub.Topic) bool {
	for _, a := range p.asks {
		if a.post == nil && a.topic == t {
			return true
		}
	}
	return false
}

// lend begins to have a backend make the member join t, and takeBack to have it leave.
// They report whether that makes sense.
func (m *member) lend(t hub.Topic) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lent[t] || slices.Contains(m.named, t) || slices.Contains(m.wanted, t) || m.present == nil || m.present.waits(t) {
		return false
	}
	m.lent[t] = true
	m.record.Invite(t)
	return true
}

func (m *member) takeBack(t hub.Topic) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.record.Dismiss(t)
	delete(m.lent, t)
}
