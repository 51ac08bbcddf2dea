package relay

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "run only the model schedule with this seed")
	modelCount = flag.Int("model.schedules", modelSchedules, "how many model schedules to run")
)

// Times of a schedule.
const (
	modelTrouble = 4 * time.Second  // while faults happen
	modelSettle  = 12 * time.Second // after which everything must have arrived
	modelLease   = time.Second      // from a crash until senders learn of it
)

// model is one seeded history of senders, receivers and shards: messages are
// sent while shards fail, fall silent, lose, repeat, delay and reorder packets,
// and while receivers are slow, refuse, crash and come back. Then all heals,
// and the promise is checked:
//
//   - every message of a living sender was handled where it was sent to, or by
//     the successor of a receiver that crashed;
//   - no receiver handled a message twice, or, but for what was handed over
//     from a dead one, out of its sender's order;
//   - none handled anything after it was declared dead.
//
// Receivers stand still as well, and go on with all that was buffered: those
// that were declared dead meanwhile must not. Every process has a clock of its
// own, which steps.
//
// It runs in a synctest bubble, so its time costs nothing and its timers fire
// in an order that the seed decides.
type model struct {
	rng     *rand.Rand
	broken  sabotage
	shards  []*modelShard
	senders []*modelSender
	spots   []*modelSpot

	mu       sync.Mutex // guards what the relays' goroutines touch: rng, workers, problems
	workers  map[hub.ProcessID]*modelWorker
	moved    map[string]bool // messages handed over from a dead worker: late by nature
	problems []string
}

// sabotage is a relay broken on purpose, which the model must notice.
type sabotage int

const (
	sound        sabotage = iota
	ackOnArrival          // confirm a message before it is released
	keepRepeats           // forget what was received before
	forgetSent            // keep nothing to send again
	lateRiser             // go on after being declared dead
)

// modelShard is a pub/sub shard as its clients see it.
type modelShard struct {
	refuses bool          // publishes fail
	silent  bool          // publishes succeed and reach nobody
	loss    float64       // share of packets lost
	repeats float64       // share of packets that arrive twice
	jitter  time.Duration // most that a packet is delayed
}

// modelSender is an API server. Crashed, it sends nothing and nothing of it is
// owed, but what arrives of it must still be in order and once.
type modelSender struct {
	id     hub.ProcessID
	relay  *Relay
	stop   context.CancelFunc
	alive  bool
	serial int
	sent   []modelMessage
}

type modelMessage struct {
	spot int
	text string
}

// modelSpot is a place in the fleet: one worker after another.
type modelSpot struct {
	worker  *modelWorker
	handled map[string]bool // by any of its workers
}

// modelWorker is one life of a front worker.
type modelWorker struct {
	id      hub.ProcessID
	spot    int
	relay   *Relay
	stop    context.CancelFunc
	alive   bool
	pace    time.Duration // how long a message takes it at most
	picky   float64       // share of messages that it refuses the first time
	refused map[string]bool
	queue   []*Message
	last    map[string]int // serial number handled last, by sender
	handled map[string]bool

	stalled  bool     // stands still
	backlog  []func() // what happened to it meanwhile
	declared bool     // dead
}

var modelLog = slog.New(slog.DiscardHandler)

// runModel runs one schedule and returns what broke the promise.
func runModel(t *testing.T, seed uint64, broken sabotage) (problems []string) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		m := newModel(seed, broken)
		m.play()
		m.heal()
		time.Sleep(modelSettle)
		m.close()
		problems = m.judge()
	})
	return problems
}

func newModel(seed uint64, broken sabotage) *model {
	m := &model{
		rng:     rand.New(rand.NewPCG(seed, 1)),
		broken:  broken,
		workers: make(map[hub.ProcessID]*modelWorker),
		moved:   make(map[string]bool),
	}
	for range 1 + m.rng.IntN(3) {
		m.shards = append(m.shards, &modelShard{})
	}
	for i := range 1 + m.rng.IntN(2) {
		m.spots = append(m.spots, &modelSpot{handled: make(map[string]bool)})
		m.startWorker(i)
	}
	for i := range 1 + m.rng.IntN(2) {
		m.senders = append(m.senders, m.startSender(i))
	}
	return m
}

