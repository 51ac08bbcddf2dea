package redisx

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/FZambia/sentinel"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/redis/go-redis/v9"
)

// sentinelWatcher asks one Sentinel about one master, each second and whenever that
// Sentinel announces something. Each Sentinel has its own watcher, because
// they learn of a failover at different moments, and because the library,
// given several, is not safe for concurrent use and skips live ones after a
// dead one; here it is owned by one goroutine and knows one address.
type sentinelWatcher struct {
	d        *dialect
	addr     string
	refusals *refusalLog
	kick     chan struct{} // holds 1: ask now
	oldName  bool          // replicas are asked for as slaves; owned by run
}

// statement is the outcome of asking one Sentinel.
type statement struct {
	addr    string
	opinion opinion
	err     error
	event   bool // asked because the Sentinel announced something
}

func newSentinelWatcher(d *dialect, addr string, r *refusalLog) *sentinelWatcher {
	return &sentinelWatcher{d: d, addr: addr, refusals: r, kick: make(chan struct{}, 1)}
}

// run asks until ctx ends and hands every outcome to report.
func (w *sentinelWatcher) run(ctx context.Context, report func(statement)) {
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		w.listen(ctx)
	}()
	defer func() { <-listening }()

	pool := w.pool(ctx)
	defer pool.Close()
	lib := &sentinel.Sentinel{
		Addrs:      []string{w.addr},
		MasterName: w.d.master,
		Pool:       func(string) *redigo.Pool { return pool },
	}
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for event := false; ctx.Err() == nil; {
		o, err := w.ask(lib, pool)
		if err != nil && ctx.Err() == nil {
			o, err = w.ask(lib, pool) // the first may have met a connection that had ended
		}
		report(statement{addr: w.addr, opinion: o, err: w.d.veil(err), event: event})
		select {
		case <-ctx.Done():
		case <-tick.C:
			event = false
		case <-w.kick:
			event = true
		}
	}
}

// pool keeps one connection to the Sentinel, where the library would ping
// before each question. What it dials fails once ctx has ended; a question
// under way then ends with the read timeout at the latest.
func (w *sentinelWatcher) pool(ctx context.Context) *redigo.Pool {
	return &redigo.Pool{MaxIdle: 1, Dial: func() (redigo.Conn, error) {
		return redigo.DialContext(ctx, "tcp", w.addr,
			redigo.DialContextFunc(func(ctx context.Context, _, addr string) (net.Conn, error) {
				return w.d.dialSentinel(ctx, addr)
			}),
			redigo.DialReadTimeout(w.d.read),
			redigo.DialWriteTimeout(w.d.write),
			redigo.DialUsername(w.d.sentinelUser),
			redigo.DialPassword(w.d.sentinelPassword),
		)
	}}
}

func (w *sentinelWatcher) ask(lib *sentinel.Sentinel, pool *redigo.Pool) (opinion, error) {
	var o opinion
	var err error
	if o.master, err = lib.MasterAddr(); err != nil {
		if strings.Contains(err.Error(), redigo.ErrNil.Error()) { // the library keeps the cause unexported
			err = fmt.Errorf("it watches no master named %q", w.d.master)
		}
		w.note("sentinel|get-master-addr-by-name", err)
		return o, err
	}
	replicas, err := w.listReplicas(pool)
	if err != nil {
		w.note("sentinel|replicas", err)
		return o, err
	}
	for _, r := range replicas {
		o.replicas = append(o.replicas, replicaOpinion{addr: r.addr, available: r.available()})
		if r.has("promoted") {
			o.promoted = r.addr
		}
	}
	sentinels, err := w.list(pool, "sentinels")
	if _, refused := refusedBySentinel(err); refused {
		w.note("sentinel|sentinels", err) // those that the URL names will do
		return o, nil
	}
	for _, s := range sentinels {
		o.sentinels = append(o.sentinels, s.addr)
	}
	return o, err
}

// listReplicas asks by the name that the command has had since Redis 5, or by
// the one before, whichever this Sentinel allows.
func (w *sentinelWatcher) listReplicas(pool *redigo.Pool) ([]listed, error) {
	names := [...]string{"replicas", "slaves"}
	if w.oldName {
		names = [...]string{"slaves", "replicas"}
	}
	all, err := w.list(pool, names[0])
	if _, refused := refusedBySentinel(err); !refused {
		return all, err
	}
	others, failed := w.list(pool, names[1])
	if failed != nil {
		return nil, err
	}
	w.oldName = !w.oldName
	return others, nil
}

