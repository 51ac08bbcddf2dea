package call

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/hub/relay"
)

const (
	// maxServed is how many asks a process carries out at once, and maxWaiting how
	// many wait for that. More are refused.
	maxServed = 64
	// maxUrgent is how many more are carried out of methods that others wait for.
	maxUrgent  = 32
	maxWaiting = 1024
	// maxWaitingBytes bounds those that wait in bytes.
	maxWaitingBytes = 64 << 20
	// maxPatience is the longest that anybody waits for an answer.
	maxPatience = 30 * time.Second
	// slack is how much of the asker's patience is left for the way back.
	slack = 100 * time.Millisecond
)

// Handler carries out what another process asks for. Several may run at once. body
// is the handler's. Errors that are a *RefusalError, a *hub.FieldError or wrap
// hub.ErrUnavailable reach the asker as such, others as text.
type Handler func(ctx context.Context, from hub.ProcessID, body []byte) (answer []byte, err error)

// Sender sends messages; see relay.Relay.
type Sender interface {
	Send(ctx context.Context, out []relay.Outgoing) error
}

// Peer asks other processes, and carries out what they ask. It is safe for
// concurrent use.
type Peer struct {
	methods map[string]Handler
	log     *slog.Logger
	met     metrics

	mu     sync.Mutex
	sender Sender // nil: Run has not begun
	serial uint64
	open   map[uint64]chan<- message // asks under way
	queued int                       // bytes of those that wait

	urgent  map[string]bool
	waiting chan *ask // all but one, which its dispatcher holds
	pressed chan *ask // those of urgent methods
}

// ask is an ask of another process on its way to its handler.
//
//bound:calls
type ask struct {
	from hub.ProcessID
	message
	due time.Time // when the asker gives up
}

// NewPeer returns a Peer that carries out methods, which must not change any more.
// Those that are urgent do not wait behind others, whose handlers may wait for them.
func NewPeer(methods map[string]Handler, urgent []string, log *slog.Logger, reg prometheus.Registerer) *Peer {
	isUrgent := make(map[string]bool, len(urgent))
	for _, method := range urgent {
		isUrgent[method] = true
	}
	return &Peer{
		urgent:  isUrgent,
		pressed: make(chan *ask, maxWaiting-1),
		methods: methods,
		log:     log,
		met:     newMetrics(reg),
		open:    make(map[uint64]chan<- message),
		waiting: make(chan *ask, maxWaiting-1),
	}
}

// Handle returns the handler of a relay whose messages are partly calls. The
// others are next's.
func (p *Peer) Handle(next relay.Handler) relay.Handler {
	return func(m *relay.Message) bool {
		if len(m.Body) == 0 || m.Body[0] != version {
			return next(m)
		}
		m.Done(p.take(m))
		return true
	}
}

// take returns busy when there is no room: nothing that comes after m waits for it.
func (p *Peer) take(m *relay.Message) (reply []byte) {
	msg, err := parse(m.Body)
	switch {
	case err != nil:
		p.log.Warn("call: message dropped", "from", m.From, "err", err)
	case msg.kind != kindAsk:
		p.answered(msg)
	case !p.queue(&ask{from: m.From, message: msg, due: time.Now().Add(msg.patience)}):
		return busy
	}
	return nil
}

// queue has a carried out, or reports false when too many wait.
func (p *Peer) queue(a *ask) bool {
	p.mu.Lock()
	fits := p.queued+len(a.body) <= maxWaitingBytes
	if fits {
		p.queued += len(a.body)
	}
	p.mu.Unlock()
	queue := p.waiting
	if p.urgent[a.method] {
		queue = p.pressed
	}
	if fits {
		select {
		case queue <- a:
			return true
		default:
			p.release(a)
		}
	}
	p.met.served.WithLabelValues("full").Inc()
	return false
}

func (p *Peer) release(a *ask) {
	p.mu.Lock()
	p.queued -= len(a.body)
	p.mu.Unlock()
}

func (p *Peer) answered(msg message) {
	p.mu.Lock()
	back := p.open[msg.id]
	delete(p.open, msg.id)
	p.mu.Unlock()
	if back != nil { // else the asker has given up
		back <- msg // it has room for one
	}
}

// Run carries out what others ask until ctx ends, and answers over sender.
func (p *Peer) Run(ctx context.Context, sender Sender) error {
	p.mu.Lock()
	p.sender = sender
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.dispatch(ctx, sender, p.waiting, maxServed) })
	wg.Go(func() { p.dispatch(ctx, sender, p.pressed, maxUrgent) })
	wg.Wait()
	return nil
}

