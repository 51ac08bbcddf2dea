package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
)

// The test binary is its own bee process when the variable is set.
const asBee = "HOMING_TEST_BEE"

func TestMain(m *testing.M) {
	if os.Getenv(asBee) != "" {
		if err := Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func startHive(t *testing.T, processes, conns int) *Hive {
	t.Helper()
	h, err := Start([]string{os.Args[0]}, []string{asBee + "=1"}, processes, conns, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestHiveCountsAndVerifies(t *testing.T) {
	for _, d := range []Dialect{Homing, SocketIO, Centrifuge} {
		t.Run(string(d), func(t *testing.T) { countAndVerify(t, d) })
	}
}

func countAndVerify(t *testing.T, d Dialect) {
	front, plan := startFront(t, d, nil), Plan{Seed: 7, Conns: 300, Targets: 40, Online: 20}
	h := startHive(t, 2, plan.Conns)
	counts, err := h.Connect(t.Context(), Target{Fronts: []string{front.url()}, Dialect: d, Secret: testSecret, Conns: plan.Conns}, nil)
	if err != nil || counts.Open != plan.Conns {
		t.Fatalf("Connect = %+v, %v", counts, err)
	}
	if err := h.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	const sent = 50
	picker := NewPicker(plan)
	var lost, twice hub.UserID
	for n := range uint32(sent) {
		for i, u := range picker.Online(n, nil) {
			switch {
			case n == 3 && i == 0:
				lost = User(int(u))
			case n == 4 && i == 0:
				twice = User(int(u))
				front.write(twice, front.twice(n))
			default:
				p := front.notify(n)
				front.write(User(int(u)), p[:50]) // in two reads, more often than not
				front.write(User(int(u)), p[50:])
			}
		}
	}
	front.write(User(strayUser(plan, 9)), front.notify(9))
	waitDeliveries(t, h, sent*plan.Online+1)
	v, err := h.Verify(t.Context(), plan, Sent{N: sent, Refused: []uint32{5}})
	want := Verdict{Expected: (sent - 1) * plan.Online, Lost: 1, Duplicated: 1, Stray: 1}
	if err != nil || v != want {
		t.Fatalf("Verify = %+v, %v; want %+v (lost by %s, twice at %s)", v, err, want, lost, twice)
	}
	if front.mu.Lock(); front.pongs != plan.Conns {
		t.Errorf("%d pongs, want %d", front.pongs, plan.Conns)
	}
	front.mu.Unlock()
}

// strayUser is a connected user that notification n does not name.
func strayUser(p Plan, n uint32) int {
	named := NewPicker(p).Online(n, nil)
	for u := range p.Conns {
		if !slices.Contains(named, int32(u)) {
			return u
		}
	}
	return -1
}

func waitDeliveries(t *testing.T, h *Hive, want int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, lag, err := h.Report(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.Deliveries == want && lag.TotalCount() == int64(want) {
			if c.Violations != 0 || lag.Max() <= 0 {
				t.Fatalf("counts = %+v, slowest %d µs", c, lag.Max())
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d deliveries, want %d", c.Deliveries, want)
		}
	}
}

func TestHiveSaysWhyConnectsFail(t *testing.T) {
	for d, why := range map[Dialect]string{Homing: "401", SocketIO: "not authorized", Centrifuge: "unauthorized"} {
		front := startFront(t, d, nil)
		h := startHive(t, 2, 10)
		_, err := h.Connect(t.Context(), Target{Fronts: []string{front.url()}, Dialect: d, Secret: []byte("a secret that is not the front's"), Conns: 10}, nil)
		if err == nil || !strings.Contains(err.Error(), "10 of 10 connects failed") || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: error = %v", d, err)
		}
	}
}

func TestPrepareJudgesTheTarget(t *testing.T) {
	h := startHive(t, 1, 10)
	good := Target{Fronts: []string{"ws://127.0.0.1:1"}, Conns: 10}
	if err := h.Prepare(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if err := h.Stall(t.Context()); !errors.Is(err, errNobodyApart) {
		t.Errorf("error = %v, want %v", err, errNobodyApart)
	}
	for name, c := range map[string]struct {
		target Target
		want   error
	}{
		"front":     {Target{Fronts: []string{"http://127.0.0.1:1"}, Conns: 10}, errFront},
		"dialect":   {Target{Fronts: good.Fronts, Conns: 10, Dialect: "klingon"}, errDialect},
		"processes": {Target{Fronts: good.Fronts, Conns: 10, Apart: 5}, errTooFew},
	} {
		if err := h.Prepare(t.Context(), c.target); !errors.Is(err, c.want) {
			t.Errorf("%s: error = %v, want %v", name, err, c.want)
		}
	}
}

func TestConnectReplacesTheClientsBefore(t *testing.T) {
	front := startFront(t, Homing, nil)
	h := startHive(t, 2, 20)
	target := Target{Fronts: []string{front.url()}, Secret: testSecret, Conns: 20}
	for range 2 {
		if c, err := h.Connect(t.Context(), target, nil); err != nil || c != (Counts{Open: 20}) {
			t.Fatalf("Connect = %+v, %v", c, err)
		}
	}
	if c, err := h.Counts(t.Context()); err != nil || c != (Counts{Open: 20}) {
		t.Errorf("Counts = %+v, %v", c, err)
	}
}

func TestSampleTellsOfWhatIsNew(t *testing.T) {
	front := startFront(t, Homing, nil)
	h := startHive(t, 2, 20)
	if _, err := h.Connect(t.Context(), Target{Fronts: []string{front.url()}, Secret: testSecret, Conns: 20}, nil); err != nil {
		t.Fatal(err)
	}
	var cpu time.Duration
	for round := range 2 {
		for i := range 20 {
			front.write(User(i), front.notify(uint32(round)))
		}
		waitDeliveries(t, h, 20*(round+1))
		s, err := h.Sample(t.Context())
		if err != nil || s.Counts.Deliveries != 20*(round+1) || s.Lag.TotalCount() != 20 || s.CPU < cpu || s.CPU == 0 {
			t.Fatalf("Sample = %+v with %d latencies, %v", s, s.Lag.TotalCount(), err)
		}
		cpu = s.CPU
	}
	if _, lag, err := h.Report(t.Context()); err != nil || lag.TotalCount() != 40 {
		t.Errorf("Report has %d latencies, want 40; %v", lag.TotalCount(), err)
	}
}

func TestConnectKeepsToItsRate(t *testing.T) {
	front := startFront(t, Homing, nil)
	h := startHive(t, 2, 100)
	start := time.Now()
	c, err := h.Connect(t.Context(), Target{Fronts: []string{front.url()}, Secret: testSecret, Conns: 100, Rate: 200}, nil)
	if took := time.Since(start); err != nil || c.Open != 100 || took < 400*time.Millisecond || took > 3*time.Second {
		t.Fatalf("100 connects at 200/s: %+v, %v, %v", c, took, err)
	}
}

func TestServeEndsWithItsInput(t *testing.T) {
	if err := Serve(t.Context(), strings.NewReader(`{"do":"nonsense"}`+"\nnot json\n"), io.Discard); err != nil {
		t.Fatal(err)
	}
}

func TestClientsJoinTopics(t *testing.T) {
	front := startFront(t, Homing, nil)
	h := startHive(t, 2, 20)
	target := Target{Fronts: []string{front.url()}, Secret: testSecret, Conns: 20, Topics: 3}
	if _, err := h.Connect(t.Context(), target, nil); err != nil {
		t.Fatal(err)
	}
	for _, j := range []Joins{{Name: "a:", Of: 3, Turn: 2}, {Name: "own:"}} {
		front.joins = nil // nobody writes now
		if err := h.Join(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		front.mu.Lock()
		for i := range 20 {
			if want := fmt.Sprintf("%s %q}", User(i), j.topic(i)); !slices.Contains(front.joins, want) {
				t.Errorf("%s is not among %v", want, front.joins)
			}
		}
		front.mu.Unlock()
	}
	if a, b := (Joins{Name: "a:", Of: 3, Turn: 2}).topic(4), (Joins{Name: "own:"}).topic(4); a != "a:0" || b != "own:4" {
		t.Errorf("topics %s, %s", a, b)
	}
	if c, err := h.Counts(t.Context()); err != nil || c != (Counts{Open: 20}) {
		t.Errorf("Counts = %+v, %v", c, err)
	}
}

// TestTokensNameTopics: each client's token names the one topic that its number gives.
func TestTokensNameTopics(t *testing.T) {
	all, err := tokens(&swarm{Secret: testSecret, First: 4, Count: 2, Topics: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i, token := range all {
		var claims jwt.MapClaims
		if _, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return testSecret, nil }); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprintf("%v %v %v", claims["sub"], claims["topics"], claims["may_join"]), fmt.Sprintf("bee%d [bench:%d] [*]", i+4, i+1); got != want {
			t.Errorf("token says %s, want %s", got, want)
		}
	}
	plan := Plan{Conns: 7, Targets: 2, Online: 2, Topics: 3}
	if got := NewPicker(plan).Online(4, nil); !slices.Equal(got, []int32{1, 4}) { // members of bench:1
		t.Errorf("notification 4 is for %v", got)
	}
}
