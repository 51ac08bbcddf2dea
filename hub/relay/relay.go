package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Config says how hard the relay tries. Every field must be above zero.
type Config struct {
	AtMostOnce        bool          `help:"Forget what was published: what a failover loses is lost. For comparison."`
	Window            time.Duration `help:"How long a message is kept and sent again while its receiver does not confirm it; then it is given up and counted." default:"30s"`
	Memory            int           `help:"Bytes of messages kept until they are confirmed. One receiver may have as much of it as is free: half, when all others are well; beyond it messages to it are refused." default:"268435456"`
	RetransmitTimeout time.Duration `help:"How long a message may stay unconfirmed before it is sent again on the next shard." default:"250ms"`
}

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	switch {
	case c.Window < time.Second:
		return fmt.Errorf("relay.window: %v: want at least 1s", c.Window)
	case c.Memory < 1<<20:
		return fmt.Errorf("relay.memory: %d: want at least 1048576", c.Memory)
	case c.RetransmitTimeout < 2*ackAfter:
		return fmt.Errorf("relay.retransmit-timeout: %v: want at least %v", c.RetransmitTimeout, 2*ackAfter)
	}
	return nil
}

const (
	// grain is how often a relay that has something to tend looks at it.
	grain = 45 * time.Millisecond
	// ackAfter is how long a receiver gathers before it confirms, which it
	// does at the next look: within 100 ms.
	ackAfter = 2*grain - grain/4
	// resendLimit and resendBytes bound what is sent again to one receiver in
	// one step, so that one that is silent does not fill the lanes. The bytes
	// may be exceeded by one message.
	resendLimit = 512
	resendBytes = 2 << 20
	// turnFor is how long a pair stays on the shard it moved to because its
	// own was silent.
	turnFor = 15 * time.Second
	// pairIdle is how long a receiver goes unaddressed before the sender
	// forgets it.
	pairIdle = time.Hour
)

// ErrFull marks a refusal: too many messages are kept already for every receiver
// of what was to be sent.
var ErrFull = errors.New("too many messages wait for their receivers")

// ErrUnsent marks messages that no shard's master took, in at-most-once mode.
var ErrUnsent = errors.New("no pub/sub shard took the message")

// Outgoing is one message to send: Body to the process To. The relay keeps
// Body until its receiver has it; nobody may change it.
type Outgoing struct {
	To   hub.ProcessID
	Body []byte
	// Reply, if not nil, asks the receiver for a reply and is called once with
	// it, or with nil when there will be none because the message was given
	// up. It must not block nor call the relay. At most once there is none.
	Reply func([]byte)
	// Refused is set by Send: the receiver has too much unconfirmed, and was not
	// sent this.
	Refused bool
}

// Message is one message as its receiver gets it.
type Message struct {
	From hub.ProcessID
	Seq  uint64
	Body []byte // the receiver's to keep

	wants  bool    // the sender waits for a reply
	ticket *ticket // owned by stream
	stream *incoming
	relay  *Relay
}

// WantsReply reports whether the sender waits for what Done is called with.
func (m *Message) WantsReply() bool { return m.wants }

// Done confirms that the message was handled: its sender may forget it. reply,
// of at most MaxReply bytes, goes to a sender that waits for one; it may be
// nil. Done is called once for each message that a Handler took. It never
// blocks and may be called from any goroutine, the handler's included.
func (m *Message) Done(reply []byte) {
	m.relay.settledMu.Lock()
	m.relay.settled = append(m.relay.settled, settled{message: m, reply: reply})
	m.relay.settledMu.Unlock()
	m.relay.kick()
	if m.wants {
		m.relay.hurry()
	}
}

// settled is a message that was handled, on its way to its stream.
type settled struct {
	message *Message
	reply   []byte
}

// Handler takes one message, or reports false when it has no room: then the
// message comes again. It must not block nor send. Messages of one sender come
// in the order they were sent, each once.
type Handler func(*Message) bool

// Upper is what stands above a relay: who is called while it runs. Nothing of it
// may block or call the relay, but that Handle may call Message.Done; GivenUp alone
// may do both for a moment.
type Upper struct {
	Handle  Handler           // takes the messages
	GivenUp func([]Abandoned) // is told what was not confirmed within the window; may be nil
	Holder  Holder            // nil: nobody judges this process
	Judge   Judge             // nil: this process judges nobody
}

// Relay sends messages to other processes and receives this one's. It is safe
// for concurrent use.
type Relay struct {
	cfg      Config
	self     hub.ProcessID
	log      *slog.Logger
	metrics  metrics
	network  *network
	sub      *redisx.Subscriber
	canaries *canaries
	witness  *Witness
	upper    Upper         // set when it begins to run
	wake     chan struct{} // holds a token when there may be something to tend
	urgent   chan struct{} // holds a token when somebody waits for it

	born  time.Time
	first uint64 // see sequence

	settledMu sync.Mutex // taken last
	settled   []settled

	mu    sync.Mutex // taken before the witness's and a lane's
	out   map[hub.ProcessID]*pair
	in    map[hub.ProcessID]*incoming
	gone  []Abandoned // given up and not told yet
	kept  memory      // of the messages in out
	ahead memory      // of the messages in in that wait behind a gap
}

