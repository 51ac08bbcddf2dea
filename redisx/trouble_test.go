package redisx

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// One line when a command begins to be refused and one when that is over,
// however often; only what another try does not mend is a trouble.
func TestRefusalLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := newRefusalLog(slog.New(slog.NewTextHandler(&out, nil)), newMetrics(nil))
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for i := range 10 {
		l.note("s", "a:1", "set", reply("OOM command not allowed"), at(i))
	}
	l.note("s", "a:1", "get", reply("NOPERM no"), at(1))
	l.note("s", "a:1", "get", reply("OOM no"), at(2))
	l.note("s", "b:1", "set", reply("NOREPLICAS Not enough"), at(2))
	l.note("s", "a:1", "set", reply("NOSCRIPT no"), at(2))
	l.note("s", "a:1", "set", errors.New("timeout"), at(2))
	if n := strings.Count(out.String(), "msg=\"redis refuses\""); n != 4 {
		t.Errorf("%d lines, want 4:\n%s", n, &out)
	}
	if line := out.String(); !strings.Contains(line, `level=WARN msg="redis refuses" shard=s node=a:1 command=set class=full err="OOM command not allowed"`) {
		t.Errorf("the first line lacks something:\n%s", line)
	}
	all := l.troubles(at(10))
	if len(all) != 2 || all[0].Command != "get" || all[0].Class != "full" || all[1].Command != "set" || !all[1].At.Equal(at(9)) {
		t.Errorf("troubles %+v, want the newest of get and of set", all)
	}
	l.sweep(at(20))
	if all = l.troubles(at(20)); len(all) != 1 || all[0].Command != "set" {
		t.Errorf("troubles %+v, want that of set alone", all)
	}
	l.sweep(at(24))
	if all = l.troubles(at(24)); len(all) != 0 {
		t.Errorf("troubles %+v after their time", all)
	}
	if n := strings.Count(out.String(), "msg=\"redis refuses no more\""); n != 4 {
		t.Errorf("%d lines say that it is over, want 4:\n%s", n, &out)
	}
	if !strings.Contains(out.String(), "refusals=10 for=9s") {
		t.Errorf("no line counts the refusals:\n%s", &out)
	}
}

// Reply to the handshake are the handshake's, not those of the command that
// needed a connection.
func TestWitness(t *testing.T) {
	t.Parallel()
	p := startServer(t)
	c := p.Client()
	defer c.Close()
	if err := c.Do(t.Context(), "ACL", "SETUSER", "u", "on", ">pw", "~*", "&*", "+@all", "-mget", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	l := newRefusalLog(slog.New(slog.DiscardHandler), newMetrics(nil))
	d := testDialect(p.Addr())
	d.user, d.password = "u", "pw"
	n := newNode(d, p.Addr(), l)
	n.expect(wanted{role: roleMaster})
	defer n.current.Load().close()
	if err := n.client().Get(t.Context(), "k").Err(); classify(err) != classMisconfigured {
		t.Errorf("a command on a connection without INFO: %v", err)
	}
	prober := n.prober()
	defer prober.Close()
	if p := look(t.Context(), d, prober, true); p.err == nil || !strings.HasPrefix(p.err.Error(), "INFO: NOPERM") {
		t.Errorf("a look without INFO: %v, want it to name the command", p.err)
	}
	pipe := prober.Pipeline()
	pipe.Get(t.Context(), "k")
	pipe.MGet(t.Context(), "k")
	if _, err := pipe.Exec(t.Context()); err == nil {
		t.Error("no error")
	}
	var commands []string
	for _, t := range l.troubles(time.Now()) {
		commands = append(commands, t.Command)
	}
	if got := strings.Join(commands, " "); got != "info mget" {
		t.Errorf("troubles with %q, want info and mget", got)
	}
}

// The hook allocates nothing while commands succeed.
func TestWitnessAllocates(t *testing.T) {
	w := &witness{refusals: newRefusalLog(slog.New(slog.DiscardHandler), newMetrics(nil)), shard: "s", node: "a:1"}
	process := w.ProcessHook(func(context.Context, redis.Cmder) error { return nil })
	pipeline := w.ProcessPipelineHook(func(context.Context, []redis.Cmder) error { return nil })
	cmd := redis.NewStringCmd(t.Context(), "get", "k")
	cmds := []redis.Cmder{cmd}
	if n := testing.AllocsPerRun(100, func() {
		if process(t.Context(), cmd) != nil || pipeline(t.Context(), cmds) != nil {
			t.Error("an error")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWitness(b *testing.B) {
	w := &witness{refusals: newRefusalLog(slog.New(slog.DiscardHandler), newMetrics(nil)), shard: "s", node: "a:1"}
	process := w.ProcessHook(func(context.Context, redis.Cmder) error { return nil })
	cmd := redis.NewStringCmd(b.Context(), "get", "k")
	for b.Loop() {
		if process(b.Context(), cmd) != nil {
			b.Fatal("an error")
		}
	}
}
