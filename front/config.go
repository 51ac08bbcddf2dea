package front

import (
	"fmt"
	"time"

	"github.com/homing/homing/front/forwarded"
)

// Config is what an operator can choose about a worker. The zero value is not
// usable: kong.ApplyDefaults fills in the defaults. Durations are rounded up
// to a tenth of a second, the grain of the worker's clock.
type Config struct {
	Listen    string `help:"TCP address for plain connections (ws://); empty: none." default:"127.0.0.1:8081" placeholder:"HOST:PORT"`
	TLSListen string `help:"TCP address for TLS connections (wss://); empty: none." placeholder:"HOST:PORT"`
	TLSCert   string `help:"PEM file with the certificate chain; read again when it changes and on SIGHUP." type:"path"`
	TLSKey    string `help:"PEM file with the certificate's private key." type:"path"`

	TLSTicketKeys string `name:"tls-ticket-keys" help:"File with a secret of 32 bytes or more (homing token secret) that front servers share so that TLS sessions of one can be resumed at another; read again when it changes. None: the workers of each server have keys of their own." type:"path" placeholder:"FILE"`
	TLSHandshakes int    `name:"tls-handshakes" help:"TLS handshakes that may be under way, each about 30 KiB; when there are more, the one that began first is closed. --front-admit-rate says how many begin per second; the others wait, among --front-pending." default:"1024"`

	Origins []string `help:"Web origins that may connect: https://game.example.com, https://*.example.com, or * for all; null and file:// are sandboxed pages and packaged games, whosever they are. None: only pages of the same host. Clients that send no Origin header (not browsers) always may." placeholder:"ORIGIN"`

	TrustedProxies   []string `help:"Addresses and prefixes of load balancers and reverse proxies: they are believed when they say whose connection it is (PROXY protocol, X-Forwarded-For), and the limits per address do not hold for their own. What comes through one that says nothing is not limited by address." default:"127.0.0.0/8,::1/128" placeholder:"PREFIX"`
	ProxyProtocol    bool     `help:"Connections to --front-listen begin with a PROXY protocol header of version 2. Whoever is not in --front-trusted-proxies is turned away, and so are connections without a header."`
	TLSProxyProtocol bool     `help:"The same for --front-tls-listen; TLS follows the header."`
	Health           bool     `help:"Answer GET and HEAD of /healthz and /readyz at the players' addresses, for load balancers." default:"true" negatable:""`

	Pending            int `help:"Connections that have shown no valid token yet; when there are more, the oldest one of the address that has most is closed. A quarter of the descriptors at most." default:"4096"`
	AddressPrefix      int `help:"Leading bits of an IPv6 address that count as one address." default:"64"`
	AddressRate        int `help:"Connections per second that one address may open at one worker in the long run; more are closed. Addresses are shared by all players of a household, a school or a mobile carrier. 0: no limit." default:"50"`
	AddressBurst       int `help:"Connections that one address may open at once." default:"500"`
	AddressPending     int `help:"Connections of one address that have shown no valid token yet; when there are more, its oldest one is closed. 0: no limit." default:"256"`
	AddressConnections int `help:"Connections of one address in service at one worker; more are refused with 429. 0: no limit, because a mobile carrier may have thousands of players behind one address." default:"0"`

	HandshakeTimeout time.Duration `help:"From accept to the reply: a connection that has not asked, with a valid token, by then is closed." default:"5s"`
	HandshakeLimit   int           `help:"Bytes of request line and headers." default:"8192"`
	RegisterTimeout  time.Duration `help:"From the reply to hello, which waits until the index names the user; then the connection is closed with 1013 (try again later)." default:"5s"`
	AuthWorkers      int           `help:"Tokens whose key set is fetched at the same time; all others are checked at once." default:"4"`
	AuthQueue        int           `help:"Tokens waiting for that; beyond it connections are refused with 503." default:"4096"`

	PingInterval time.Duration `help:"A connection that was silent this long is pinged (a little earlier for some, so that pings do not herd)." default:"25s"`
	PongTimeout  time.Duration `help:"A pinged connection that stays silent this long is closed with 4009." default:"10s"`
	WriteTimeout time.Duration `help:"A connection that takes none of the bytes waiting for it for this long is closed." default:"20s"`
	CloseTimeout time.Duration `help:"Wait for the peer to answer a close before the socket is closed without it." default:"3s"`

	MaxMessage   int `help:"Bytes of one message from a client; a longer one closes the connection with 1009." default:"65536"`
	MessageRate  int `help:"Messages per second that a client may send in the long run, pings included; more closes it with 1008. 0: no limit." default:"100"`
	MessageBurst int `help:"Messages that a client may send at once." default:"200"`

	OutboxBytes    int `help:"Bytes that may wait for one slow connection, besides the kernel's send buffer." default:"262144"`
	OutboxMessages int `help:"Messages that may wait for one slow connection." default:"1024"`
	InboxBytes     int `help:"Bytes of envelopes that may wait for the worker's loop; beyond it envelopes are dropped and counted." default:"67108864"`

	ResumeWorkers int           `help:"Clients that are caught up, or whose acknowledgements are taken, at the same time." default:"16"`
	ResumeQueue   int           `help:"Resumes and acknowledgements that wait for that; beyond it they are refused." default:"4096"`
	ResumeTimeout time.Duration `help:"How long reading a user's inbox may take; what arrives meanwhile waits, within the bounds of the outbox." default:"3s"`
	ResumeMemory  time.Duration `help:"How long a connection remembers what was replayed to it, so that it is not sent again live; longer than a message may be on its way (twice --relay-window)." default:"90s"`

	SendBuffer     int `help:"Bytes of the kernel's send buffer per connection, as given to SO_SNDBUF. 0: the kernel's own choice, which grows to megabytes for a client that does not read." default:"16384"`
	AdmitRate      int `help:"Clients that the worker lets in per second; the others are told with 503 when to come back, so that players who all come at once do not hold up those who are there. 0: no limit." default:"500"`
	Backlog        int `help:"Connections that the kernel queues before they are accepted (capped by net.core.somaxconn)." default:"4096"`
	MaxDescriptors int `help:"Descriptors the worker may use; at 95% of them it closes its listener and opens it again at 90%. 0: the process's limit (ulimit -n)." default:"0"`

	DrainWindow  time.Duration `help:"On stop, clients are told to reconnect and closed with 1012, spread evenly over this time. 0: all at once." default:"10s"`
	DrainTimeout time.Duration `help:"On stop, what is left after the window and this long on top is cut off." default:"5s"`
}

