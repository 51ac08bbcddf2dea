package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

// mates are users who are friends of each other, and come and go.
type mates struct {
	front   string
	secret  []byte
	all     []*mate
	byName  map[hub.UserID]*mate
	running sync.WaitGroup
	resting chan struct{} // closed when nobody is to come or go any more
	dialing chan struct{} // bounds the connects at a time

	open, logins, words, failed atomic.Int64

	mu    sync.Mutex
	kills []time.Time // of workers
}

// mate is one of them. A third of them stay.
type mate struct {
	*mates

	user    hub.UserID
	friends []hub.UserID
	stays   bool

	mu       sync.Mutex
	present  bool                // it is connected, and knows its friends
	online   map[hub.UserID]bool // of its friends, as it was told on this connection
	ends     []endTold
	absences []absence
	last     bool // it does what it does until the end
}

// endTold is that a friend was told to have gone.
type endTold struct {
	friend hub.UserID
	at     time.Time
}

// absence is a time between two connections.
type absence struct {
	from, to time.Time // to zero: it has not ended
	left     bool      // the user itself ended the connection
}

func (a absence) String() string {
	return fmt.Sprintf("away from %s to %s (left: %v)", a.from.Format("04:05.000"), a.to.Format("04:05.000"), a.left)
}

const (
	// mateStay and mateAway are how long at most those who come and go do each.
	mateStay, mateAway = 6 * time.Second, 6 * time.Second
	// recentEnd is how old the end of a user may be that is told of late.
	recentEnd = time.Minute
	// clearly is by how much an absence must be longer than the linger for its end to
	// be told in any case.
	clearly = 2 * time.Second
	// aroundFault is how long after a fault a worker that died may not be swept.
	aroundFault = 40 * time.Second
)

func newMates(front string, secret []byte) *mates {
	ms := &mates{front: front, secret: secret, byName: make(map[hub.UserID]*mate), resting: make(chan struct{}), dialing: make(chan struct{}, 32)}
	name := func(i int) hub.UserID { return hub.UserID(fmt.Sprintf("mate%03d", (i+mateCount)%mateCount)) }
	for i := range mateCount {
		m := &mate{mates: ms, user: name(i), stays: i%3 == 0}
		for n := 1; n <= mateFriends; n++ {
			m.friends = append(m.friends, name(i+n), name(i-n))
		}
		ms.all = append(ms.all, m)
		ms.byName[m.user] = m
	}
	return ms
}

func (ms *mates) start(ctx context.Context) {
	for _, m := range ms.all {
		ms.running.Go(func() { m.live(ctx) })
	}
}

func (ms *mates) wait() { ms.running.Wait() }

// kill notes that a worker is killed now.
func (ms *mates) kill() {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.kills = append(ms.kills, time.Now())
}

// lateBy is how long a client may take to notice that its worker was killed.
const lateBy = 10 * time.Second

// since is since when a mate is away that notices now that its connection has ended, why
// err says: what ends without a word after a worker was killed had ended then.
func (ms *mates) since(now time.Time, err error) time.Time {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if n := len(ms.kills); n > 0 && client.CloseCode(err) == 0 && now.Sub(ms.kills[n-1]) < lateBy {
		return ms.kills[n-1]
	}
	return now
}

// rest has nobody come or go any more, but for those who lose their connection.
func (ms *mates) rest() { close(ms.resting) }

// live is the mate's life.
func (m *mate) live(ctx context.Context) {
	var backoff client.Backoff
	for ctx.Err() == nil {
		m.dialing <- struct{}{}
		conn, err := client.Dial(ctx, client.Options{URL: m.front, Token: m.token, HandshakeTimeout: 5 * time.Second})
		<-m.dialing
		var hint *client.Reconnect
		left := false
		if err == nil {
			backoff.Reset()
			hint, left, err = m.sit(ctx, conn)
		} else if ctx.Err() == nil {
			m.failed.Add(1)
		}
		if left && !m.away(ctx) {
			return
		}
		if left {
			continue
		}
		select {
		case <-time.After(backoff.Next(err, hint)):
		case <-ctx.Done():
			return
		}
	}
}

// away is between leaving and coming back; false: the mate does not come back.
func (m *mate) away(ctx context.Context) bool {
	select {
	case <-m.resting:
		m.mu.Lock()
		m.last = true
		m.mu.Unlock()
		return false
	case <-time.After(rand.N(mateAway)):
		return true
	case <-ctx.Done():
		return false
	}
}

func (m *mate) token(context.Context) (string, error) {
	return auth.Mint(m.secret, auth.Identity{User: m.user, Friends: m.friends}, time.Hour)
}

