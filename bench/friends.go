package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gobwas/ws"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/socket"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

var friendsScenario = scenario{
	name: "friends", measure: measureFriends, own: own{rate: 100},
	headline: []string{"logins_per_s", "front_us_per_login", "redis_us_per_login", "redis_commands_per_login", "login_p99_ms", "deliveries_per_s", "p99_ms"},
}

// Help is shown below the flags.
func (FriendsFlags) Help() string {
	return `Clients are held and sent notifications, as in notify. Then, beside that, further
players log in at a rate, each with a list of friends in its token of whom some are
among the clients that are held: each reads who of them is online, stays for a second
and goes. So every login is told to its friends, and its end, too.

Figures per login are what the system uses more than without logins, at the same rate
of notifications. A login is over when the player has read who is online. It fails,
with status 1, when a login fails, or names others than are online.

Examples:

  homing bench friends                                # 1,200 logins a second
  homing bench friends --logins 200 --friends-online 10`
}

const (
	// loginStay is how long a player stays.
	loginStay = time.Second
	// loginAway is after how long a player may come again, as a new login: well
	// after it has gone.
	loginAway = 3 * time.Second
	// loginLinger is how long the front keeps its place.
	loginLinger = time.Second
	// loginTime is how long a login may take.
	loginTime = 10 * time.Second
)

var errLogins = errors.New("logins failed")

// measureFriends has players log in beside a load of notifications.
func measureFriends(ctx context.Context, r *run) error {
	if r.opts.FriendsOnline > min(r.opts.Friends, r.opts.Conns) {
		return fmt.Errorf("--friends-online: %d: want at most --friends, %d, and --conns, %d", r.opts.FriendsOnline, r.opts.Friends, r.opts.Conns)
	}
	so := r.opts.stack()
	so.APIArgs = []string{"--friends"}
	so.FrontArgs = append(so.FrontArgs, "--friends", "--presence-linger", loginLinger.String())
	r.say("starting Redis, %d API and %d front worker processes", r.opts.APIs, r.opts.workers())
	s, err := stack.Start(ctx, so)
	if err != nil {
		return err
	}
	set := setup{Options: r.opts, system: homing{s, r.opts.Clients}}
	return r.try(ctx, set, func(t *trial) error { return t.befriend(ctx, s) })
}

// befriend measures the load alone, and then beside logins.
func (t *trial) befriend(ctx context.Context, s *stack.Stack) error {
	crowd, err := newMates(t.opts, s.Access.Secret(), s.Front.URL())
	if err != nil {
		return err
	}
	if _, err := t.rig.Connect(ctx, 0); err != nil {
		return err
	}
	if err := t.rig.Warm(ctx, t.opts.Rate, warmUp); err != nil {
		return err
	}
	alone, aloneCommands, err := t.counted(ctx, s)
	if err != nil {
		return err
	}
	t.say("%.0f logins/s with %d friends, %d of them online", t.opts.Logins, t.opts.Friends, t.opts.FriendsOnline)
	coming, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { crowd.run(coming, t.opts.Logins) })
	if err := rig.Pause(ctx, loginStay+loginLinger+loginAway/2); err != nil { // until as many go as come
		return err
	}
	before := crowd.done.Load()
	beside, commands, err := t.counted(ctx, s)
	logins := float64(crowd.done.Load() - before)
	stop()
	all.Wait()
	if err != nil {
		return err
	}
	if err := t.addLoad(ctx, beside); err != nil {
		return err
	}
	t.addLogins(crowd, logins, &alone, &beside, commands-aloneCommands)
	return crowd.verdict()
}

// counted is a load, and the commands that Redis carried out meanwhile.
func (t *trial) counted(ctx context.Context, s *stack.Stack) (l rig.Load, commands int, err error) {
	before, err := s.Redis.Commands(ctx)
	if err != nil {
		return l, 0, err
	}
	if l, err = t.rig.Load(ctx, t.opts.Rate, t.opts.Duration); err != nil {
		return l, 0, err
	}
	after, err := s.Redis.Commands(ctx)
	return l, after - before, err
}

// addLogins adds what logins took, beyond what the load takes alone.
func (t *trial) addLogins(c *mates, logins float64, alone, beside *rig.Load, commands int) {
	more := func(group string) float64 {
		per := func(l *rig.Load) float64 { return float64(l.Used.Groups[group].CPU.Microseconds()) / l.Took.Seconds() }
		return (per(beside) - per(alone)) * beside.Took.Seconds() / logins
	}
	ms := func(p float64) float64 { return float64(c.took.ValueAtPercentile(p)) / 1000 }
	t.Add("logins", logins, "players who logged in during the load")
	t.Add("logins_per_s", logins/beside.Took.Seconds(), "logins a second")
	t.Add("failed_logins", float64(c.failed.Load()), "logins that came to nothing, or were told of others than are online")
	t.Add("front_us_per_login", more(rig.Front), "µs of front CPU per login and its end, the friends told")
	t.Add("redis_us_per_login", more(rig.Redis), "µs of Redis CPU per login and its end")
	t.Add("redis_commands_per_login", float64(commands)/logins, "commands per login and its end, those inside scripts and of replicas too")
	t.Add("told_per_login", float64(2*t.opts.FriendsOnline), "friends who are told that one has come, and gone")
	t.Add("login_p50_ms", ms(50), "ms from the connect until the player has read who is online")
	t.Add("login_p99_ms", ms(99), "the same, p99")
	t.Add("alone_front_us_per_delivery", alone.Micros(rig.Front), "µs of front CPU per notification delivered, without logins")
	t.Add("alone_p99_ms", alone.Percentile(99), "ms of a delivery without logins, p99")
}

