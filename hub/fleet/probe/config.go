package probe

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"
)

// Config says how nodes are probed. kong.ApplyDefaults fills it in.
type Config struct {
	Every     time.Duration `help:"How often a node is probed. 0: never; then reports alone say which nodes are well." default:"1s"`
	Timeout   time.Duration `help:"How long a probe may take: a connection, its handshake and an answer. After one that failed the next begins at once, so that a node that hangs is red after --probe-every and --probe-failures times this." default:"600ms"`
	Failures  int           `help:"Probes that fail in a row and make a node red." default:"3"`
	Successes int           `help:"Probes that are answered in a row and make a red node green." default:"2"`
	Grace     time.Duration `help:"How long a node that has never answered may fail before it is red. It counts as starting until then." default:"30s"`
	Parallel  int           `help:"Probes at once, of all nodes." default:"64"`
	Path      string        `help:"Path of the WebSocket." default:"/ws"`
	TLS       bool          `name:"tls" help:"Nodes speak TLS at their endpoints (wss). A node's label scheme, ws or wss, goes before it."`
	CAFile    string        `name:"ca-file" help:"File of certificates that nodes' are signed with, beside those that the system trusts." type:"path" placeholder:"FILE"`
	Origin    string        `help:"Origin header of probes, where fronts ask for one." placeholder:"URL"`
}

// The bounds of Config.
const (
	maxEvery    = time.Minute
	minTimeout  = 10 * time.Millisecond
	maxParallel = 4096
	maxStreak   = 100
)

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	if c.Every == 0 {
		return nil
	}
	switch {
	case c.Every < 100*time.Millisecond || c.Every > maxEvery:
		return fmt.Errorf("--probe-every: %v: want 100ms to %v, or 0", c.Every, maxEvery)
	case c.Timeout < minTimeout || c.Timeout > maxEvery:
		return fmt.Errorf("--probe-timeout: %v: want %v to %v", c.Timeout, minTimeout, maxEvery)
	case c.Failures < 1 || c.Failures > maxStreak:
		return fmt.Errorf("--probe-failures: %d: want 1 to %d", c.Failures, maxStreak)
	case c.Successes < 1 || c.Successes > maxStreak:
		return fmt.Errorf("--probe-successes: %d: want 1 to %d", c.Successes, maxStreak)
	case c.Grace < 0:
		return fmt.Errorf("--probe-grace: %v: want 0 or more", c.Grace)
	case c.Parallel < 1 || c.Parallel > maxParallel:
		return fmt.Errorf("--probe-parallel: %d: want 1 to %d", c.Parallel, maxParallel)
	case !strings.HasPrefix(c.Path, "/"):
		return fmt.Errorf("--probe-path: %q: want a path that begins with /", c.Path)
	}
	return nil
}

// tlsConfig is what nodes are spoken to with.
func (c *Config) tlsConfig() (*tls.Config, error) {
	if c.CAFile == "" {
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	raw, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--probe-ca-file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("--probe-ca-file: %s: no certificate in it", c.CAFile)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// TokenFile returns what reads a player's token from a file, each time anew.
func TokenFile(name string) func() (string, error) {
	return func() (string, error) {
		raw, err := os.ReadFile(name) //nolint:gosec // the operator names it
		if err != nil {
			return "", fmt.Errorf("--probe-token-file: %w", err)
		}
		return strings.TrimSpace(string(raw)), nil
	}
}
