package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// sent keeps what was sent.
type sent struct {
	out  []relay.Outgoing
	full hub.ProcessID // it takes no more
	err  error
}

func (s *sent) Send(_ context.Context, out []relay.Outgoing) error {
	for i := range out {
		out[i].Refused = s.full != "" && out[i].To == s.full
	}
	s.out = append(s.out, out...)
	return s.err
}

// fixed is an index that never changes.
type fixed map[hub.UserID]index.Entry

func (f fixed) Entries(_ context.Context, users []hub.UserID) (out []index.Entry, err error) {
	for _, u := range users {
		e := f[u]
		e.User = u
		out = append(out, e)
	}
	return out, nil
}

func services(names ...hub.Service) (all []hub.ServiceCount) {
	for _, n := range names {
		all = append(all, hub.ServiceCount{Service: n, Count: 1})
	}
	return all
}

// knows is a registrar.
type knows struct{ came, went []hub.UserID }

func (k *knows) Told(came, went []hub.UserID) {
	k.came, k.went = append(k.came, came...), append(k.went, went...)
}

func TestMeetTellsEachProcessOnce(t *testing.T) {
	came := time.UnixMicro(99)
	ix := fixed{
		"ann": {Processes: []hub.Holding{{Process: "P1", Services: services("go")}}, Since: came},
		"bob": {Processes: []hub.Holding{{Process: "P1", Services: services("go", "")}, {Process: "P2", Services: services("chess", "go")}}},
		"cy":  {},
		"dee": {Processes: []hub.Holding{{Process: "P1", Services: services("")}}},
		"eve": {Processes: []hub.Holding{{Process: "P3", Services: services("")}}},
		"fay": {Processes: []hub.Holding{{Process: "P4"}}}, // has left a moment ago
	}
	s := &sent{full: "P3"}
	c := &fronts{}
	teller := NewTeller(Config{Friends: true}, Deps{Index: ix, Relay: s, Census: c, Log: quiet, Registry: prometheus.NewRegistry()})
	n := News{User: "ann", Online: true, Services: []hub.Service{"go"}, At: time.UnixMicro(77)}
	all := []*Meeting{
		{User: "ann", Friends: []hub.UserID{"bob", "cy", "dee", "eve", "fay"}, Tell: []Tell{{News: n}}},
		{User: "zoe", Friends: []hub.UserID{"dee"}},
		{User: "ann", Friends: []hub.UserID{"bob", "dee"}, Tell: []Tell{
			{News: News{User: "ann", Online: true}, To: map[hub.UserID]bool{"dee": true}},
			{News: News{User: "ann"}, To: map[hub.UserID]bool{"bob": true}},
		}},
		{User: "cy", Friends: []hub.UserID{"bob"}, Tell: []Tell{{News: News{User: "cy", Online: true}}}}, // has gone meanwhile
	}
	teller.Meet(t.Context(), all)
	want := []Friend{{User: "bob", Services: []hub.Service{"chess", "go"}}, {User: "dee"}, {User: "eve"}, {User: "fay"}}
	if diff := cmp.Diff(want, all[0].Online); diff != "" || all[0].Err != nil {
		t.Errorf("%v; online (-want +got):\n%s", all[0].Err, diff)
	}
	if diff := cmp.Diff([]Friend{{User: "dee"}}, all[1].Online); diff != "" {
		t.Errorf("online (-want +got):\n%s", diff)
	}
	to := make(map[hub.ProcessID][]Word)
	for _, o := range s.out {
		m, err := Parse(o.Body)
		if err != nil {
			t.Errorf("%s is sent %q: %v", o.To, o.Body, err)
		}
		to[o.To] = append(to[o.To], m.News...)
	}
	there, gone := News{User: "ann", Online: true, Services: []hub.Service{"go"}, At: came}, News{User: "ann", At: came}
	words := map[hub.ProcessID][]Word{
		"P1": {{n, []hub.UserID{"bob", "dee"}}, {there, []hub.UserID{"dee"}}, {gone, []hub.UserID{"bob"}}},
		"P2": {{n, []hub.UserID{"bob"}}, {gone, []hub.UserID{"bob"}}},
		"P3": {{n, []hub.UserID{"eve"}}},
	}
	if diff := cmp.Diff(words, to); diff != "" || len(s.out) != 3 {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if told, untold := testutil.ToFloat64(teller.met.told), testutil.ToFloat64(teller.met.untold); told != 2 || untold != 1 {
		t.Errorf("%v sent, %v refused", told, untold)
	}
	s.err = hub.ErrUnavailable
	teller.Meet(t.Context(), all[:2])
	if !errors.Is(all[0].Err, hub.ErrUnavailable) || all[1].Err != nil {
		t.Errorf("when nothing can be sent: %v, and %v", all[0].Err, all[1].Err)
	}
}

// TestWhoMissedWordsReadsAnew has one process refuse a word, and another not confirm it.
func TestWhoMissedWordsReadsAnew(t *testing.T) {
	s := &sent{full: "P1"}
	d := debts{relay: s, census: &fronts{dead: "P3"}}
	word := (&Message{News: []Word{{News: News{User: "ann"}}}}).Bytes()
	if n, err := d.send(t.Context(), []relay.Outgoing{{To: "P1", Body: word}, {To: "P2", Body: word}}); n != 1 || err != nil {
		t.Fatalf("%d refused, %v", n, err)
	}
	d.GivenUp([]relay.Abandoned{{To: "P2", Body: word}, {To: "P3", Body: word}, {To: "P4", Body: []byte("an envelope")}})
	s.out = nil
	d.pay(t.Context()) // the first is full still
	s.full = ""
	s.out = slices.DeleteFunc(s.out, func(o relay.Outgoing) bool { return o.Refused })
	d.pay(t.Context())
	d.pay(t.Context())
	to := make(map[hub.ProcessID]int)
	for _, o := range s.out {
		m, err := Parse(o.Body)
		if err != nil || !m.Reread {
			t.Errorf("%s is sent %+v, %v", o.To, m, err)
		}
		to[o.To]++
	}
	if diff := cmp.Diff(map[hub.ProcessID]int{"P1": 1, "P2": 1}, to); diff != "" {
		t.Errorf("told to read anew (-want +got):\n%s", diff)
	}
}

// TestIndexIsToldWhatOthersHaveHeard waits until Redis has the events.
func TestIndexIsToldWhatOthersHaveHeard(t *testing.T) {
	cfg := redistest.Config(t, redistest.Server(t))
	r, keys := redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix)
	k := &knows{}
	teller := NewTeller(Config{On: true}, Deps{Registrar: k, Hooks: publisher(t, r, keys), Log: quiet, Registry: prometheus.NewRegistry()})
	at := time.UnixMicro(time.Now().UnixMicro())
	moves := index.Moves{Came: []index.Arrival{{User: "ann", At: at}}, Went: []index.Departure{{User: "bob", At: at}}}
	for range 2 { // a repeat has the ids of the first
		teller.Moved(nil)(moves)
	}
	if err := teller.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(k.came) != 2 || len(k.went) != 2 || k.came[0] != "ann" || k.went[0] != "bob" {
		t.Errorf("the index is told of %q and %q", k.came, k.went)
	}
	ids := make(map[string]int)
	for n := range hook.Partitions {
		for _, e := range entries(t, r, keys.Hook("").Stream(n)) {
			ids[fmt.Sprint(e["i"])]++
		}
	}
	if len(ids) != 2 || ids[moveID("on", "ann", at)] != 2 || ids[moveID("off", "bob", at)] != 2 {
		t.Errorf("events %v", ids)
	}
}

