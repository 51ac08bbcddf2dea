package front

import (
	"fmt"
	"time"

	"github.com/homing/homing/front/forwarded"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
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
	Events           bool     `help:"Speak server-sent events at /events, for clients that cannot use WebSocket." default:"true" negatable:""`
	Polls            bool     `name:"inbox" help:"Answer GET /inbox, for clients that poll what an inbox holds." default:"true" negatable:""`
	SocketIO         bool     `name:"socket-io" help:"Speak Socket.IO at /socket.io/, for games that do already." default:"true" negatable:""`
	EngineIO3        bool     `name:"engineio3" help:"Speak Engine.IO 3 at /socket.io/, too, for clients of Socket.IO 2. They show their token in the address, ?token=, which proxies may log."`
	Health           bool     `help:"Answer GET and HEAD of /healthz and /readyz at the players' addresses, for load balancers." default:"true" negatable:""`

	Pending            int `help:"Connections that have shown no valid token yet; when there are more, the oldest one of the address that has most is closed. A quarter of the descriptors at most." default:"4096"`
	AddressPrefix      int `help:"Leading bits of an IPv6 address that count as one address." default:"64"`
	AddressRate        int `help:"Connections per second that one address may open at one worker in the long run; more are closed. Addresses are shared by all players of a household, a school or a mobile carrier. 0: no limit." default:"50"`
	AddressBurst       int `help:"Connections that one address may open at once." default:"500"`
	AddressPending     int `help:"Connections of one address that have shown no valid token yet; when there are more, its oldest one is closed. 0: no limit." default:"512"`
	AddressConnections int `help:"Connections of one address in service at one worker; more are refused with 429. 0: no limit, because a mobile carrier may have thousands of players behind one address." default:"0"`

	HandshakeTimeout time.Duration `help:"From accept to the reply: a connection that has not asked, with a valid token, by then is closed." default:"5s"`
	HandshakeLimit   int           `help:"Bytes of request line and headers." default:"8192"`
	RegisterTimeout  time.Duration `help:"From the reply to hello, which waits until the index names the user; then the connection is closed with 1013 (try again later)." default:"5s"`
	ConnectTimeout   time.Duration `help:"From the handshake of Engine.IO to the CONNECT of Socket.IO with a valid token; then the session is closed." default:"10s"`
	AuthWorkers      int           `help:"Tokens whose key set is fetched at the same time; all others are checked at once." default:"4"`
	AuthQueue        int           `help:"Tokens waiting for that; beyond it connections are refused with 503." default:"4096"`

	PingInterval time.Duration `help:"A connection that was silent this long is pinged (a little earlier for some, so that pings do not herd)." default:"25s"`
	PongTimeout  time.Duration `help:"A pinged connection that stays silent this long is closed with 4009." default:"10s"`
	WriteTimeout time.Duration `help:"A connection that takes none of the bytes waiting for it for this long is closed." default:"20s"`
	CloseTimeout time.Duration `help:"Wait for the peer to answer a close before the socket is closed without it." default:"3s"`

	MaxMessage     int           `help:"Bytes of one message from a client; a longer one closes the connection with 1009." default:"65536"`
	MessageTimeout time.Duration `help:"From the first byte of a message to its last; a connection whose message takes longer is closed with 1008." default:"10s"`
	MessageRate    int           `help:"Messages per second that a client may send in the long run, pings included; more closes it with 1008. 0: no limit." default:"100"`
	MessageBurst   int           `help:"Messages that a client may send at once." default:"200"`
	ByteRate       int           `help:"Bytes per second that a client may send in the long run, those of TLS included; what is read at a time counts as 128 at least. More closes it with 1008, before they are looked at. 0: no limit." default:"65536"`
	ByteBurst      int           `help:"Bytes that a client may send at once; never less than one message of --front-max-message." default:"262144"`

	UserShare       int    `help:"All connections of one user to a worker may together send this many times what one may; each connect counts as 16 KiB." default:"4"`
	UserConnections int    `help:"Connections that one user may have to a worker. 0: no limit." default:"32"`
	UserOverflow    string `help:"What becomes of one more: oldest closes the user's oldest connection with 4010, newest refuses the new one with 429." enum:"oldest,newest" default:"oldest"`
	InboxRate       int    `help:"Work at the inbox per second that one user may ask a worker for in the long run: each id acknowledged is 1, each acknowledgement 1 more, each resume 50; beyond it they are refused with rate_limited. 0: no limit." default:"200"`
	InboxBurst      int    `help:"Work at the inbox that one user may ask for at once." default:"4000"`

	PublishRate  int `help:"Messages per second that one user may publish to topics from a worker in the long run; beyond it they are refused with rate_limited. Each goes to every member. 0: no limit." default:"5"`
	PublishBurst int `help:"Messages that one user may publish at once." default:"20"`
	PublishQueue int `help:"Messages of clients that wait to be published at one worker; beyond it they are refused with unavailable." default:"4096"`

	OutboxBytes    int `help:"Bytes that may wait for one slow connection, besides the kernel's send buffer." default:"262144"`
	OutboxMessages int `help:"Messages that may wait for one slow connection." default:"1024"`
	InboxBytes     int `help:"Bytes of envelopes that may wait for the worker's loop; beyond it envelopes are refused and counted, and the relay sends them again." default:"67108864"`

	ResumeWorkers int           `help:"Inboxes that are read, and acknowledgements that are taken, at the same time." default:"16"`
	ResumeQueue   int           `help:"Resumes, and as many acknowledgements, that wait for that; beyond it they are refused." default:"4096"`
	ResumeTimeout time.Duration `help:"How long a resume may wait for its turn, and then reading a user's inbox may take; what arrives meanwhile waits, within the bounds of the outbox." default:"3s"`
	ReplayBytes   int           `help:"Bytes of replays at the same time, those being read (twice --inbox-max-bytes each) and those that their clients have not read yet; beyond it resumes wait." default:"33554432"`
	ReplayTimeout time.Duration `help:"A client that has not read its replay within this time is closed with 4008; within 1s of standing still when others wait for room." default:"30s"`
	ResumeMemory  time.Duration `help:"How long a connection remembers what was replayed to it, so that it is not sent again live; longer than a message may be on its way (twice --relay-window)." default:"90s"`

	SendBuffer     int `help:"Bytes of the kernel's send buffer per connection, as given to SO_SNDBUF. 0: the kernel's own choice, which grows to megabytes for a client that does not read." default:"16384"`
	AdmitRate      int `help:"Clients that the worker lets in per second; the others are told with 503 when to come back, so that players who all come at once do not hold up those who are there. 0: no limit." default:"500"`
	Backlog        int `help:"Connections that the kernel queues before they are accepted (capped by net.core.somaxconn)." default:"4096"`
	MaxDescriptors int `help:"Descriptors the worker may use; at 95% of them it closes its listener and opens it again at 90%. 0: the process's limit (ulimit -n)." default:"0"`

	DrainWindow  time.Duration `help:"On stop, clients are told to reconnect and closed with 1012, spread evenly over this time. 0: all at once." default:"10s"`
	DrainTimeout time.Duration `help:"On stop, what is left after the window and this long on top is cut off." default:"5s"`
}

