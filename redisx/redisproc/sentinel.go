package redisproc

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"
)

// SentinelOptions describe one Sentinel process. Its own listening, user,
// password, TLS and files are those of ServerOptions.
type SentinelOptions struct {
	ServerOptions
	Masters []Monitored
	// Quorum is how many Sentinels must find a master down. 0: 1.
	Quorum int
	// DownAfter is how long a server must not answer to be found down. 0: 1.3 s.
	// A Sentinel pings once a second, and for the first time a second after it
	// has met a server: at 1 s or less, it finds every new master down for a
	// moment, and one failover in eight led to a second one, away from the
	// master just elected.
	DownAfter time.Duration
	// FailoverTimeout bounds one attempt; the next one for the same master
	// comes after twice as long. 0: 10 s.
	FailoverTimeout time.Duration
	// Peers are the other Sentinels, if they are known already: otherwise they
	// find each other within about 2 s.
	Peers []Peer
	// ID is the Sentinel's own identity for its peers; empty: a random one.
	ID string
}

const defaultDownAfter = 1300 * time.Millisecond

// Monitored is one master that a Sentinel watches.
type Monitored struct {
	Name           string
	Addr           string
	User, Password string   // to give to it and to its replicas
	Replicas       []string // addresses, if they are known already
}

// Peer is another Sentinel.
type Peer struct{ Addr, ID string }

// StartSentinel starts a redis-sentinel and returns when it answers; ctx
// bounds only that wait. The caller kills it.
func StartSentinel(ctx context.Context, o SentinelOptions) (*Server, error) {
	return start(ctx, sentinelProgram, o.ServerOptions, func(s ServerOptions) []string {
		o.ServerOptions = s
		return sentinelConfig(o)
	})
}

func sentinelConfig(o SentinelOptions) []string {
	lines := append(listenConfig(o.ServerOptions), "sentinel myid "+cmp.Or(o.ID, newID()))
	if o.Password != "" {
		lines = append(lines, sentinelAuth(o.ServerOptions)...)
	}
	for _, m := range o.Masters {
		lines = append(lines, monitorConfig(o, m)...)
	}
	return lines
}

// sentinelAuth sets what clients must give to the Sentinel and what it gives
// to its peers.
func sentinelAuth(o ServerOptions) []string {
	if o.User == "" {
		return []string{"requirepass " + quote(o.Password), "sentinel sentinel-pass " + quote(o.Password)}
	}
	return []string{
		"user default off",
		"user " + o.User + " on " + quote(">"+o.Password) + " ~* &* +@all",
		"sentinel sentinel-user " + o.User,
		"sentinel sentinel-pass " + quote(o.Password),
	}
}

func monitorConfig(o SentinelOptions, m Monitored) []string {
	set := func(option string, value any) string {
		return fmt.Sprintf("sentinel %s %s %v", option, m.Name, value)
	}
	lines := []string{
		set("monitor", fmt.Sprintf("%s %d", hostPort(m.Addr), cmp.Or(o.Quorum, 1))),
		set("down-after-milliseconds", cmp.Or(o.DownAfter, defaultDownAfter).Milliseconds()),
		set("failover-timeout", cmp.Or(o.FailoverTimeout, 10*time.Second).Milliseconds()),
		// All at once: a replica that waits its turn is one that subscribers
		// cannot use.
		set("parallel-syncs", max(1, len(m.Replicas))),
	}
	if m.User != "" {
		lines = append(lines, set("auth-user", m.User))
	}
	if m.Password != "" {
		lines = append(lines, set("auth-pass", quote(m.Password)))
	}
	for _, r := range m.Replicas {
		lines = append(lines, set("known-replica", hostPort(r)))
	}
	for _, p := range o.Peers {
		lines = append(lines, set("known-sentinel", hostPort(p.Addr)+" "+p.ID))
	}
	return lines
}

// newID returns an identity of the form that Sentinels use: 40 hex digits.
func newID() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand.Read crashes the program instead
	return hex.EncodeToString(b[:])
}