// note counts and logs a refusal of command, if err is one.
func (w *sentinelWatcher) note(command string, err error) {
	if reply, ok := refusedBySentinel(err); ok {
		w.refusals.note(w.d.name, w.addr, cmp.Or(repliedTo(reply.Error()), command), reply, time.Now())
	}
}

// sentinelError is a reply that came through redigo, as go-redis marks its own.
type sentinelError string

func (r sentinelError) Error() string { return string(r) }

// RedisError implements redis.Error.
func (sentinelError) RedisError() {}

// refusedBySentinel returns a Sentinel's reply that refuses what we asked. The
// Sentinel library keeps the cause of its errors unexported, so that they can be
// told by their text alone.
func refusedBySentinel(err error) (redis.Error, bool) {
	if err == nil {
		return nil, false
	}
	text := err.Error()
	for _, begins := range []string{"NOPERM", "NOAUTH", "WRONGPASS", "ERR Unknown sentinel subcommand", "ERR unknown command", "ERR Unknown subcommand"} {
		if i := strings.Index(text, begins); i >= 0 {
			return sentinelError(text[i:]), true
		}
	}
	return nil, false
}

// listed is an instance that a Sentinel lists.
type listed struct {
	addr  string
	flags []string
}

func (l *listed) has(flag string) bool { return slices.Contains(l.flags, flag) }

func (l *listed) available() bool { return !l.has("disconnected") && !l.has("s_down") }

// list asks for the master's replicas ("replicas") or for its other Sentinels.
// The library's Slaves does not tell which one is being promoted, and its
// SentinelAddrs and Discover fail with the redigo of today on every reply.
func (w *sentinelWatcher) list(pool *redigo.Pool, kind string) ([]listed, error) {
	c := pool.Get()
	defer c.Close()
	reply, err := redigo.Values(c.Do("SENTINEL", kind, w.d.master))
	if err != nil {
		return nil, fmt.Errorf("ask a Sentinel for its %s: %w", kind, err)
	}
	all := make([]listed, len(reply))
	for i, r := range reply {
		m, err := redigo.StringMap(r, nil)
		if err != nil {
			return nil, fmt.Errorf("read a Sentinel's %s: %w", kind, err)
		}
		all[i] = listed{net.JoinHostPort(m["ip"], m["port"]), strings.Split(m["flags"], ",")}
	}
	return all, nil
}

// events are the announcements of a Sentinel after which it is worth asking.
var events = []string{
	"+switch-master", "+slave", "+sdown", "-sdown", "+odown", "-odown",
	"+selected-slave", "+failover-state-send-slaveof-noone", "+promoted-slave", // a planned failover moves the master without +sdown
	"+slave-reconf-done", "+convert-to-slave", "+reboot", "+sentinel",
}

const (
	listenQuiet    = 2 * time.Second // of silence before a Sentinel is pinged
	listenPatience = time.Second     // for its answer
	listenRetry    = time.Second     // before subscribing again
)

// listen keeps subscribed to the Sentinel's announcements until ctx ends. What
// it misses while it is not, the next second's question finds.
func (w *sentinelWatcher) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if l, err := openLink(ctx, w.d.sentinelOptions(w.addr), events); err == nil {
			w.hurry() // it may have spoken before we listened
			w.follow(ctx, l)
		} else { // one that is away is told by the questions
			w.refusals.note(w.d.name, w.addr, "subscribe", err, time.Now())
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}

func (w *sentinelWatcher) follow(ctx context.Context, l *link) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.guard(ctx, listenQuiet, listenPatience) // however it ended, we subscribe again
	}()
	_ = l.read(ctx, func(m *redis.Message) {
		if concerns(m.Payload, w.d.master) {
			w.hurry()
		}
	})
	l.close()
	<-done
}

// concerns reports whether an announcement is about the named master: every
// one holds that name as a word of its own.
func concerns(payload, master string) bool {
	return slices.Contains(strings.Fields(payload), master)
}

func (w *sentinelWatcher) hurry() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}
