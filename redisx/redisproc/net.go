package redisproc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	_ "github.com/homing/homing/redisx/internal/quiet" // go-redis prints otherwise
)

// Ports that FreePort chooses from: below the ephemeral range, so that no
// outgoing connection of a load test takes one first.
const (
	minPort = 20000
	maxPort = 32000
)

// tried counts the ports that FreePort has tried, from a place of its own in each
// process: one that was returned a moment ago and is not listened on yet is not returned
// again.
var tried atomic.Int64

var firstPort = rand.IntN(maxPort - minPort)

// FreePort returns a port that nobody listened on at the time of the call, and that was
// not returned before, until all have been. An empty host is 127.0.0.1.
func FreePort(ctx context.Context, host string) (int, error) {
	if host == "" {
		host = "127.0.0.1"
	}
	var err error
	for range 100 {
		port := minPort + (firstPort+int(tried.Add(1)))%(maxPort-minPort)
		var l net.Listener
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", addr); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port on %s: %w", host, err)
}

// hostPort writes a host:port address the way Redis configuration does.
func hostPort(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr // Redis refuses it, and its log says why
	}
	return host + " " + port
}

// Client returns a client to the process, past its proxy if it has one. The
// caller closes it.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:             s.direct(),
		Username:         s.opts.User,
		Password:         s.opts.Password,
		TLSConfig:        s.clientTLS(),
		Protocol:         2,
		MaxRetries:       -1,
		DialerRetries:    1,
		DisableIdentity:  true,
		PipelinePoolSize: -1,
		DialTimeout:      time.Second,
		// After as many failures go-redis replays the last one for a second,
		// and a server that is starting refuses many.
		PoolSize: 1000,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	})
}

func (s *Server) clientTLS() *tls.Config {
	if s.opts.TLS == nil {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), ServerName: s.opts.Host}
	if pem, err := os.ReadFile(s.opts.TLS.CA); err == nil {
		c.RootCAs.AppendCertsFromPEM(pem) // without it every handshake fails and says so
	}
	return c
}