func (m *model) relay(id hub.ProcessID, h Handler) (*Relay, context.CancelFunc) {
	cfg := Config{Window: 30 * time.Second, Memory: 1 << 30, RetransmitTimeout: 250 * time.Millisecond}
	r := newRelay(cfg, hub.NewKeys(""), id, modelLog, prometheus.NewRegistry())
	r.begin(Upper{Handle: h})
	ctx, cancel := context.WithCancel(context.Background())
	for i := range m.shards {
		carry(ctx, r, func(it *item) bool { return m.transmit(it, i) })
	}
	go func() { _ = r.tend(ctx) }()
	return r, cancel
}

// carry gives r one more lane, whose packets transmit carries, until ctx ends;
// it reports false when the lane's shard does not take one.
func carry(ctx context.Context, r *Relay, transmit func(*item) bool) {
	l := newLane(fmt.Sprint(len(r.network.lanes)), nil, r.metrics)
	r.network.lanes = append(r.network.lanes, l)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-l.wake:
			}
			for items := l.take(); len(items) > 0; items = l.take() {
				for _, it := range items {
					if transmit(it) {
						it.batch.finish(true)
						continue
					}
					l.rest()
					r.network.publish(it)
				}
			}
		}
	}()
}

func (m *model) startSender(i int) *modelSender {
	s := &modelSender{id: hub.ProcessID(fmt.Sprintf("sender-%04d", i)), alive: true}
	s.relay, s.stop = m.relay(s.id, func(*Message) bool { return true })
	return s
}

// startWorker puts a new life at spot i.
func (m *model) startWorker(i int) {
	w := &modelWorker{
		id:      hub.ProcessID(fmt.Sprintf("worker-%04d", len(m.workers))),
		spot:    i,
		alive:   true,
		pace:    time.Duration(m.rng.IntN(20)) * time.Millisecond,
		picky:   m.rng.Float64() * 0.2,
		refused: make(map[string]bool),
		last:    make(map[string]int),
		handled: make(map[string]bool),
	}
	w.relay, w.stop = m.relay(w.id, func(msg *Message) bool { return m.offer(w, msg) })
	m.workers[w.id] = w
	m.spots[i].worker = w
}

// offer is the handler of worker w: it takes a message now, and handles it a
// little later.
func (m *model) offer(w *modelWorker, msg *Message) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := string(msg.Body)
	if !w.refused[text] && m.rng.Float64() < w.picky {
		w.refused[text] = true
		return false
	}
	w.queue = append(w.queue, msg)
	if len(w.queue) == 1 {
		m.later(w.pace, func() { m.handleNext(w) })
	}
	return true
}

// handleNext has w handle the first message it took.
func (m *model) handleNext(w *modelWorker) {
	m.mu.Lock()
	if w.stalled {
		w.backlog = append(w.backlog, func() { m.handleNext(w) })
	}
	if !w.alive || w.stalled {
		m.mu.Unlock()
		return
	}
	msg := w.queue[0]
	w.queue = w.queue[1:]
	m.recordLocked(w, string(msg.Body))
	if len(w.queue) > 0 {
		m.later(w.pace, func() { m.handleNext(w) })
	}
	m.mu.Unlock()
	msg.Done(nil)
}

// recordLocked checks the order in which one worker handles one sender's messages.
func (m *model) recordLocked(w *modelWorker, text string) {
	var from string
	var serial int
	if _, err := fmt.Sscanf(strings.ReplaceAll(text, "/", " "), "%s %d", &from, &serial); err != nil {
		m.problems = append(m.problems, fmt.Sprintf("%s handled %q: %v", w.id, text, err))
		return
	}
	m.spots[w.spot].handled[text] = true
	switch {
	case w.declared:
		m.problems = append(m.problems, fmt.Sprintf("%s handled %s after it was declared dead", w.id, text))
	case w.handled[text]:
		m.problems = append(m.problems, fmt.Sprintf("%s handled %s twice", w.id, text))
	case m.moved[text]:
	case serial <= w.last[from]:
		m.problems = append(m.problems, fmt.Sprintf("%s handled %s after number %d", w.id, text, w.last[from]))
	default:
		w.last[from] = serial
	}
	w.handled[text] = true
}

// later calls f after at most the time given; the caller holds mu or is alone.
func (m *model) later(most time.Duration, f func()) {
	time.AfterFunc(time.Duration(m.rng.Int64N(int64(most)+1)), f)
}

