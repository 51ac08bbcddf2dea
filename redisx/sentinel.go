package redisx

import (
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

// watcher asks one Sentinel about one master, each second and whenever that
// Sentinel announces something. Each Sentinel has its own watcher, because
// they learn of a failover at different moments, and because the library,
// given several, is not safe for concurrent use and skips live ones after a
// dead one; here it is owned by one goroutine and knows one address.
type watcher struct {
	d    *dialect
	addr string
	kick chan struct{} // holds 1: ask now
}

// statement is the outcome of asking one Sentinel.
type statement struct {
	addr    string
	opinion opinion
	err     error
	event   bool // asked because the Sentinel announced something
}

func newWatcher(d *dialect, addr string) *watcher {
	return &watcher{d: d, addr: addr, kick: make(chan struct{}, 1)}
}

// run asks until ctx ends and hands every outcome to report.
func (w *watcher) run(ctx context.Context, report func(statement)) {
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		w.listen(ctx)
	}()
	defer func() { <-listening }()

	lib := w.library(ctx)
	defer lib.Close()
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for event := false; ctx.Err() == nil; {
		o, err := w.ask(lib)
		if err != nil && ctx.Err() == nil {
			o, err = w.ask(lib) // the first may have met a connection that had ended
		}
		report(statement{addr: w.addr, opinion: o, err: err, event: event})
		select {
		case <-ctx.Done():
		case <-tick.C:
			event = false
		case <-w.kick:
			event = true
		}
	}
}

// library is the Sentinel client for this one address. Its connections end
// with ctx at the latest after a timeout.
func (w *watcher) library(ctx context.Context) *sentinel.Sentinel {
	dial := func() (redigo.Conn, error) {
		return redigo.DialContext(ctx, "tcp", w.addr,
			redigo.DialContextFunc(func(ctx context.Context, _, addr string) (net.Conn, error) {
				return w.d.dialSentinel(ctx, addr)
			}),
			redigo.DialReadTimeout(w.d.read),
			redigo.DialWriteTimeout(w.d.write),
			redigo.DialUsername(w.d.sentinelUser),
			redigo.DialPassword(w.d.sentinelPassword),
		)
	}
	return &sentinel.Sentinel{
		Addrs:      []string{w.addr},
		MasterName: w.d.master,
		Pool: func(string) *redigo.Pool {
			return &redigo.Pool{MaxIdle: 1, Dial: dial}
		},
	}
}

func (w *watcher) ask(lib *sentinel.Sentinel) (opinion, error) {
	var o opinion
	var err error
	if o.master, err = lib.MasterAddr(); err != nil {
		if strings.Contains(err.Error(), redigo.ErrNil.Error()) { // the library keeps the cause unexported
			err = fmt.Errorf("it watches no master named %q", w.d.master)
		}
		return o, err
	}
	replicas, err := lib.Slaves()
	if err != nil {
		return o, err
	}
	for _, r := range replicas {
		o.replicas = append(o.replicas, replicaOpinion{addr: r.Addr(), available: r.Available()})
	}
	if o.sentinels, err = lib.SentinelAddrs(); err != nil {
		return o, err
	}
	for i, a := range o.sentinels {
		o.sentinels[i] = bracket(a)
	}
	return o, nil
}

// bracket repairs the library's host:port of an IPv6 address.
func bracket(addr string) string {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 || !strings.Contains(addr[:i], ":") || addr[0] == '[' {
		return addr
	}
	return net.JoinHostPort(addr[:i], addr[i+1:])
}

// events are the announcements of a Sentinel after which it is worth asking.
var events = []string{
	"+switch-master", "+slave", "+sdown", "-sdown", "+odown", "-odown",
	"+slave-reconf-done", "+convert-to-slave", "+reboot", "+sentinel",
}

const (
	listenQuiet    = 2 * time.Second // of silence before a Sentinel is pinged
	listenPatience = time.Second     // for its answer
	listenRetry    = time.Second     // before subscribing again
)

// listen keeps subscribed to the Sentinel's announcements until ctx ends. What
// it misses while it is not, the next second's question finds.
func (w *watcher) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if l, err := openLink(ctx, w.d.sentinelOptions(w.addr), events); err == nil {
			w.hurry() // it may have spoken before we listened
			w.follow(ctx, l)
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}

func (w *watcher) follow(ctx context.Context, l *link) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.guard(ctx, listenQuiet, listenPatience) // however it ended, we subscribe again
	}()
	_ = l.read(func(m *redis.Message) {
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

func (w *watcher) hurry() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}