// mates log in one after the other.
type mates struct {
	addr   string
	online int
	tokens []string
	done   atomic.Int64
	failed atomic.Int64

	mu   sync.Mutex
	took *hdrhistogram.Histogram // µs
	why  error                   // of the last that failed
}

// newMates signs the tokens of as many players as come before the first may come
// again.
func newMates(o Options, secret []byte, front string) (*mates, error) {
	u, err := url.Parse(front)
	if err != nil {
		return nil, fmt.Errorf("the front's URL: %w", err)
	}
	n := &mates{addr: u.Host, online: o.FriendsOnline, took: hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)}
	again := loginStay + loginLinger + loginAway
	for i := range max(1, int(o.Logins*again.Seconds())) {
		friends := make([]hub.UserID, 0, o.Friends)
		r := rand.New(rand.NewPCG(7, uint64(i)))
		for _, at := range r.Perm(o.Conns)[:o.FriendsOnline] {
			friends = append(friends, clients.User(at))
		}
		for len(friends) < o.Friends {
			friends = append(friends, hub.UserID("off"+strconv.Itoa(1_000_000+i*o.Friends+len(friends))))
		}
		r.Shuffle(len(friends), func(a, b int) { friends[a], friends[b] = friends[b], friends[a] })
		token, err := auth.Mint(secret, auth.Identity{User: hub.UserID("new" + strconv.Itoa(i)), Friends: friends}, time.Hour)
		if err != nil {
			return nil, err
		}
		n.tokens = append(n.tokens, token)
	}
	return n, nil
}

// run has players log in at a rate until ctx ends, and waits for them.
func (n *mates) run(ctx context.Context, rate float64) {
	var all sync.WaitGroup
	defer all.Wait()
	began := time.Now()
	for i := 0; ; i++ {
		due := time.Duration(float64(i) / rate * float64(time.Second))
		if rig.Pause(ctx, due-time.Since(began)) != nil {
			return
		}
		all.Go(func() { n.login(ctx, i) })
	}
}

// login is one player's stay.
func (n *mates) login(ctx context.Context, i int) {
	began := time.Now()
	conn, err := n.enter(ctx, i)
	if err != nil {
		n.failed.Add(1)
		n.mu.Lock()
		n.why = err
		n.mu.Unlock()
		return
	}
	n.done.Add(1)
	n.mu.Lock()
	_ = n.took.RecordValue(time.Since(began).Microseconds()) // a minute at most
	n.mu.Unlock()
	_ = rig.Pause(context.WithoutCancel(ctx), loginStay)
	_ = conn.Close()
}

// enter connects and reads who is online.
func (n *mates) enter(ctx context.Context, i int) (net.Conn, error) {
	d := net.Dialer{Timeout: loginTime, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/200%200), byte(1+i%200))}}
	conn, err := d.DialContext(context.WithoutCancel(ctx), "tcp", n.addr)
	if err != nil {
		return nil, err
	}
	if err := n.handshake(conn, n.tokens[i%len(n.tokens)]); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

var (
	helloMessage  = []byte(`{"t":"hello"`)
	onlineMessage = []byte(`{"t":"friends"`)
	eachOnline    = []byte(`{"user":`)
)

func (n *mates) handshake(conn net.Conn, token string) error {
	_ = conn.SetDeadline(time.Now().Add(loginTime))
	if _, err := conn.Write(socket.AppendUpgrade(nil, n.addr, "/ws?token="+token, "homing.v1")); err != nil {
		return err
	}
	buf, in, open := make([]byte, 32<<10), []byte(nil), false
	for {
		if !open {
			head, rest, whole := socket.ReadHead(in)
			if whole && !socket.Switched(head) {
				return fmt.Errorf("refused: %.60s", head)
			}
			if whole {
				in, open = rest, true
			}
		}
		for open {
			f, size, err := socket.Parse(in)
			if err != nil {
				return err
			}
			if size == 0 {
				break
			}
			in = in[size:]
			switch {
			case f.Op != ws.OpText: // a ping
			case bytes.HasPrefix(f.Payload, onlineMessage):
				if got := bytes.Count(f.Payload, eachOnline); got != n.online {
					return fmt.Errorf("%d friends are online by what a player was told, want %d", got, n.online)
				}
				return nil
			case !bytes.HasPrefix(f.Payload, helloMessage):
				return fmt.Errorf("a player read %.60q", f.Payload)
			}
		}
		size, err := conn.Read(buf)
		if err != nil {
			return err
		}
		in = append(in, buf[:size]...)
	}
}

// verdict is an error when a login failed.
func (n *mates) verdict() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if failed := n.failed.Load(); failed > 0 {
		return fmt.Errorf("%w: %d of %d, the last because: %w", errLogins, failed, failed+n.done.Load(), n.why)
	}
	return nil
}