// pair is what the relay knows of one receiver.
type pair struct {
	outgoing
	order  []int     // lanes from the most to the least preferred
	turn   int       // how many of them were left because they were silent
	turned time.Time // when the last was
}

// New returns the relay of process self over the pub/sub shards of r. It
// works once Run runs.
func New(cfg Config, r *redisx.Redis, keys hub.Keys, self hub.ProcessID, log *slog.Logger, reg prometheus.Registerer) *Relay {
	rl := newRelay(cfg, keys, self, log, reg)
	for _, shard := range r.PubSub.Shards() {
		rl.network.lanes = append(rl.network.lanes, newLane(shard.Name(), shard, rl.metrics))
	}
	rl.canaries = newCanaries(rl.network, rl.metrics)
	rl.sub = redisx.NewSubscriber(r.PubSub, []string{keys.Channel(self)}, rl.receive, log, reg)
	return rl
}

// newRelay returns a relay whose network has no lanes yet.
func newRelay(cfg Config, keys hub.Keys, self hub.ProcessID, log *slog.Logger, reg prometheus.Registerer) *Relay {
	rl := &Relay{
		cfg: cfg, self: self, log: log,
		wake:   make(chan struct{}, 1),
		urgent: make(chan struct{}, 1),
		out:    make(map[hub.ProcessID]*pair),
		in:     make(map[hub.ProcessID]*incoming),
		born:   time.Now(),
		first:  1 + rand.Uint64N(1<<52),
	}
	rl.kept.limit, rl.ahead.limit = cfg.Memory, maxAheadBytes
	rl.metrics = newMetrics(reg, rl.usage)
	rl.network = &network{self: self, keys: keys, unsent: rl.metrics.unsent}
	rl.witness = newWitness(rl.network)
	return rl
}

// usage is what the relay keeps now, in bytes.
func (r *Relay) usage() usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := usage{retained: r.kept.used, ahead: r.ahead.used}
	for _, p := range r.out {
		u.largest = max(u.largest, p.bytes)
	}
	for _, in := range r.in {
		u.replies += in.replies.bytes
	}
	return u
}

// retained is how many bytes of messages are kept.
func (r *Relay) retained() float64 { return float64(r.usage().retained) }

// Run sends and receives until ctx ends. It is called once.
func (r *Relay) Run(ctx context.Context, upper Upper) error {
	r.begin(upper)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.sub.Run(ctx) })
	for _, l := range r.network.lanes {
		g.Go(func() error { return l.run(ctx, r.network.publish) })
	}
	g.Go(func() error { return r.tend(ctx) })
	g.Go(func() error { return r.canaries.run(ctx, r.leave, r.seek) })
	return g.Wait()
}

// begin ties the relay to what stands above it.
func (r *Relay) begin(upper Upper) {
	r.upper = upper
	r.witness.holder, r.witness.judge = upper.Holder, upper.Judge
}

// leave leaves the server at which the relay is subscribed on a shard.
func (r *Relay) leave(shard int) {
	r.log.Warn("no canary came back: leaving the server subscribed at", "shard", r.network.lanes[shard].name)
	r.sub.Leave(shard)
}

// WaitReady blocks until the process's channel is subscribed on every shard,
// or ctx ends.
func (r *Relay) WaitReady(ctx context.Context) error { return r.sub.WaitReady(ctx) }

// Ready returns nil when a message sent now would arrive: a shard has a master
// that takes it, and the last canary came back through that shard. The error
// wraps hub.ErrUnavailable.
func (r *Relay) Ready() error {
	if r.canaries.anyReturns(time.Now()) {
		return nil
	}
	return fmt.Errorf("no pub/sub shard brings a message back: %w", hub.ErrUnavailable)
}

// Silence is how long no canary has come back through any shard.
func (r *Relay) Silence() time.Duration { return r.canaries.leastSilence(time.Now()) }

// Witness returns what asks other processes whether they live.
func (r *Relay) Witness() *Witness { return r.witness }

// Send sends every message. It blocks until each was published, or kept for
// later because no shard answers, which is about one round trip to Redis, or
// until ctx ends. A message to a receiver that has too much unconfirmed is
// Refused, which is no error unless it is so with all of them: ErrFull, which
// wraps hub.ErrUnavailable.
//
// Two Sends to one receiver that do not overlap in time arrive in order.
func (r *Relay) Send(ctx context.Context, out []Outgoing) error {
	if len(out) == 0 {
		return nil
	}
	b, err := r.keep(out)
	if err != nil {
		return err
	}
	r.kick()
	select {
	case <-b.done:
	case <-ctx.Done():
		return fmt.Errorf("publish to %d processes: %w", len(out), ctx.Err())
	}
	if n := b.failures(); n > 0 && r.cfg.AtMostOnce {
		return fmt.Errorf("publish to %d of %d processes: %w: %w", n, len(out), hub.ErrUnavailable, ErrUnsent)
	}
	return nil
}