// dispatch carries out what comes by queue, limit at once, until ctx ends.
func (p *Peer) dispatch(ctx context.Context, sender Sender, queue <-chan *ask, limit int) {
	var serving errgroup.Group // none of them fails
	serving.SetLimit(limit)
	defer serving.Wait() //nolint:errcheck // as above
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-queue:
			serving.Go(func() error { // waits while limit are under way
				p.release(a)
				p.serve(ctx, sender, a)
				return nil
			})
		}
	}
}

// serve carries a out and answers, unless its asker has given up by now.
func (p *Peer) serve(ctx context.Context, sender Sender, a *ask) {
	ctx, cancel := context.WithDeadline(ctx, a.due.Add(-slack))
	defer cancel()
	if ctx.Err() != nil {
		p.met.served.WithLabelValues("late").Inc()
		return
	}
	back := message{kind: kindAnswer, id: a.id}
	result := "answered"
	answer, err := p.carryOut(ctx, a)
	if back.body = answer; err != nil {
		result = "refused"
		back.kind = kindRefusal
		back.body, _ = json.Marshal(refusal(err)) // strings always marshal
	}
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), slack*10)
	defer cancel()
	if err := sender.Send(ctx, []relay.Outgoing{{To: a.from, Body: back.bytes()}}); err != nil {
		result = "unsent"
		p.log.Warn("call: an answer was not sent", "to", a.from, "method", a.method, "err", err)
	}
	p.met.served.WithLabelValues(result).Inc()
}

// carryOut calls the method's handler. One that panics has failed.
func (p *Peer) carryOut(ctx context.Context, a *ask) (answer []byte, err error) {
	h := p.methods[a.method]
	if h == nil {
		return nil, &RefusalError{Code: CodeUnknown, Detail: a.method}
	}
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("call: a handler panicked", "method", a.method, "panic", v, "stack", string(debug.Stack()))
			err = &RefusalError{Code: codeFailed, Detail: "a handler panicked"}
		}
	}()
	return h(ctx, a.from, a.body)
}

// Ask has the process to carry out a method, and returns its answer. It blocks
// until then, at most until ctx ends, or for 30 s. The error is a *RefusalError, or
// wraps ErrNoAnswer or hub.ErrUnavailable.
func (p *Peer) Ask(ctx context.Context, to hub.ProcessID, method string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, maxPatience)
	defer cancel()
	id, back, sender := p.begin()
	defer p.forget(id)
	if sender == nil {
		return nil, fmt.Errorf("%w: the process starts", hub.ErrUnavailable)
	}
	due, _ := ctx.Deadline()
	m := message{kind: kindAsk, id: id, patience: time.Until(due), method: method, body: body}
	refused := func(reply []byte) {
		if len(reply) > 0 {
			p.answered(message{kind: kindRefusal, id: id, body: reply})
		}
	}
	if err := sender.Send(ctx, []relay.Outgoing{{To: to, Body: m.bytes(), Reply: refused}}); err != nil {
		p.met.asked.WithLabelValues("unsent").Inc()
		return nil, outage.During("asking "+string(to), err)
	}
	select {
	case <-ctx.Done():
		p.met.asked.WithLabelValues("unanswered").Inc()
		return nil, fmt.Errorf("%w: %s to %s", ErrNoAnswer, method, to)
	case msg := <-back:
		return p.outcome(msg)
	}
}

func (p *Peer) outcome(msg message) ([]byte, error) {
	if msg.kind == kindAnswer {
		p.met.asked.WithLabelValues("answered").Inc()
		return msg.body, nil
	}
	p.met.asked.WithLabelValues("refused").Inc()
	r := &RefusalError{}
	if err := json.Unmarshal(msg.body, r); err != nil {
		return nil, &RefusalError{Code: codeFailed, Detail: err.Error()}
	}
	return nil, r
}

// begin enters an ask under way, so that its answer finds back.
func (p *Peer) begin() (id uint64, back <-chan message, sender Sender) {
	ch := make(chan message, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serial++
	p.open[p.serial] = ch
	return p.serial, ch, p.sender
}

func (p *Peer) forget(id uint64) {
	p.mu.Lock()
	delete(p.open, id)
	p.mu.Unlock()
}