// transmit carries one packet over a shard, or reports false when that takes none.
func (m *model) transmit(it *item, shard int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shards[shard]
	if s.refuses {
		return false
	}
	if s.silent || m.rng.Float64() < s.loss {
		return true
	}
	m.deliverLocked(it, shard)
	if m.rng.Float64() < s.repeats {
		m.deliverLocked(it, shard)
	}
	return true
}

func (m *model) deliverLocked(it *item, shard int) {
	_, to, _ := strings.Cut(it.channel, ":c:")
	payload := m.misdateLocked(it.payload)
	m.later(m.shards[shard].jitter, func() { m.arrive(hub.ProcessID(to), shard, payload) })
}

// misdateLocked has a packet sent by a clock that is wrong by up to an hour.
func (m *model) misdateLocked(payload []byte) []byte {
	pk, err := parsePacket(payload)
	if err != nil {
		m.problems = append(m.problems, err.Error())
		return payload
	}
	pk.sent = pk.sent.Add(time.Duration(m.rng.Int64N(int64(2*time.Hour))) - time.Hour)
	return pk.append(nil)
}

func (m *model) arrive(to hub.ProcessID, shard int, payload []byte) {
	m.mu.Lock()
	var r *Relay
	for _, s := range m.senders {
		if s.id == to && s.alive {
			r = s.relay
		}
	}
	w := m.workers[to]
	if w != nil && w.alive && !w.stalled {
		r = w.relay
	}
	if w != nil && w.stalled {
		w.backlog = append(w.backlog, func() { m.arrive(to, shard, payload) })
	}
	m.mu.Unlock()
	if r == nil {
		return
	}
	if w != nil {
		m.sabotageArrival(w, payload)
	}
	r.receive(shard, "", payload)
}

// sabotageArrival breaks the receiving half as the model was told to.
func (m *model) sabotageArrival(w *modelWorker, payload []byte) {
	pk, err := parsePacket(payload)
	if err != nil || pk.kind != kindData {
		return
	}
	switch m.broken {
	case ackOnArrival:
		ack := packet{kind: kindAck, from: w.id, handled: pk.seq + 1, next: pk.seq + 1}
		for _, s := range m.senders {
			if s.id == pk.from {
				s.relay.receive(0, "", ack.append(nil))
			}
		}
	case keepRepeats:
		w.relay.mu.Lock()
		if in := w.relay.in[pk.from]; in != nil && pk.seq < in.next {
			in.next = pk.seq
		}
		w.relay.mu.Unlock()
	}
}

// play sends and breaks things for a while.
func (m *model) play() {
	start := time.Now()
	for time.Since(start) < modelTrouble {
		m.mu.Lock()
		action, pause := m.rng.IntN(100), time.Duration(m.rng.IntN(60))*time.Millisecond
		m.mu.Unlock()
		switch {
		case action < 70:
			m.send()
		case action < 90:
			m.disturb()
		case action < 93:
			m.crashWorker()
		case action < 94:
			m.crashSender()
		case action < 97:
			m.stallWorker()
		default:
			m.calm()
		}
		time.Sleep(pause)
	}
}

// send has one living sender send to some spots.
func (m *model) send() {
	m.mu.Lock()
	s := m.senders[m.rng.IntN(len(m.senders))]
	var out []Outgoing
	for i, spot := range m.spots {
		if !s.alive || m.rng.IntN(4) == 0 {
			continue
		}
		s.serial++
		text := fmt.Sprintf("%s/%d", s.id, s.serial)
		s.sent = append(s.sent, modelMessage{spot: i, text: text})
		out = append(out, Outgoing{To: spot.worker.id, Body: []byte(text)})
	}
	m.mu.Unlock()
	_ = s.relay.Send(context.Background(), out)
	if m.broken == forgetSent {
		for _, o := range out {
			s.relay.Abandon(o.To)
		}
	}
}

// disturb changes how one shard behaves.
func (m *model) disturb() {
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.shards[m.rng.IntN(len(m.shards))] = modelShard{
		refuses: m.rng.IntN(4) == 0,
		silent:  m.rng.IntN(4) == 0,
		loss:    m.rng.Float64() * 0.5,
		repeats: m.rng.Float64() * 0.5,
		jitter:  time.Duration(m.rng.IntN(200)) * time.Millisecond,
	}
}

func (m *model) calm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.shards[m.rng.IntN(len(m.shards))] = modelShard{}
}

