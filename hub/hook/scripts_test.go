package hook_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

var scriptKeys = []string{"s", "b", "w"}

// add adds events with the numbers given, of subject a each, with bodies of 100
// bytes.
func add(t *testing.T, c *redis.Client, most int, numbers ...int) []any {
	t.Helper()
	args := []any{most, 60_000, 60_000}
	for _, n := range numbers {
		args = append(args, n, fmt.Sprint("id", n), "a", "room.ended", 1000+n, strings.Repeat("x", 100))
	}
	reply, err := hook.AddScript.Run(t.Context(), c, scriptKeys, args...).Slice()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// entries lists the stream through the script.
func entries(t *testing.T, c *redis.Client, from string, n int) (more any, names []string) {
	t.Helper()
	reply, err := hook.ScanScript.Run(t.Context(), c, scriptKeys[:1], from, n).Slice()
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(reply); i += 3 {
		if reply[i+1] != "a" || reply[i+2] != int64(100) {
			t.Errorf("subject %v, %v bytes", reply[i+1], reply[i+2])
		}
		names = append(names, reply[i].(string))
	}
	return reply[0], names
}

func TestAddScript(t *testing.T) {
	t.Parallel()
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		want(t, "added", add(t, c, 1<<20, 1, 2, 3), []any{3, 0, ""})
		want(t, "repeated in part", add(t, c, 1<<20, 2, 3, 4), []any{1, 0, ""})
		want(t, "repeated", add(t, c, 1<<20, 2, 3, 4), []any{0, 0, ""})
		each := 128 + len("id1") + len("a") + len("room.ended") + 100
		want(t, "bytes", c.HGet(t.Context(), "b", "bytes").Val(), 4*each)
		want(t, "given up", add(t, c, 3*each, 5), []any{1, 2, "id2"})
		want(t, "left", c.XLen(t.Context(), "s").Val(), 3)
		want(t, "bytes left", c.HGet(t.Context(), "b", "bytes").Val(), 3*each)
		look, err := hook.LookScript.Run(t.Context(), c, []string{"s", "b"}).Slice()
		if err != nil {
			t.Fatal(err)
		}
		want(t, "looked at", look, []any{3, 3 * each, 1003, 2, 0})
		for _, key := range scriptKeys {
			if c.PTTL(t.Context(), key).Val() <= 0 {
				t.Errorf("%s stays for ever", key)
			}
		}
		c.Del(t.Context(), "s") // by hand
		add(t, c, 1<<20, 6)
		want(t, "bytes of a new stream", c.HGet(t.Context(), "b", "bytes").Val(), each)
	})
}

func TestScanScript(t *testing.T) {
	t.Parallel()
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		more, names := entries(t, c, "-", 10)
		want(t, "an empty stream", fmt.Sprint(more, names), "0 []")
		for n := 1; n <= 40; n++ {
			add(t, c, 1<<20, n)
		}
		more, first := entries(t, c, "-", 30)
		want(t, "more and listed", fmt.Sprint(more, len(first)), "1 30")
		more, rest := entries(t, c, "("+first[29], 30)
		want(t, "more and listed", fmt.Sprint(more, len(rest)), "0 10")
		if all := slices.Concat(first, rest); len(slices.Compact(all)) != 40 {
			t.Errorf("listed %v", all)
		}
	})
}

func TestAckScript(t *testing.T) {
	t.Parallel()
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		add(t, c, 1<<20, 1, 2, 3, 4, 5, 6)
		_, names := entries(t, c, "-", 10)
		c.Set(t.Context(), "l", "mine", 0)
		ack := func(token string, why int, events ...string) []any {
			args := []any{token, why}
			for _, e := range events {
				args = append(args, e)
			}
			reply, err := hook.AckScript.Run(t.Context(), c, []string{"s", "b", "l"}, args...).Slice()
			if err != nil {
				t.Fatal(err)
			}
			return reply
		}
		want(t, "another event stands there", ack("mine", 1, names[0], "id9"), []any{0, 1})
		want(t, "given up by a stale holder", ack("old", 0, names[0], "id1"), []any{0, 0})
		want(t, "nothing was removed", c.XLen(t.Context(), "s").Val(), 6)
		want(t, "delivered by a stale holder", ack("old", 1, names[0], "id1"), []any{1, 0})
		want(t, "delivered", ack("mine", 1, names[1], "id2"), []any{1, 1})
		want(t, "again", ack("mine", 1, names[1], "id2"), []any{0, 1})
		want(t, "several, one of them again", ack("mine", 1, names[1], "id2", names[3], "id4", names[4], "id5"), []any{2, 1})
		want(t, "unwanted", ack("mine", 0, names[2], "id3"), []any{1, 1})
		want(t, "counted", c.HGet(t.Context(), "b", "expired").Val(), "")
		want(t, "too old", ack("mine", 2, names[5], "id6"), []any{1, 1})
		want(t, "counted", c.HGet(t.Context(), "b", "expired").Val(), 1)
		want(t, "bytes", c.HGet(t.Context(), "b", "bytes").Val(), 0)
	})
}

