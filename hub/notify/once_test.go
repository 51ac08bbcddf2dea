package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// swallower forwards TCP to a Redis and loses replies when told to.
type swallower struct {
	net.Listener

	to    string
	lose  atomic.Int32 // replies to lose yet, of commands that hold what
	what  []byte
	reset bool // close the connection instead of keeping silent
	tasks sync.WaitGroup
}

// newSwallower starts one that loses replies to commands that hold what.
func newSwallower(t *testing.T, to, what string, reset bool) *swallower {
	t.Helper()
	port, err := redisproc.FreePort(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	s := &swallower{Listener: ln, to: to, what: []byte(what), reset: reset}
	s.tasks.Go(s.serve)
	t.Cleanup(func() { ln.Close(); s.tasks.Wait() })
	return s
}

func (s *swallower) serve() {
	for {
		client, err := s.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", s.to)
		if err != nil {
			client.Close()
			continue
		}
		silent := new(atomic.Bool)
		s.tasks.Go(func() { s.forward(client, server, silent) })
		s.tasks.Go(func() { s.reply(client, server, silent) })
	}
}

func (s *swallower) forward(client, server net.Conn, silent *atomic.Bool) {
	defer server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], s.what) && s.lose.Add(-1) >= 0 {
			silent.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (s *swallower) reply(client, server net.Conn, silent *atomic.Bool) {
	defer client.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		switch {
		case silent.Load() && s.reset:
			_ = client.(*net.TCPConn).SetLinger(0) // then Close resets
			server.Close()
			return
		case silent.Load():
			_, _ = io.Copy(io.Discard, server) // until the client gives up
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// onceWorld is a Redis, a way to it that loses replies, and idempotency keys
// of two servers: near goes the lossy way.
type onceWorld struct {
	t         *testing.T
	server    *redisproc.Server
	lossy     *swallower
	near, far *Once
	reg       *prometheus.Registry // of near
	client    *redis.Client
}

func newOnceWorld(t *testing.T, what string, reset bool) *onceWorld {
	t.Helper()
	server := redistest.Process(t, redisproc.ServerOptions{})
	w := &onceWorld{t: t, server: server, reg: prometheus.NewRegistry(), client: server.Client()}
	t.Cleanup(func() { w.client.Close() })
	w.lossy = newSwallower(t, server.Addr(), what, reset)
	prefix := redistest.Prefix(t)
	open := func(addr string, reg *prometheus.Registry) *Once {
		o := NewOnce(OnceConfig{}, redistest.Open(t, redistest.Config(t, "redis://"+addr)), hub.NewKeys(prefix), reg)
		running(t, o.Run)
		return o
	}
	w.near = open(w.lossy.Addr().String(), w.reg)
	w.far = open(server.Addr(), prometheus.NewRegistry())
	return w
}

var mine, other = [32]byte{1}, [32]byte{2}

// begin tries to claim id-1 and says what came of it.
func (w *onceWorld) begin(o *Once, fingerprint [32]byte) string {
	state, reply, err := o.Begin(until(w.t), "backend", "id-1", fingerprint)
	if err != nil {
		if !errors.Is(err, hub.ErrUnavailable) {
			w.t.Errorf("%v, want hub.ErrUnavailable", err)
		}
		return "unavailable"
	}
	names := map[hub.OnceState]string{hub.OnceFresh: "fresh", hub.OnceInFlight: "in flight", hub.OnceDone: "done", hub.OnceMismatch: "mismatch"}
	return strings.TrimSpace(names[state] + " " + string(reply))
}

func (w *onceWorld) want(doing string, o *Once, fingerprint [32]byte, want string) {
	w.t.Helper()
	if got := w.begin(o, fingerprint); got != want {
		w.t.Errorf("%s: %s, want %s", doing, got, want)
	}
}

// soon is want within 300 ms.
func (w *onceWorld) soon(doing string, o *Once, fingerprint [32]byte, want string) {
	w.t.Helper()
	got := ""
	for start := time.Now(); time.Since(start) < 300*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if got = w.begin(o, fingerprint); got == want {
			return
		}
	}
	w.t.Errorf("%s: %s, want %s within 300ms", doing, got, want)
}

func (w *onceWorld) finish(o *Once, reply string) {
	w.t.Helper()
	if err := o.Finish(until(w.t), "backend", "id-1", mine, []byte(reply)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *onceWorld) abort(o *Once) {
	w.t.Helper()
	if err := o.Abort(until(w.t), "backend", "id-1", mine); err != nil {
		w.t.Fatal(err)
	}
}

// key is what stands under the key of id-1, and for how long.
func (w *onceWorld) key() (record string, ttl time.Duration) {
	key := w.near.keys.Once("backend", "id-1")
	return w.client.Get(w.t.Context(), key).Val(), w.client.PTTL(w.t.Context(), key).Val()
}

// counted is the sum of near's metric name.
func (w *onceWorld) counted(name string) float64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestOnce(t *testing.T) {
	w := newOnceWorld(t, "nothing", false)
	w.want("first", w.near, mine, "fresh")
	for name, o := range map[string]*Once{"here": w.near, "there": w.far} {
		w.want("again, unfinished, "+name, o, mine, "in flight")
		w.want("another body, unfinished, "+name, o, other, "mismatch")
		if err := w.far.Abort(until(t), "backend", "id-1", mine); !errors.Is(err, errUnclaimed) {
			t.Errorf("%v, want errUnclaimed", err)
		}
		if err := w.near.Abort(until(t), "backend", "id-1", other); !errors.Is(err, errUnclaimed) {
			t.Errorf("%v, want errUnclaimed", err)
		}
		w.want("after somebody else gave up, "+name, o, mine, "in flight")
	}
	w.abort(w.near)
	w.want("after giving up", w.far, other, "fresh")
	if err := w.far.Abort(until(t), "backend", "id-1", other); err != nil {
		t.Fatal(err)
	}
	w.want("after giving up twice", w.near, mine, "fresh")
	w.finish(w.near, "reply")
	for _, o := range []*Once{w.near, w.far} {
		w.want("after the end", o, mine, "done reply")
		w.want("another body, after the end", o, other, "mismatch")
	}
	if n := len(w.near.claims) + len(w.far.claims); n != 0 {
		t.Errorf("%d claims are remembered, want none", n)
	}
	w.server.Kill()
	w.want("without Redis", w.near, mine, "unavailable")
	w.want("without Redis, again", w.near, mine, "unavailable")
}

// TestALostReplyToAClaim: what Redis did not say is asked again.
func TestALostReplyToAClaim(t *testing.T) {
	for name, reset := range map[string]bool{"silence": false, "reset": true} {
		t.Run(name, func(t *testing.T) {
			w := newOnceWorld(t, "nx", reset)
			w.lossy.lose.Store(1)
			start := time.Now()
			w.want("with a lost reply", w.near, mine, "fresh")
			w.want("the claim stands", w.far, mine, "in flight")
			w.finish(w.near, "reply")
			w.want("the repeat", w.far, mine, "done reply")
			t.Logf("it took %v", time.Since(start))
			if n := w.counted("homing_notify_claims_doubtful_total"); n != 1 {
				t.Errorf("%v claims in doubt are counted, want 1", n)
			}
		})
	}
}

// TestARepeatAfterLostReplies: both tries to claim are carried out and get no
// answer; the caller repeats.
func TestARepeatAfterLostReplies(t *testing.T) {
	for name, reset := range map[string]bool{"silence": false, "reset": true} {
		for where := range 2 {
			t.Run(fmt.Sprint(name, " ", where), func(t *testing.T) {
				w := newOnceWorld(t, "nx", reset)
				w.lossy.lose.Store(2)
				w.want("with lost replies", w.near, mine, "unavailable")
				if where == 0 {
					w.want("the repeat here", w.near, mine, "fresh")
					w.want("there meanwhile", w.far, mine, "in flight")
					time.Sleep(3 * claimPause) // the release that was due must not hit it
					w.want("there later", w.far, mine, "in flight")
					w.abort(w.near)
				}
				w.soon("the repeat there", w.far, mine, "fresh")
				w.finish(w.far, "reply")
				w.want("at last", w.near, mine, "done reply")
			})
		}
	}
}

// TestAReleaseSparesNewerClaims: one that is on its way while a repeat takes
// the claim over.
func TestAReleaseSparesNewerClaims(t *testing.T) {
	w := newOnceWorld(t, "nothing", false)
	w.want("first", w.near, mine, "fresh")
	key := w.near.keys.Once("backend", "id-1")
	for attempt, want := range map[uint64]bool{0: false, 1: true, 2: true} {
		if err := w.client.Set(t.Context(), key, w.near.pending(mine, 1), onceLease).Err(); err != nil {
			t.Fatal(err)
		}
		args := w.near.settleArgs(attempt, nil, 0)
		said, err := settleScript.Run(t.Context(), w.client, []string{key}, args...).Result()
		if (said == int64(1)) != want || err != nil {
			t.Errorf("a release of attempt %d does %v to attempt 1, %v", attempt, said, err)
		}
	}
	w.abort(w.near)
}

// TestAClaimThatArrivesLate: a command that was given up is carried out after
// the release.
func TestAClaimThatArrivesLate(t *testing.T) {
	w := newOnceWorld(t, "nx", true)
	w.lossy.lose.Store(2)
	w.want("with lost replies", w.near, mine, "unavailable")
	w.soon("released", w.far, mine, "fresh")
	if err := w.far.Abort(until(t), "backend", "id-1", mine); err != nil {
		t.Fatal(err)
	}
	key := w.near.keys.Once("backend", "id-1")
	if err := w.client.Set(t.Context(), key, w.near.pending(mine, 1), onceLease).Err(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if record, _ := w.key(); record == "" {
			break
		}
		if time.Since(start) > 2*claimWatch {
			t.Fatal("the late claim stands")
		}
	}
}

// TestAReplyThatCannotBeWritten is remembered here and written later.
func TestAReplyThatCannotBeWritten(t *testing.T) {
	w := newOnceWorld(t, "d\x01\x00\x00", false)
	w.want("first", w.near, mine, "fresh")
	w.lossy.lose.Store(1 << 20)
	if err := w.server.Stop(); err != nil { // nothing is carried out either
		t.Fatal(err)
	}
	w.finish(w.near, "reply")
	w.want("the repeat here", w.near, mine, "done reply")
	w.want("another body here", w.near, other, "mismatch")
	if n := w.counted("homing_notify_claims_unsettled"); n != 1 {
		t.Errorf("%v claims wait, want 1", n)
	}
	w.lossy.lose.Store(0)
	if err := w.server.Cont(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := w.near.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	w.want("there", w.far, mine, "done reply")
	if n := w.counted("homing_notify_claims_unsettled"); n != 0 {
		t.Errorf("%v claims wait, want 0", n)
	}
}

// TestAClaimOfAnotherIsLeftAlone: after this server's claim has lapsed.
func TestAClaimOfAnotherIsLeftAlone(t *testing.T) {
	for name, end := range map[string]func(*onceWorld){
		"finish": func(w *onceWorld) { w.finish(w.near, "late") },
		"abort":  func(w *onceWorld) { w.abort(w.near) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newOnceWorld(t, "nothing", false)
			w.want("first", w.near, mine, "fresh")
			w.near.mu.Lock() // as after a pause of the process
			for _, c := range w.near.claims {
				c.sure, c.next = time.Time{}, time.Time{}
			}
			w.near.mu.Unlock()
			w.client.Del(t.Context(), w.near.keys.Once("backend", "id-1"))
			w.want("the other's", w.far, mine, "fresh")
			end(w)
			w.want("the other's stands", w.near, mine, "in flight")
			w.finish(w.far, "reply")
			w.want("and ends", w.near, mine, "done reply")
			if name == "finish" && w.counted("homing_notify_claims_settled_late_total") != 1 {
				t.Error("the lost claim is not counted")
			}
		})
	}
}

// TestAClaimIsRenewedWhileItsRequestLasts, and comes back when a failover lost it.
func TestAClaimIsRenewedWhileItsRequestLasts(t *testing.T) {
	w := newOnceWorld(t, "nothing", false)
	w.want("first", w.near, mine, "fresh")
	time.Sleep(onceRenew + 700*time.Millisecond)
	if _, ttl := w.key(); ttl < onceLease-onceRenew {
		t.Errorf("after %v the claim stands for %v more: not renewed", onceRenew+700*time.Millisecond, ttl)
	}
	w.client.FlushAll(t.Context())
	time.Sleep(onceRenew + 700*time.Millisecond)
	w.want("there", w.far, mine, "in flight")
	w.finish(w.near, "reply")
	w.want("there, at last", w.far, mine, "done reply")
	if w.counted("homing_notify_claims_renewed_total") < 2 {
		t.Error("renewals are not counted")
	}
}

func TestWhatWaitsIsBounded(t *testing.T) {
	w := newOnceWorld(t, "nothing", false)
	w.server.Kill()
	w.near.mu.Lock()
	w.near.waiting = claimsKept
	w.near.claims["k"] = &claim{key: "k", attempt: 1, state: claimDone, busy: true}
	w.near.mu.Unlock()
	if err := w.near.take(chore{key: "k", attempt: 1, state: claimDone}, nil, redisx.ErrNoMaster); !errors.Is(err, errClaims) {
		t.Errorf("%v, want errClaims", err)
	}
	if len(w.near.claims) != 0 || testutil.ToFloat64(w.near.metrics.given) != 1 {
		t.Errorf("%d claims kept, %v given up", len(w.near.claims), testutil.ToFloat64(w.near.metrics.given))
	}
}

// TestCommandsOfARequest counts what one idempotent request costs Redis.
func TestCommandsOfARequest(t *testing.T) {
	w := newOnceWorld(t, "nothing", false)
	w.want("first", w.near, mine, "fresh")
	w.finish(w.near, "reply")
	calls := func() string {
		info := w.client.Info(t.Context(), "commandstats").Val()
		var out []string
		for line := range strings.Lines(info) {
			name, rest, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
			n, _, _ := strings.Cut(rest, ",")
			if name == "set" || name == "get" || strings.HasPrefix(name, "eval") {
				out = append(out, name+" "+n)
			}
		}
		return strings.Join(out, ", ")
	}
	if got, want := calls(), "set 2"; got != want {
		t.Errorf("commands: %s, want %s", got, want)
	}
}

func TestWhatIsInDoubt(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{io.EOF, true},
		{context.DeadlineExceeded, true},
		{&net.OpError{Op: "read", Err: io.EOF}, true},
		{fmt.Errorf("x: %w: %w", redisx.ErrUnavailable, &net.OpError{Op: "dial", Err: io.EOF}), false},
		{redisx.ErrNoMaster, false},
		{redisx.ErrWrongRole, false},
		{redis.ErrPoolTimeout, false},
		{fmt.Errorf("%w: %w", redisx.ErrFull, redis.Nil), false}, // a reply
	} {
		if got := inDoubt(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

// TestRequestsAcrossAFailover has callers send one request after the other
// through two servers, repeating each with its id until it is answered, while
// the data master is killed. Each is served once.
func TestRequestsAcrossAFailover(t *testing.T) {
	top := redistest.Topology(t, redisproc.TopologyOptions{Masters: []redisproc.MasterSpec{{Name: "data", Replicas: 2}}})
	prefix := redistest.Prefix(t)
	var servers []*Once
	for range 2 {
		cfg := redistest.Config(t, top.URL("data"))
		o := NewOnce(OnceConfig{}, redistest.Open(t, cfg), hub.NewKeys(prefix), prometheus.NewRegistry())
		running(t, o.Run)
		servers = append(servers, o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := &callers{servers: servers}
	var tasks sync.WaitGroup
	for i := range 8 {
		tasks.Go(func() { c.run(ctx, t, i) })
	}
	time.Sleep(500 * time.Millisecond)
	top.Groups[0].Master.Crash()
	time.Sleep(6 * time.Second)
	cancel()
	tasks.Wait()
	t.Logf("%d requests, %d refused with 503 and %d with 409; longest until served %v, of which 409 %v",
		c.served, c.unavailable, c.inFlight, c.longest, c.longest409)
	if c.served < 100 || c.unavailable == 0 {
		t.Error("nothing was tried while the master was away")
	}
	if c.longest409 > 2*time.Second {
		t.Errorf("one was told for %v that it is in flight", c.longest409)
	}
}

// callers send requests and repeat them.
type callers struct {
	servers []*Once

	mu                            sync.Mutex
	served, unavailable, inFlight int
	longest, longest409           time.Duration
}

func (c *callers) run(ctx context.Context, t *testing.T, caller int) {
	for n := 0; ctx.Err() == nil; n++ {
		c.request(t, fmt.Sprint(caller, "-", n))
		time.Sleep(5 * time.Millisecond)
	}
}

// request sends one request to the servers in turn until it is served.
func (c *callers) request(t *testing.T, id string) {
	start := time.Now()
	var first409 time.Time
	for try := 0; time.Since(start) < 20*time.Second; try++ {
		o := c.servers[(try+len(id))%len(c.servers)]
		state, _, err := o.Begin(t.Context(), "backend", id, mine)
		c.mu.Lock()
		switch {
		case err != nil:
			c.unavailable++
		case state == hub.OnceInFlight:
			c.inFlight++
			if first409.IsZero() {
				first409 = time.Now()
			}
		default:
			c.served++
			c.longest = max(c.longest, time.Since(start))
			if !first409.IsZero() {
				c.longest409 = max(c.longest409, time.Since(first409))
			}
		}
		c.mu.Unlock()
		if err == nil && state == hub.OnceFresh {
			if err := o.Finish(t.Context(), "backend", id, mine, []byte("reply")); err != nil {
				t.Error(err)
			}
			return
		}
		if err == nil && state != hub.OnceInFlight {
			t.Errorf("%s: state %v, but nobody has finished it", id, state)
			return
		}
		time.Sleep(75 * time.Millisecond)
	}
	t.Errorf("%s was not served in 20s", id)
}