func (m *model) heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.shards {
		*s = modelShard{}
	}
	for _, s := range m.spots {
		s.worker.picky = 0
	}
}

// crashWorker kills one worker, starts its successor, and tells the senders a
// lease later, who send the successor what the dead one did not confirm.
func (m *model) crashWorker() {
	m.mu.Lock()
	spot := m.spots[m.rng.IntN(len(m.spots))]
	dead := spot.worker
	dead.alive = false
	dead.stop()
	m.startWorker(dead.spot)
	m.mu.Unlock()
	time.AfterFunc(modelLease, func() { m.handOver(dead) })
}

// stallWorker has a worker stand still. One that does so for longer than a
// lease is declared dead and has a successor.
func (m *model) stallWorker() {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.spots[m.rng.IntN(len(m.spots))].worker
	if w.stalled {
		return
	}
	w.stalled = true
	d := time.Duration(m.rng.Int64N(int64(2 * modelLease)))
	if d > modelLease {
		time.AfterFunc(modelLease, func() { m.declare(w) })
	}
	time.AfterFunc(d, func() { m.wake(w) })
}

// declare has the senders take a worker for dead that stands still.
func (m *model) declare(w *modelWorker) {
	m.mu.Lock()
	if !w.alive {
		m.mu.Unlock()
		return // it has crashed meanwhile, and has a successor
	}
	w.declared = true
	m.startWorker(w.spot)
	m.mu.Unlock()
	m.handOver(w)
}

// wake has a worker go on with what was buffered, unless it was declared dead:
// then it looks at its standing first, and ends.
func (m *model) wake(w *modelWorker) {
	m.mu.Lock()
	backlog := w.backlog
	w.stalled, w.backlog = false, nil
	if w.declared && m.broken != lateRiser {
		w.alive, backlog = false, nil
		w.stop()
	}
	m.mu.Unlock()
	for _, f := range backlog {
		f()
	}
}

// handOver has the senders hand over what a dead worker did not confirm, and
// look once more a lease later, as the dispatcher does in every round: a Send
// that was under way may have come after the first look.
func (m *model) handOver(dead *modelWorker) {
	m.handOverOnce(dead)
	time.AfterFunc(modelLease, func() { m.handOverOnce(dead) })
}

func (m *model) handOverOnce(dead *modelWorker) {
	for _, s := range m.senders {
		m.mu.Lock()
		to, alive := m.spots[dead.spot].worker, s.alive
		m.mu.Unlock()
		if !alive {
			continue
		}
		var out []Outgoing
		for _, left := range s.relay.Abandon(dead.id) {
			m.mu.Lock()
			m.moved[string(left.Body)] = true
			m.mu.Unlock()
			out = append(out, Outgoing{To: to.id, Body: left.Body})
		}
		_ = s.relay.Send(context.Background(), out)
	}
}

func (m *model) crashSender() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.senders[m.rng.IntN(len(m.senders))]; len(m.senders) > 1 {
		s.alive = false
		s.stop()
	}
}

func (m *model) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.senders {
		s.stop()
	}
	for _, w := range m.workers {
		w.stop()
	}
}

// judge lists what broke the promise.
func (m *model) judge() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.senders {
		for _, msg := range s.sent {
			if s.alive && !m.spots[msg.spot].handled[msg.text] {
				m.problems = append(m.problems, "lost "+msg.text)
			}
		}
	}
	return m.problems
}

func TestModel(t *testing.T) {
	if *modelSeed != 0 {
		for _, p := range runModel(t, *modelSeed, sound) {
			t.Error(p)
		}
		return
	}
	for i := range *modelCount {
		seed := uint64(i + 1)
		if problems := runModel(t, seed, sound); len(problems) > 0 {
			t.Fatalf("schedule %d broke the promise; replay it with -run TestModel -model.seed %d:\n%s",
				seed, seed, strings.Join(problems[:min(len(problems), 20)], "\n"))
		}
	}
}

func TestModelCatchesABrokenRelay(t *testing.T) {
	for name, broken := range map[string]sabotage{
		"acknowledging before release": ackOnArrival,
		"no removal of repeats":        keepRepeats,
		"no retention":                 forgetSent,
		"going on after death":         lateRiser,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				if problems := runModel(t, seed+1, broken); len(problems) > 0 {
					t.Logf("caught by schedule %d: %s", seed+1, problems[0])
					return
				}
			}
			t.Error("200 schedules passed")
		})
	}
}
