package abuse

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/homing/homing/bench/load"
)

// Target is whom to attack, and with what in hand.
type Target struct {
	Front string // host:port for plain connections
	TLS   string // host:port for TLS
	API   string // base URL
	User  string // who the player is
	Token string // the player's
	Key   string // the API key
	From  string // the local address to come from
}

// Tally counts what came of the attempts, by what was answered.
type Tally map[string]int

// attack is one under way.
type attack struct {
	Target

	length time.Duration
	dialer net.Dialer
	http   http.Client

	mu    sync.Mutex
	tally Tally
}

const (
	patience = 10 * time.Second // for any one answer
	callers  = 64               // attempts under way at a time
)

func newAttack(t Target, length time.Duration) *attack {
	a := &attack{Target: t, length: length, tally: make(Tally)}
	a.dialer = net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(t.From)}}
	a.http = http.Client{Timeout: patience, Transport: &http.Transport{DialContext: a.dialer.DialContext, MaxIdleConnsPerHost: callers}}
	return a
}

// count notes what came of an attempt.
func (a *attack) count(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tally[what]++
}

// counted returns a copy of the tally.
func (a *attack) counted() Tally {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.tally)
}

// fail notes an attempt that broke, unless the attack is over.
func (a *attack) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		a.count("timed out")
	default:
		a.count("cut off")
	}
}

// repeat makes so many attempts a second until the attack is over.
func (a *attack) repeat(ctx context.Context, perSecond float64, try func(context.Context)) {
	s := load.Schedule{Rate: perSecond, Duration: a.length, Callers: callers}
	s.Run(ctx, func(int, time.Time) func(context.Context) { return try })
}

// held keeps connections open, the newest ones, until it is closed.
type held struct {
	most int

	mu    sync.Mutex
	conns []net.Conn
}

func (h *held) add(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns = append(h.conns, c); len(h.conns) > h.most {
		h.conns[0].Close()
		h.conns = h.conns[1:]
	}
}

func (h *held) all() []net.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]net.Conn(nil), h.conns...)
}

func (h *held) close() {
	for _, c := range h.all() {
		c.Close()
	}
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func status(code int) string { return "HTTP " + strconv.Itoa(code) }