func TestTakeScript(t *testing.T) {
	t.Parallel()
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		take := func(token string) []any {
			reply, err := hook.TakeScript.Run(t.Context(), c, []string{"l", "s", "b"}, token, 60_000).Slice()
			if err != nil {
				t.Fatal(err)
			}
			if now := time.UnixMilli(reply[3].(int64)); time.Since(now).Abs() > time.Minute {
				t.Errorf("the time is %v", now)
			}
			return reply[:3]
		}
		want(t, "free", take("one"), []any{1, 0, ""})
		add(t, c, 1<<20, 1, 2)
		want(t, "another's", take("two"), []any{0, 0, ""})
		want(t, "renewed", take("one"), []any{1, 2 * (128 + 3 + 1 + 10 + 100), 1001})
	})
}

func TestJoinScript(t *testing.T) {
	t.Parallel()
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		join := func(who string, period time.Duration) int {
			n, err := hook.JoinScript.Run(t.Context(), c, []string{"m"}, who, period.Milliseconds()).Int()
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		want(t, "the first", join("one", 50*time.Millisecond), 1)
		want(t, "the second", join("two", time.Minute), 2)
		time.Sleep(60 * time.Millisecond)
		want(t, "the first counts no more", join("two", time.Minute), 1)
		want(t, "it leaves", join("two", 0), 0)
		want(t, "fields", c.HLen(t.Context(), "m").Val(), 0)
	})
}

// TestAFullRedis refuses new events, which wait, and lets those be delivered that
// it holds.
func TestAFullRedis(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	server := redistest.Process(t, redisproc.ServerOptions{})
	p := newProcess(t, redistest.Config(t, "redis://"+server.Addr()), b)
	pub := p.publisher()
	for n := 1; n <= 5; n++ {
		publish(t, pub, "room", n)
	}
	flush(t, pub)
	c := server.Client()
	defer c.Close()
	limit := func(bytes string) {
		if err := c.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	publish(t, pub, "room", 6)
	p.sender()
	within(t, 10*time.Second, "what it holds is delivered", func() bool { return len(b.has("room")) == 5 })
	if n := p.metric("homing_hook_queue_bytes"); n == 0 {
		t.Error("Redis took an event: the test shows nothing")
	}
	limit("0")
	within(t, 10*time.Second, "what waited is delivered", func() bool { return len(b.has("room")) == 6 })
	b.ordered()
}

// TestRights: the inbox role's user may do what hooks need.
func TestRights(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	server := redistest.Process(t, redisproc.ServerOptions{})
	rc := redistest.Config(t, "redis://"+server.Addr())
	c := server.Client()
	defer c.Close()
	args := []any{"ACL", "SETUSER", "inbox", "reset", "on", ">pw"}
	for rule := range strings.FieldsSeq(rights.ACL(rc.Prefix, rights.Inbox)) {
		args = append(args, rule)
	}
	if err := c.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	rc.Inbox = []string{"redis://inbox:pw@" + server.Addr() + "/1"}
	p := newProcess(t, rc, b)
	pub := p.publisher()
	s, _ := p.sender()
	publish(t, pub, "room", 1)
	within(t, 10*time.Second, "it came", func() bool { return len(b.has("room")) == 1 })
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err := hook.NewBoard(p.r, p.keys).Status(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("how it stands: %+v, %v", all, err)
	}
	for _, line := range c.Do(t.Context(), "ACL", "LOG").Val().([]any) {
		t.Errorf("refused: %v", line)
	}
}

// TestForeignEntries: what somebody else wrote into a stream is removed and counted.
func TestForeignEntries(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	stream := p.stream(hook.PartitionOf("room"))
	if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []string{"what", "ever"}}).Err(); err != nil {
		t.Fatal(err)
	}
	p.sender()
	publish(t, p.publisher(), "room", 1)
	within(t, 10*time.Second, "ours came", func() bool { return len(b.has("room")) == 1 })
	within(t, 10*time.Second, "the other is counted", func() bool { return p.metric("homing_hook_given_up_total", "malformed") == 1 })
	within(t, 10*time.Second, "nothing is left", func() bool { return c.XLen(t.Context(), stream).Val() == 0 })
}