// Validate reports the first setting that cannot work, by the name of its
// option and the value it got.
func (c *Config) Validate() error {
	for _, check := range []func() error{c.checkListeners, c.checkProxies, c.checkOrigins, c.checkDurations, c.checkSizes} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkListeners() error {
	switch {
	case c.Listen == "" && c.TLSListen == "":
		return fmt.Errorf("front.listen: %q: want an address here or in front.tls-listen", c.Listen)
	case c.TLSListen != "" && c.TLSCert == "":
		return fmt.Errorf("front.tls-cert: %q: want a file, because front.tls-listen is set", c.TLSCert)
	case c.TLSListen != "" && c.TLSKey == "":
		return fmt.Errorf("front.tls-key: %q: want a file, because front.tls-listen is set", c.TLSKey)
	}
	return nil
}

func (c *Config) checkProxies() error {
	trusted, err := parseTrusted(c.TrustedProxies)
	switch {
	case err != nil:
		return err
	case len(trusted) == 0 && (c.ProxyProtocol || c.TLSProxyProtocol):
		return fmt.Errorf("front.trusted-proxies: %q: want the addresses that send PROXY protocol headers", c.TrustedProxies)
	case c.AddressRate > 0 && c.AddressBurst*int(ticksPerSecond) < c.AddressRate:
		return fmt.Errorf("front.address-burst: %d: want at least a tenth of front.address-rate, %d", c.AddressBurst, c.AddressRate)
	}
	return nil
}

func parseTrusted(list []string) (forwarded.Trusted, error) {
	trusted, err := forwarded.ParseTrusted(list)
	if err != nil {
		return nil, fmt.Errorf("front.trusted-proxies: %w", err)
	}
	return trusted, nil
}

func (c *Config) checkOrigins() error {
	for _, o := range c.Origins {
		if !validOrigin(o) {
			return fmt.Errorf("front.origins: %q: want scheme://host[:port], scheme://*.domain, file://, null or *", o)
		}
	}
	return nil
}

func (c *Config) checkDurations() error {
	for _, d := range []struct {
		name string
		v    time.Duration
		zero bool
	}{
		{"handshake-timeout", c.HandshakeTimeout, false},
		{"register-timeout", c.RegisterTimeout, false},
		{"ping-interval", c.PingInterval, false},
		{"pong-timeout", c.PongTimeout, false},
		{"write-timeout", c.WriteTimeout, false},
		{"close-timeout", c.CloseTimeout, false},
		{"drain-window", c.DrainWindow, true},
		{"drain-timeout", c.DrainTimeout, true},
		{"resume-timeout", c.ResumeTimeout, false},
		{"resume-memory", c.ResumeMemory, false},
	} {
		switch {
		case d.v < 0 && d.zero:
			return fmt.Errorf("front.%s: %v: want 0 or more", d.name, d.v)
		case d.v < 0 || d.v == 0 && !d.zero:
			return fmt.Errorf("front.%s: %v: want more than 0", d.name, d.v)
		case d.v > 24*time.Hour:
			return fmt.Errorf("front.%s: %v: want at most 24h", d.name, d.v)
		}
	}
	return nil
}

func (c *Config) checkSizes() error {
	for _, s := range []struct {
		name        string
		v, low, top int
	}{
		{"handshake-limit", c.HandshakeLimit, 256, readBufferSize},
		{"tls-handshakes", c.TLSHandshakes, 1, 1 << 16},
		{"pending", c.Pending, 1, 1 << 20},
		{"address-prefix", c.AddressPrefix, 1, 128},
		{"address-rate", c.AddressRate, 0, 1 << 20},
		{"address-burst", c.AddressBurst, 1, 1 << 20},
		{"address-pending", c.AddressPending, 0, 1 << 20},
		{"address-connections", c.AddressConnections, 0, 1 << 30},
		{"auth-workers", c.AuthWorkers, 1, 1024},
		{"auth-queue", c.AuthQueue, 1, 1 << 20},
		{"max-message", c.MaxMessage, 125, 1 << 30},
		{"message-rate", c.MessageRate, 0, 1 << 20},
		{"message-burst", c.MessageBurst, 1, 1 << 15},
		{"outbox-bytes", c.OutboxBytes, 1024, 1 << 30},
		{"outbox-messages", c.OutboxMessages, 1, 1 << 20},
		{"inbox-bytes", c.InboxBytes, 1 << 16, 1 << 40},
		{"resume-workers", c.ResumeWorkers, 1, 1024},
		{"resume-queue", c.ResumeQueue, 1, 1 << 20},
		{"send-buffer", c.SendBuffer, 0, 1 << 26},
		{"admit-rate", c.AdmitRate, 0, 1 << 20},
		{"backlog", c.Backlog, 1, 1 << 16},
		{"max-descriptors", c.MaxDescriptors, 0, 1 << 30},
	} {
		if s.v < s.low || s.v > s.top {
			return fmt.Errorf("front.%s: %d: want %d to %d", s.name, s.v, s.low, s.top)
		}
	}
	return nil
}
