package api

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/homing/homing/api/admit"
)

// Config is the server's configuration. Durations must be above zero unless
// a field says otherwise.
type Config struct {
	Listen    string        `help:"Address to serve the API on." default:":8080"`
	ReusePort bool          `help:"Share the address with other API processes (SO_REUSEPORT)." default:"true" negatable:""`
	Keys      string        `help:"YAML file of the API keys; 'homing token key --name backend' makes one." placeholder:"FILE"`
	KeysPoll  time.Duration `help:"How often to look whether the file of keys has changed." default:"2s"`

	KeyRate        float64 `help:"Units of cost per second for a key that sets no rate of its own; a small request costs one. 0 is without limit." default:"10000"`
	KeyBurst       int     `help:"Units that such a key may spend at once; 0 is a second's worth." default:"0"`
	KeyInFlight    int     `help:"Requests of such a key that are worked on at once; more are refused with 429." default:"256"`
	KeyOpen        int     `help:"Requests of such a key under way at once, with batches and those that wait; more are refused with 429." default:"1024"`
	KeyConnections int     `help:"Connections kept open for one key; further ones end with the reply." default:"2048"`

	BodyLimit      int           `help:"Largest request body, and largest line of a batch, in bytes." default:"1572864"`
	BodyMemory     int64         `help:"Bytes of request bodies held at once, of which one key gets a quarter." default:"268435456"`
	MaxInFlight    int           `help:"Requests worked on at once; more are refused with 503." default:"1024"`
	MaxOpen        int           `help:"Requests under way at once, with batches and those that wait; more are refused with 503." default:"4096"`
	RequestTimeout time.Duration `help:"How long one request, its body included, or one line of a batch may take; at most 25s, because an idempotency key is held for 30s." default:"10s"`
	BatchLines     int           `help:"Most lines of one batch." default:"100000"`
	BatchIdle      time.Duration `help:"How long a batch may take to send its next line, or to read its replies; then it is ended. Empty lines do not count." default:"30s"`

	MaxConnections     int `help:"Connections in all; for another the oldest that has not shown a key is closed, and else it is itself. Keep it below the limit of descriptors." default:"16384"`
	AddressConnections int `help:"Connections of one address (IPv6: of one /64) that have not shown a key yet; for another the oldest is closed." default:"1024"`

	ReadHeaderTimeout time.Duration `help:"How long a caller may take to send a request's header." default:"5s"`
	IdleTimeout       time.Duration `help:"How long an idle connection is kept." default:"120s"`

	DrainDelay   time.Duration `help:"How long to go on serving after /readyz turned to 503 at shutdown; 0 is not at all." default:"0s"`
	DrainTimeout time.Duration `help:"How long requests may take to finish at shutdown." default:"15s"`

	// AllowLoopback lets callers on this machine in without a key. Only
	// `homing dev` sets it.
	AllowLoopback bool `kong:"-"`
}

// maxRequestTimeout keeps a request shorter than the 30 s that its
// idempotency key is held.
const maxRequestTimeout = 25 * time.Second

// Validate reports every option that cannot be used, by name and value.
func (c *Config) Validate() error {
	var errs []error
	bad := func(name string, got any, want string) {
		errs = append(errs, fmt.Errorf("api.%s: %v: want %s", name, got, want))
	}
	if c.Listen == "" {
		bad("listen", `""`, "an address such as :8080")
	}
	for name, d := range c.timeouts() {
		if d <= 0 {
			bad(name, d, "more than 0")
		}
	}
	if c.RequestTimeout > maxRequestTimeout {
		bad("request-timeout", c.RequestTimeout, "at most "+maxRequestTimeout.String())
	}
	for name, n := range c.counts() {
		if n <= 0 {
			bad(name, n, "more than 0")
		}
	}
	if least := keyShare * (int64(c.BodyLimit) + batchMemory); c.BodyMemory < least {
		bad("body-memory", c.BodyMemory, fmt.Sprintf("at least %d, so that a key's quarter holds one body", least))
	}
	if !(c.KeyRate >= 0) || math.IsInf(c.KeyRate, 1) {
		bad("key-rate", c.KeyRate, "0 or more")
	}
	if c.KeyBurst < 0 {
		bad("key-burst", c.KeyBurst, "0 or more")
	}
	if c.DrainDelay < 0 {
		bad("drain-delay", c.DrainDelay, "0 or more")
	}
	return errors.Join(errs...)
}

func (c *Config) counts() map[string]int {
	return map[string]int{
		"body-limit":          c.BodyLimit,
		"max-in-flight":       c.MaxInFlight,
		"max-open":            c.MaxOpen,
		"key-in-flight":       c.KeyInFlight,
		"key-open":            c.KeyOpen,
		"key-connections":     c.KeyConnections,
		"max-connections":     c.MaxConnections,
		"address-connections": c.AddressConnections,
		"batch-lines":         c.BatchLines,
	}
}

// keyShare is the part of the memory that one key gets: one in so many.
const keyShare = 4

const (
	// largeBody is from how many bytes on a body makes its request a large one.
	largeBody = 4 << 10
	// largest is what a large request counts for at most, in bytes: it has a CPU to
	// itself.
	largest = 64 << 10
)

// shareOfAll is what all callers together may take up. Large requests leave a CPU
// to the others, and one key's leave some of that to those of other keys.
func (c *Config) shareOfAll() admit.Limits {
	return admit.Limits{Open: c.MaxOpen, Work: c.MaxInFlight, Memory: c.BodyMemory, Conns: c.MaxConnections, Large: int64(max(2, runtime.GOMAXPROCS(0)-1)) * largest}
}

// shareOfKey is what a key may take up that says nothing else.
func (c *Config) shareOfKey() admit.Limits {
	return admit.Limits{Open: c.KeyOpen, Work: c.KeyInFlight, Memory: c.BodyMemory / keyShare, Conns: c.KeyConnections, Large: int64(max(1, runtime.GOMAXPROCS(0)/2)) * largest}
}

func (c *Config) timeouts() map[string]time.Duration {
	return map[string]time.Duration{
		"keys-poll":           c.KeysPoll,
		"request-timeout":     c.RequestTimeout,
		"batch-idle":          c.BatchIdle,
		"read-header-timeout": c.ReadHeaderTimeout,
		"idle-timeout":        c.IdleTimeout,
		"drain-timeout":       c.DrainTimeout,
	}
}

// errNoKeys is the refusal to serve without any way to authorize a caller.
var errNoKeys = errors.New("api.keys: \"\": want a file of API keys; make one with: homing token key --name backend --file FILE")