// sit reads a connection until it ends, or the mate leaves.
func (m *mate) sit(ctx context.Context, conn *client.Conn) (hint *client.Reconnect, left bool, err error) {
	defer conn.Abort() //nolint:errcheck // a close that fails leaves nothing to do
	m.begin()
	m.open.Add(1)
	m.logins.Add(1)
	defer m.open.Add(-1)
	stay, leave := context.WithCancel(ctx)
	defer leave()
	if !m.stays {
		go m.leaveLater(stay, leave)
	}
	for {
		msg, err := conn.Receive(stay)
		if err != nil {
			left = stay.Err() != nil && ctx.Err() == nil
			if left {
				_ = conn.Close()
			}
			m.end(left, err)
			return hint, left, err
		}
		if msg.Reconnect != nil {
			hint = msg.Reconnect
		}
		m.take(msg)
	}
}

// leaveLater has the mate leave after a while, unless all are to rest by then.
func (m *mate) leaveLater(ctx context.Context, leave func()) {
	select {
	case <-time.After(rand.N(mateStay)):
		select {
		case <-m.resting:
		default:
			leave()
		}
	case <-ctx.Done():
	}
}

func (m *mate) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.online = nil
	if n := len(m.absences); n > 0 {
		m.absences[n-1].to = time.Now()
	}
}

func (m *mate) end(left bool, err error) {
	from := time.Now()
	if !left {
		from = m.since(from, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.present, m.online = false, nil
	m.absences = append(m.absences, absence{from: from, left: left})
}

// take reads what is told of friends.
func (m *mate) take(msg client.Message) {
	var w struct {
		Online json.RawMessage `json:"online"`
		User   hub.UserID      `json:"user"`
		Users  []hub.UserID    `json:"users"`
	}
	if msg.Kind != "friends" && msg.Kind != "presence" || json.Unmarshal(msg.Raw, &w) != nil {
		return
	}
	m.words.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if msg.Kind == "friends" {
		var online []struct{ User hub.UserID }
		_ = json.Unmarshal(w.Online, &online)
		m.present, m.online = true, make(map[hub.UserID]bool)
		for _, o := range online {
			m.online[o.User] = true
		}
		return
	}
	if w.User != "" {
		w.Users = append(w.Users, w.User)
	}
	for _, u := range w.Users {
		came := string(w.Online) == "true"
		if m.online[u] = came; !came {
			m.ends = append(m.ends, endTold{u, time.Now()})
		}
	}
}

// there reports whether the mate is connected.
func (m *mate) there() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.present
}

// settled reports whether everybody does what it does until the end.
func (ms *mates) settled() bool {
	for _, m := range ms.all {
		m.mu.Lock()
		done := m.present || m.last
		m.mu.Unlock()
		if !done {
			return false
		}
	}
	return true
}

// compare counts what those who are connected believe of their friends, how much of
// that is wrong, and says one that is.
func (ms *mates) compare() (all, wrong int, first string) {
	there := make(map[hub.UserID]bool)
	for _, m := range ms.all {
		there[m.user] = m.there()
	}
	for _, m := range ms.all {
		m.mu.Lock()
		for _, f := range m.friends {
			if !m.present {
				break
			}
			all++
			if m.online[f] != there[f] {
				wrong++
				first = fmt.Sprintf("%s believes %v of %s, who is %v", m.user, m.online[f], f, there[f])
			}
		}
		m.mu.Unlock()
	}
	return all, wrong, first
}

// falseEnds counts the times that a friend was told to have gone who had not been away
// for long enough; slack is what the machine may have stood still.
func (ms *mates) falseEnds(slack time.Duration) (n int, example string) {
	for _, m := range ms.all {
		for _, e := range m.ends {
			if ms.byName[e.friend].wasAway(e.at, mateLinger-200*time.Millisecond-slack) {
				continue
			}
			if n++; example == "" {
				example = fmt.Sprintf("%s was told at %s that %s has gone: %+v", m.user, e.at.Format("15:04:05.000"), e.friend, ms.byName[e.friend].absences)
			}
		}
	}
	return n, example
}

// wasAway reports whether the mate was away for long enough, not long before a time.
func (m *mate) wasAway(at time.Time, long time.Duration) bool {
	for _, a := range m.absences {
		to := a.to
		if to.IsZero() || to.After(at) {
			to = at
		}
		if to.Sub(a.from) >= long && at.Sub(to) < recentEnd {
			return true
		}
	}
	return false
}

// sureEnds is how many times the mate left for so long that it was told for sure: it
// did not come back, or much later, and not around a fault, in which its worker may
// have died before it was told.
func (m *mate) sureEnds(fault time.Time) (n int) {
	for _, a := range m.absences {
		around := !fault.IsZero() && a.from.After(fault.Add(-mateLinger-clearly)) && a.from.Before(fault.Add(aroundFault))
		if a.left && (a.to.IsZero() && m.last || !a.to.IsZero() && a.to.Sub(a.from) > mateLinger+clearly && !around) {
			n++
		}
	}
	return n
}
