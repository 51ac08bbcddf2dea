package redisx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	_ "github.com/homing/homing/redisx/internal/quiet" // go-redis prints otherwise
)

// timeouts are those of Config.
type timeouts struct{ dial, read, write time.Duration }

// dialect is a shard's target with what Config says of all of them: how to
// open connections to its servers.
type dialect struct {
	*target
	timeouts
	poolSize int
}

// options are those of a client to the server at addr. Retries are off at
// every level: the caller knows better where to go next, and a failover lasts
// as long as the slowest layer waits. RESP3 has lost messages in go-redis.
func (d *dialect) options(addr string) *redis.Options {
	o := &redis.Options{
		Addr:                  addr,
		Username:              d.user,
		Password:              d.password,
		DB:                    d.db,
		TLSConfig:             serverName(d.tls, addr),
		Protocol:              2,
		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           d.dial,
		ReadTimeout:           d.read,
		WriteTimeout:          d.write,
		ContextTimeoutEnabled: true,
		PoolSize:              d.poolSize,
		PoolTimeout:           d.read,
		PipelinePoolSize:      -1,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	o.Dialer = forgetful(redis.NewDialer(o))
	return o
}

// forgetful has the connections that dial opens forget, when they are closed,
// what the server has not received. Else the kernel goes on sending it for a
// minute and more (tcp_orphan_retries in tcp(7)), and a command that was given up
// when the network failed is carried out after the network is back, behind newer
// ones that went over other connections.
func forgetful(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		under := conn
		if t, ok := conn.(*tls.Conn); ok {
			under = t.NetConn()
		}
		if t, ok := under.(*net.TCPConn); ok {
			err = t.SetLinger(0)
		}
		if err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("set the linger option: %w", err)
		}
		return conn, nil
	}
}

// veil takes the passwords out of err.
func (d *dialect) veil(err error) error { return veil(err, d.password, d.sentinelPassword) }

// fewConns is the pool size of clients that use one connection. With 1, go-redis
// would begin to dial on its own, in the background, after a single failure.
const fewConns = 4

// sentinelOptions are those of a Pub/Sub connection to a Sentinel.
func (d *dialect) sentinelOptions(addr string) *redis.Options {
	o := d.options(addr)
	o.Username, o.Password, o.DB = d.sentinelUser, d.sentinelPassword, 0
	o.TLSConfig = serverName(d.sentinelTLS, addr)
	return o
}

// serverName makes c, which may be nil, expect the certificate of addr unless
// it names another.
func serverName(c *tls.Config, addr string) *tls.Config {
	if c == nil || c.ServerName != "" {
		return c
	}
	c = c.Clone()
	c.ServerName, _, _ = net.SplitHostPort(addr)
	return c
}

// dialSentinel opens a connection for the Sentinel library, which knows no
// context: what it dials, within the dial timeout, ends with ctx.
func (d *dialect) dialSentinel(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.dial)
	defer cancel()
	dialer := &net.Dialer{}
	if d.sentinelTLS == nil {
		return dialer.DialContext(ctx, "tcp", addr)
	}
	secure := &tls.Dialer{NetDialer: dialer, Config: serverName(d.sentinelTLS, addr)}
	return secure.DialContext(ctx, "tcp", addr)
}

// Roles as INFO names them.
const (
	roleMaster  = "master"
	roleReplica = "slave"
)

// answersOtherwise reports whether err is an answer to INFO of a single server
// in miniature, which knows none. It is taken at its word: it has no replicas.
func (d *dialect) answersOtherwise(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok && d.master == "" && !unavailable(err)
}

// checkRole asks a new connection what its server is, and returns what it said.
// It asks by INFO, which a user needs in any case, and not by ROLE, which many
// may not run.
func (d *dialect) checkRole(ctx context.Context, cn *redis.Conn, want string) (probe, error) {
	pipe := cn.Pipeline()
	infos := [...]*redis.StringCmd{pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")}
	if _, err := pipe.Exec(ctx); err != nil {
		if d.answersOtherwise(err) {
			return probe{role: want}, nil
		}
		// go-redis takes the outermost wrapping off, and by what is left the
		// witness knows that this was no answer to the caller's command.
		return probe{}, fmt.Errorf("open a connection: %w", fmt.Errorf("ask for the role: %w", err))
	}
	p := probe{}
	for _, i := range infos {
		p.parse(i.Val())
	}
	if p.role != want {
		return p, fmt.Errorf("%w: want %s", ErrWrongRole, want)
	}
	return p, nil
}