// TestAnotherTypeOfKey: what Redis will not ever take is counted as lost, and does
// not hold up the rest.
func TestAnotherTypeOfKey(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Set(t.Context(), p.stream(hook.PartitionOf("room")), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	pub := p.publisher()
	p.sender()
	publish(t, pub, "room", 1)
	flush(t, pub)
	if n := p.metric("homing_hook_lost_total", "refused"); n != 1 {
		t.Errorf("%v are counted as refused", n)
	}
	other := others("room", 1)[0]
	publish(t, pub, other, 1)
	within(t, 10*time.Second, "others go on", func() bool { return len(b.has(other)) == 1 })
}

// TestWhatIsLeftInNodes: one subject that fails among many that do not keeps whole nodes
// of the stream; they count.
func TestWhatIsLeftInNodes(t *testing.T) {
	t.Parallel()
	c := redistest.Process(t, redisproc.ServerOptions{}).Client()
	defer c.Close()
	const most = 1 << 20
	c.Set(t.Context(), "l", "mine", 0)
	given := int64(0)
	for n, from := 1, "-"; n < 60_000; n += 100 {
		var numbers []int
		for i := range 100 {
			numbers = append(numbers, n+i)
		}
		given += add(t, c, most, numbers...)[1].(int64)
		_, names := entries(t, c, from, 200)
		args := []any{"mine", 1}
		for i, name := range names {
			from = "(" + name
			if i%25 != 0 {
				args = append(args, name, fmt.Sprint("id", n+i))
			}
		}
		if err := hook.AckScript.Run(t.Context(), c, []string{"s", "b", "l"}, args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if held := c.MemoryUsage(t.Context(), "s", 0).Val(); held > 2*most || held < most/2 {
		t.Errorf("the stream takes %d bytes, want %d at most", held, most)
	}
	if left := c.XLen(t.Context(), "s").Val(); given == 0 || given+left != 60_000/25 {
		t.Errorf("%d are left and %d were given up, of %d", left, given, 60_000/25)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	for attempts, most := range map[int]time.Duration{1: time.Second, 3: 4 * time.Second, 7: time.Minute, 1000: time.Minute} {
		for range 100 {
			if d := hook.Pause(attempts); d > most || d < most/2 {
				t.Errorf("after %d failures a pause of %v, want %v to %v", attempts, d, most/2, most)
			}
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	p, _ := alone(t)
	for name, change := range map[string]func(*hook.Config, *hook.SenderConfig){
		"--hook-queue-bytes: 1: ":        func(c *hook.Config, _ *hook.SenderConfig) { c.QueueBytes = 1 },
		"--hook-stream-bytes: 1048576: ": func(_ *hook.Config, c *hook.SenderConfig) { c.StreamBytes = 1 << 20 },
		"--hook-max-age: 169h0m0s: ":     func(_ *hook.Config, c *hook.SenderConfig) { c.MaxAge = 169 * time.Hour },
		"--hook-max-age: 0s: ":           func(_ *hook.Config, c *hook.SenderConfig) { c.MaxAge = 0 },
		"--hook-parallel: 0: ":           func(_ *hook.Config, c *hook.SenderConfig) { c.Parallel = 0 },
		"--hook-batch: 101: ":            func(_ *hook.Config, c *hook.SenderConfig) { c.Batch = 101 },
		"--hook-batch: -1: ":             func(_ *hook.Config, c *hook.SenderConfig) { c.Batch = -1 },
	} {
		c, sc := p.cfg, p.scfg
		if c.Validate() != nil || sc.Validate() != nil {
			t.Fatal("the defaults are refused")
		}
		change(&c, &sc)
		err := c.Validate()
		if err == nil {
			err = sc.Validate()
		}
		if err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryReasonIsDocumented holds docs/hooks.md to the reasons.
func TestEveryReasonIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range hook.Reasons {
		if !strings.Contains(string(text), "| `"+reason+"` |") {
			t.Errorf("docs/hooks.md does not explain %s", reason)
		}
	}
}
