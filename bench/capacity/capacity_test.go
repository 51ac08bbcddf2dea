package capacity

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// input reads an Input as the command line does.
func input(t *testing.T, args ...string) Input {
	t.Helper()
	in, err := parse(args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return in
}

func parse(args ...string) (Input, error) {
	var in Input
	k, err := kong.New(&in)
	if err == nil {
		_, err = k.Parse(args)
	}
	return in, err
}

func planFor(t *testing.T, args ...string) *Plan {
	t.Helper()
	p, err := Make(input(t, args...), Measured())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *Plan) count(t *testing.T, name string) float64 {
	t.Helper()
	for _, c := range p.Components {
		if c.Name == name {
			return c.Count
		}
	}
	t.Fatalf("no component %q", name)
	return 0
}

func near(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.Abs(got-want) > share*math.Abs(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "200k": 200e3, "1.5M": 1.5e6, "10m": 10e6, "2G": 2e9, "1_000": 1000, " 7 ": 7} {
		var c Count
		if err := c.UnmarshalText([]byte(text)); err != nil || float64(c) != want {
			t.Errorf("count %q: %v, %v; want %v", text, float64(c), err, want)
		}
	}
	for text, want := range map[string]float64{"32GiB": 32 << 30, "512MB": 512e6, "1024": 1024} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || float64(b) != want {
			t.Errorf("size %q: %v, %v; want %v", text, float64(b), err, want)
		}
	}
	for text, want := range map[string]float64{"10Gbit": 10e9, "2.5Gbit/s": 2.5e9, "100m": 100e6} {
		var r BitRate
		if err := r.UnmarshalText([]byte(text)); err != nil || float64(r) != want {
			t.Errorf("rate %q: %v, %v; want %v", text, float64(r), err, want)
		}
	}
	for _, text := range []string{"", "k", "-1", "1x", "1e9999", "ten", "1 M M", "NaN"} {
		var c Count
		if err := c.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("count %q passes as %v", text, float64(c))
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0312: "0.031", 1.5: "1.5", 9.999: "10", 46: "46", 1200: "1,200", 9999.6: "10k",
		28800: "28.8k", 999_900: "1M", 1e6: "1M", 6.25e6: "6.25M", 1.2e12: "1.2T",
	} {
		if got := short(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestErrorsNameFlagAndValue(t *testing.T) {
	for _, c := range []struct{ flag, value, says string }{
		{"--online", "301", "301"},
		{"--zones", "0", "0"},
		{"--headroom", "0.95", "0.95"},
		{"--users", "1000G", "1,000,000,000,000"},
		{"--redis-clients", "7", "7"},
	} {
		args := []string{c.flag, c.value}
		if c.flag != "--users" {
			args = append(args, "--users", "1M")
		}
		if _, err := parse(args...); err == nil || !strings.Contains(err.Error(), c.flag) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v", args, err)
		}
	}
	in := input(t, "--users", "1M")
	in.Local = math.NaN()
	if _, err := Make(in, Measured()); err == nil || !strings.Contains(err.Error(), "--local") {
		t.Errorf("not a number: %v", err)
	}
}

func TestDistinct(t *testing.T) {
	for _, c := range []struct{ boxes, balls, want float64 }{
		{1, 150, 1},
		{2, 150, 2},
		{2, 2, 1.5},         // 2 (1 - 1/4)
		{1000, 150, 139.36}, // 1000 (1 - 0.999^150)
		{1e9, 150, 150},
		{10, 0, 0},
		{1, 0.5, 0.5},
		{7, 1, 1},
	} {
		near(t, "distinct", distinct(c.boxes, c.balls), c.want, 1e-4)
	}
}

// The system of 2014 by hand: its rates are the default's.
func TestReferenceTraffic(t *testing.T) {
	p := planFor(t, "--users", "200k")
	near(t, "requests", p.Traffic.Requests, 1200, 1e-9)
	near(t, "deliveries", p.Traffic.Deliveries, 180_000, 1e-9)
	near(t, "connects", p.Traffic.Connects, 1200, 1e-9)
	near(t, "envelopes per request", p.Traffic.PerRequest, 24*(1-math.Pow(23.0/24, 150)), 1e-9)
	// 180,000 x (200 + 66) bytes
	near(t, "to players", p.Network[len(p.Network)-1].Bytes, 47.88e6, 1e-9)
	near(t, "kernel memory", p.Memory.Kernel, 200_000*4.4*1024, 1e-9)
	if got := planFor(t, "--users", "200k", "--notify-rate", "10"); got.Traffic.Deliveries != 1500 {
		t.Errorf("10 requests/s: %v deliveries/s", got.Traffic.Deliveries)
	}
}

// measuredSystem is the one that `homing bench notify` measures: 100 requests/s,
// one API server, two workers, one shard and one data master, each with a
// replica.
func measuredSystem(t *testing.T) *cell {
	t.Helper()
	in := input(t, "--users", "10k", "--notify-rate", "100", "--connects-per-user", "0")
	c := unsettled(&in, Measured(), 1)
	c.workers, c.apis, c.shards, c.data, c.dataReps, c.groups = 2, 1, 1, 1, 1, 1
	c.relay(c.apis, c.workers)
	return c
}

func TestModelGivesBackWhatWasMeasured(t *testing.T) {
	c := measuredSystem(t)
	work := front{c}.work() - c.users*c.cost("front_idle_us_per_conn")
	near(t, "front per delivery", work/c.deliveries(), c.cost("front_us_per_delivery"), 0.01)
	near(t, "API per delivery", api{c}.work()/c.deliveries(), c.cost("api_us_per_delivery"), 0.02)
	// Redis' figure was not used to make the pieces, which must come near it.
	published := c.published()
	redis := index{c}.lookUps() + published*(c.cost("redis_us_per_publish")+c.cost("redis_us_per_copy")) +
		2*pubsub{c}.asked() + 2*index{c}.asked() + sentinels*2*c.processes()*c.cost("sentinel_us_per_process")
	near(t, "Redis per delivery", redis/c.deliveries(), c.cost("redis_us_per_delivery"), 0.4)
}

func TestMoreUsersNeverNeedLess(t *testing.T) {
	var before *Plan
	for users := 1000.0; users < 6e6; users *= 1.3 {
		in := input(t, "--users", "1")
		in.Users, in.Cells = Count(users), 1
		p, err := Make(in, Measured())
		if err != nil {
			t.Fatal(err)
		}
		if before != nil {
			for i, c := range p.Components {
				if c.Name != "data replicas" && c.Count < before.Components[i].Count { // fewer of them, when there are more shards
					t.Errorf("%v users: %v %s, %v users: %v", before.Users, before.Components[i].Count, c.Name, p.Users, c.Count)
				}
			}
			if p.Traffic.PerRequest < before.Traffic.PerRequest*(1-1e-12) {
				t.Errorf("%v users: envelopes fall from %v to %v", users, before.Traffic.PerRequest, p.Traffic.PerRequest)
			}
		}
		before = p
	}
}

func TestBoundsHold(t *testing.T) {
	for _, users := range []string{"1", "1k", "200k", "1M", "5M", "10M", "100M", "1G"} {
		p := planFor(t, "--users", users)
		if !p.Fits {
			t.Errorf("%s users: no number of cells fits", users)
		}
		for _, c := range p.Components {
			for _, l := range c.Loads {
				if (l.Of == "CPU" || l.Of == "network" || strings.HasSuffix(l.Of, "core")) && l.Used > 0.5+1e-6 {
					t.Errorf("%s users, %s: %s at %v, planned for 0.5", users, c.Name, l.Of, l.Used)
				}
			}
		}
	}
}

func TestAnyInputGivesNumbers(t *testing.T) {
	for _, args := range [][]string{
		{"--users", "1", "--targets", "1", "--online", "1", "--zones", "1", "--cores-per-machine", "1"},
		{"--users", "100G"},
		{"--users", "100G", "--cells", "1"},
		{"--users", "100G", "--notify-rate", "10000000000", "--targets", "10000", "--online", "10000", "--connects-per-user", "100000"},
		{"--users", "1M", "--per-user", "0", "--connects-per-user", "0", "--storm-minutes", "0"},
		{"--users", "1", "--notify-rate", "5", "--cells", "7", "--local", "0"},
	} {
		p := planFor(t, args...)
		if _, err := json.Marshal(p); err != nil { // refuses what is no number
			t.Errorf("%v: %v", args, err)
		}
		var text strings.Builder
		if err := p.Write(&text); err != nil || strings.Contains(text.String(), "NaN") || strings.Contains(text.String(), "Inf") {
			t.Errorf("%v: %v\n%s", args, err, text.String())
		}
	}
}

func TestEnvelopesComeToOnePerUser(t *testing.T) {
	p := planFor(t, "--users", "1M")
	first, last := p.Growth[0], p.Growth[len(p.Growth)-1]
	if first.Envelopes > 60 || last.Envelopes < 140 || last.Envelopes > 150 {
		t.Errorf("from %v to %v envelopes for a request of 150 online", first.Envelopes, last.Envelopes)
	}
	if last.Used <= 1 {
		t.Errorf("x%v: nothing gives", last.Times)
	}
}

func TestLimitsAreWhereTheyGive(t *testing.T) {
	in := input(t, "--users", "1M")
	for _, l := range limits() {
		users := carriesAlone(&in, Measured(), l)
		for times, fits := range map[float64]bool{0.9: true, 1.2: false} {
			c := unsettled(in.grown(users*times), Measured(), 1)
			c.alone = true
			c.settle()
			if used := l.used(c); (used <= 1) != fits {
				t.Errorf("%s: %v x %v users use %v", l.name, times, users, used)
			}
		}
	}
	p := planFor(t, "--users", "1M")
	for i := 1; i < len(p.Limits); i++ {
		if p.Limits[i].Users < p.Limits[i-1].Users {
			t.Errorf("%q stands before %q", p.Limits[i-1].Name, p.Limits[i].Name)
		}
	}
	if p.Carries > p.Limits[0].Users {
		t.Errorf("together %v users, the nearest limit alone %v", p.Carries, p.Limits[0].Users)
	}
}

// Without what crosses cells, n cells are n times one.
func TestCellsApartAddUp(t *testing.T) {
	one := planFor(t, "--users", "1M", "--cells", "1")
	ten := planFor(t, "--users", "10M", "--cells", "10", "--local", "1")
	for i, c := range one.Components {
		near(t, c.Name, ten.Components[i].Count, 10*c.Count, 1e-9)
	}
	crossing := planFor(t, "--users", "10M", "--cells", "10", "--local", "0.5")
	if crossing.count(t, "pub/sub shards") <= ten.count(t, "pub/sub shards") {
		t.Error("requests across cells cost nothing")
	}
}

func TestCostsOfAnotherMachine(t *testing.T) {
	base := Measured()
	got, err := base.With([]byte(`{"conns": 1000, "idle_cores": 0.01, "front_us_per_delivery": 8, "redis_us_per_delivery": 6.4, "redis_us_per_connect": 9, "p50_ms": 3}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"front_us_per_delivery":  8,
		"front_idle_us_per_conn": 10,
		"redis_us_per_publish":   base.Value("redis_us_per_publish") * 6.4 / base.Value("redis_us_per_delivery"),
		"redis_us_per_connect":   9, // said by itself
		"api_us_per_delivery":    base.Value("api_us_per_delivery"),
	} {
		near(t, name, got.Value(name), want, 1e-9)
	}
	if base.Value("front_us_per_delivery") == 8 {
		t.Error("the costs given were changed, not copied")
	}
	if _, err := base.With([]byte(`{"p50_ms": 3}`)); !errors.Is(err, ErrNoCosts) {
		t.Errorf("no cost: %v", err)
	}
	for _, bad := range []string{`{"front_us_per_delivery": -1}`, `{"kib_per_conn": "much"}`} {
		if _, err := base.With([]byte(bad)); err == nil || !strings.Contains(err.Error(), "_per_") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := base.With([]byte(`[]`)); err == nil {
		t.Error("a list passes")
	}
}

func TestEveryCostMatters(t *testing.T) {
	for i, c := range Measured() {
		if c.Value <= 0 || c.About == "" || c.Command == "" {
			t.Errorf("%+v", c)
		}
		more := Measured()
		more[i].Value *= 100
		for _, users := range []string{"200k", "5M"} {
			in := input(t, "--users", users, "--cells", "1")
			before, _ := Make(in, Measured())
			after, err := Make(in, more)
			if err != nil {
				t.Fatal(err)
			}
			before.Costs, after.Costs = nil, nil
			a, _ := json.Marshal(before)
			b, _ := json.Marshal(after)
			if string(a) == string(b) && c.Name != "redis_us_per_delivery" { // only its ratio is used
				t.Errorf("%s users: %s changes nothing", users, c.Name)
			}
		}
	}
}