// TestChangedListsAreTold stores a list of a user who is online, and of one who is not.
func TestChangedListsAreTold(t *testing.T) {
	cfg := redistest.Config(t, redistest.Server(t))
	r, keys := redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix)
	s := &sent{}
	ix := fixed{"ann": {Processes: []hub.Holding{{Process: "P1"}, {Process: "P2"}}}}
	l := NewLists(NewStore(r, keys, time.Hour), ix, s)
	if err := errors.Join(l.Put(t.Context(), "ann", []hub.UserID{"bob"}), l.Put(t.Context(), "cy", []hub.UserID{"bob"})); err != nil {
		t.Fatal(err)
	}
	if len(s.out) != 2 {
		t.Fatalf("%d processes are told", len(s.out))
	}
	if m, err := Parse(s.out[1].Body); err != nil || !slices.Equal(m.Changed, []hub.UserID{"ann"}) {
		t.Errorf("told %+v, %v", m, err)
	}
	s.full = "P2"
	if err := l.Delete(t.Context(), "ann"); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("when one is not told: %v", err)
	}
}

func TestMessagesTravel(t *testing.T) {
	for _, m := range []Message{
		{News: []Word{
			{News{User: "ann", Online: true, Services: []hub.Service{"a", "b"}, At: time.UnixMicro(1_700_000_000_000_001)}, []hub.UserID{"bob", "cy"}},
			{News: News{User: "ann", At: time.UnixMicro(5)}},
		}},
		{Gone: []Gone{{"ann", time.UnixMicro(1)}, {"bob", time.UnixMicro(2)}}},
		{Changed: []hub.UserID{"ann", "bob"}},
		{Reread: true},
	} {
		b := m.Bytes()
		got, err := Parse(b)
		if diff := cmp.Diff(m, got); err != nil || diff != "" || !Is(b) {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		for n := range b {
			if _, err := Parse(b[:n]); !errors.Is(err, ErrBadMessage) {
				t.Errorf("the first %d of %d bytes: %v", n, len(b), err)
			}
		}
		if _, err := Parse(append(b, 0)); !errors.Is(err, ErrBadMessage) {
			t.Errorf("with a byte too many: %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&Message{News: []Word{{News{User: "ann", At: time.UnixMicro(5)}, []hub.UserID{"bob"}}}}).Bytes())
	f.Add((&Message{Changed: []hub.UserID{"ann"}}).Bytes())
	f.Add((&Message{Gone: []Gone{{"ann", time.UnixMicro(1)}}}).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if again, err := Parse(m.Bytes()); err != nil || cmp.Diff(m, again) != "" {
			t.Errorf("%v: %+v and %+v", err, m, again)
		}
	})
}

// fronts is a census.
type fronts struct {
	all  []hub.Process
	dead hub.ProcessID
	read int
}

func (f *fronts) Refresh(context.Context) error { f.read++; return nil }

func (f *fronts) Processes(string) []hub.Process {
	if f.read == 0 {
		return nil // it has not heard of them yet
	}
	return f.all
}

func (f *fronts) Lives(p hub.ProcessID) bool { return p != f.dead }

// TestMournerPublishesUnderTheSameIDs tells twice of the same users.
func TestMournerPublishesUnderTheSameIDs(t *testing.T) {
	cfg := redistest.Config(t, redistest.Server(t))
	r, keys := redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix)
	hooks := publisher(t, r, keys)
	s := &sent{}
	m := NewMourner(Config{On: true, Friends: true}, &fronts{all: []hub.Process{{ID: "F1"}, {ID: "F2"}}}, s, hooks)
	at := time.UnixMicro(time.Now().UnixMicro())
	ended := []index.Ended{
		{User: "ann", Process: "AAAAAAAAAAA", At: at, Came: at},
		{User: "b!b", Process: "AAAAAAAAAAA", At: at, Back: true},
	}
	for range 2 {
		if err := m.Tell(t.Context(), ended); err != nil {
			t.Fatal(err)
		}
	}
	ids := make(map[string]int)
	for n := range hook.Partitions {
		for _, e := range entries(t, r, keys.Hook("").Stream(n)) {
			ids[fmt.Sprint(e["i"])]++
			if body := fmt.Sprint(e["b"]); !strings.Contains(body, at.UTC().Format("2006-01-02T15:04:05.000")) || !strings.Contains(body, `"user.o`) {
				t.Errorf("an event: %s", body)
			}
		}
	}
	if len(ids) != 3 || ids[moveID("on", "ann", at)] != 2 || ids[moveID("off", "ann", at)] != 2 || ids[moveID("off", "b!b", at)] != 2 {
		t.Errorf("events of the ids %v", ids)
	}
	var to []hub.ProcessID
	for _, o := range s.out[:2] {
		to = append(to, o.To)
		if msg, err := Parse(o.Body); err != nil || cmp.Diff(msg.Gone, []Gone{{"ann", at}}) != "" {
			t.Errorf("%s is sent %+v, %v", o.To, msg, err)
		}
	}
	if !slices.Equal(to, []hub.ProcessID{"F1", "F2"}) || len(s.out) != 4 {
		t.Errorf("sent to %q, %d in all", to, len(s.out))
	}
	s.err = hub.ErrUnavailable
	for range 3 {
		if err := m.Tell(t.Context(), ended); !errors.Is(err, hub.ErrUnavailable) {
			t.Errorf("when nothing can be sent: %v", err)
		}
	}
	s.err = nil
	if err := m.Tell(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range hook.Partitions {
		n += len(entries(t, r, keys.Hook("").Stream(i)))
	}
	if n != 9 {
		t.Errorf("%d events, want 3 more for all tries together", n)
	}
}

// publisher runs one until the test ends.
func publisher(t *testing.T, r *redisx.Redis, keys hub.Keys) *hook.Publisher {
	t.Helper()
	var c hook.Config
	if err := kong.ApplyDefaults(&c); err != nil {
		t.Fatal(err)
	}
	c.On = true
	roster := hook.NewRoster(r, keys, quiet)
	roster.Have([]hook.Target{{Name: hook.DefaultName, Events: []string{"*"}, StreamBytes: 64 << 20}})
	p := hook.NewPublisher(c, roster, r, keys, quiet, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func entries(t *testing.T, r *redisx.Redis, stream string) (all []map[string]any) {
	t.Helper()
	err := r.Inbox.Shard(stream).Read(t.Context(), func(ctx context.Context, c *redis.Client) error {
		found, err := c.XRange(ctx, stream, "-", "+").Result()
		for _, e := range found {
			all = append(all, e.Values)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestStore(t *testing.T) {
	cfg := redistest.Config(t, redistest.Server(t))
	cfg.Data = append(cfg.Data, redistest.Server(t))
	r, keys := redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix)
	s := NewStore(r, keys, time.Hour)
	ctx := t.Context()
	if list, err := s.Get(ctx, "ann"); err != nil || list != nil {
		t.Errorf("at first: %q, %v", list, err)
	}
	for i := range 20 { // on both shards
		u := hub.UserID(fmt.Sprint("u", i))
		want := []hub.UserID{"bob", u + "!", "c*[d]"}
		if err := s.Put(ctx, u, want); err != nil {
			t.Fatal(err)
		}
		if list, err := s.Get(ctx, u); err != nil || !slices.Equal(list, want) {
			t.Errorf("%s: %q, %v", u, list, err)
		}
	}
	if err := s.Put(ctx, "u1", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, "u2"); err != nil {
		t.Fatal(err)
	}
	for _, u := range []hub.UserID{"u1", "u2"} {
		if list, err := s.Get(ctx, u); err != nil || list != nil {
			t.Errorf("%s after that: %q, %v", u, list, err)
		}
	}
	if got := split(strings.Repeat("x ", 400) + "\x01 a"); len(got) != hub.MaxFriends {
		t.Errorf("%d are read of what somebody else has written", len(got))
	}
}

func TestFullRedisTakesNoMoreLists(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	c := server.Client()
	defer c.Close()
	if err := c.ConfigSet(t.Context(), "maxmemory", "1mb").Err(); err != nil { // it uses more than 0.7 of that empty
		t.Fatal(err)
	}
	cfg := redistest.Config(t, "redis://"+server.Addr())
	s := NewStore(redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix), time.Hour)
	var full *hub.RoomError
	for deadline := time.Now().Add(20 * time.Second); !errors.As(s.Put(t.Context(), "ann", []hub.UserID{"bob"}), &full); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a full Redis takes lists")
		}
	}
	if full.Pot != hub.PotFriends || full.After <= 0 {
		t.Errorf("refused with %+v", full)
	}
}

func TestConfigIsChecked(t *testing.T) {
	var c Config
	if err := kong.ApplyDefaults(&c); err != nil || c.Validate() != nil || c.Enabled() {
		t.Fatalf("the default: %+v, %v, %v", c, err, c.Validate())
	}
	for option, change := range map[string]func(*Config){
		"presence-linger": func(c *Config) { c.Linger = 0 },
		"friends-keep":    func(c *Config) { c.Keep = time.Second },
	} {
		x := c
		change(&x)
		if err := x.Validate(); err == nil || !strings.Contains(err.Error(), "--"+option) {
			t.Errorf("%s: %v", option, err)
		}
	}
}

func TestListsOfFriendsAreChecked(t *testing.T) {
	many := make([]hub.UserID, hub.MaxFriends+1)
	for i := range many {
		many[i] = hub.UserID(fmt.Sprint("f", i))
	}
	for want, list := range map[string][]hub.UserID{
		"":                many[1:],
		"friends: ":       many,
		"friends[1]: ":    {"a", "b c"},
		"friends[2]: ":    {"a", "b", "a"},
		"of its own":      {"me"},
		"0 bytes, want 1": {""},
	} {
		err := hub.CheckFriends("me", list)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", list, err, want)
		}
	}
}