// earlyLimit is how many bytes a message may have before a token is accepted: what a
// request could have carried, and what a client of Socket.IO names to recover. Memory
// that anybody can have the server take is bounded by it.
func (c *Config) earlyLimit() int {
	return min(c.MaxMessage, c.HandshakeLimit+maxPID+maxOffset+256)
}

// A budget counts tenths of a byte in 32 bits, all connections of a user together.
const maxRate, maxShare = 16 << 20, 16

// Validate reports the first setting that cannot work, by the name of its
// option and the value it got.
func (c *Config) Validate() error {
	for _, check := range []func() error{c.checkListeners, c.checkProxies, c.checkOrigins, c.checkDurations, c.checkSizes, c.checkOverflow} {
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
		return fmt.Errorf("front.trusted-proxies: %v: want the addresses that send PROXY protocol headers", c.TrustedProxies)
	case c.AddressRate > 0 && c.AddressBurst*int(loop.TicksPerSecond) < c.AddressRate:
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
		if !http1.ValidOrigin(o) {
			return fmt.Errorf("front.origins: %q: want scheme://host[:port], scheme://*.domain, file://, null or *", o)
		}
	}
	return nil
}

func (c *Config) checkOverflow() error {
	if c.UserOverflow != overflowOldest && c.UserOverflow != overflowNewest {
		return fmt.Errorf("front.user-overflow: %q: want %s or %s", c.UserOverflow, overflowOldest, overflowNewest)
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
		{"connect-timeout", c.ConnectTimeout, false},
		{"ping-interval", c.PingInterval, false},
		{"pong-timeout", c.PongTimeout, false},
		{"write-timeout", c.WriteTimeout, false},
		{"close-timeout", c.CloseTimeout, false},
		{"message-timeout", c.MessageTimeout, false},
		{"drain-window", c.DrainWindow, true},
		{"drain-timeout", c.DrainTimeout, true},
		{"resume-timeout", c.ResumeTimeout, false},
		{"resume-memory", c.ResumeMemory, false},
		{"replay-timeout", c.ReplayTimeout, false},
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
		{"handshake-limit", c.HandshakeLimit, 256, loop.ReadBuffer},
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
		{"byte-rate", c.ByteRate, 0, maxRate},
		{"byte-burst", c.ByteBurst, connectCost, maxRate},
		{"user-share", c.UserShare, 1, maxShare},
		{"user-connections", c.UserConnections, 0, 1 << 20},
		{"publish-rate", c.PublishRate, 0, 1 << 20},
		{"publish-burst", c.PublishBurst, 1, 1 << 20},
		{"publish-queue", c.PublishQueue, publishLanes, 1 << 20},
		{"inbox-rate", c.InboxRate, 0, 1 << 20},
		{"inbox-burst", c.InboxBurst, ackCost + maxAck, 1 << 20},
		{"outbox-bytes", c.OutboxBytes, 1024, 1 << 30},
		{"outbox-messages", c.OutboxMessages, 1, 1 << 20},
		{"inbox-bytes", c.InboxBytes, 1 << 16, 1 << 40},
		{"resume-workers", c.ResumeWorkers, 1, 1024},
		{"resume-queue", c.ResumeQueue, 1, 1 << 20},
		{"replay-bytes", c.ReplayBytes, replayChunk, 1 << 40},
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
