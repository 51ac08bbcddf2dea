package hook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/hook/webhook"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child() // does not return
	}
	goleak.VerifyTestMain(m)
}

// lease is how long a lease stands in tests.
const lease = 1200 * time.Millisecond

// got is an event as the backend got it.
type got struct {
	id      string
	subject string
	n       int
	at      time.Time
}

// backend is a game backend that keeps what it is sent and has taken.
type backend struct {
	t      *testing.T
	url    string
	addr   string
	secret string
	file   string // of the secret

	// answer says what to reply; nil: 200. It is called without the lock.
	answer func(w http.ResponseWriter, r *http.Request, e got) int

	mu     sync.Mutex
	server *httptest.Server
	taken  []got
	sizes  []int // events of each request that was taken
	tries  int
	under  int // requests under way
	most   int // of them at once
}

// data is the data of the tests' events.
type data struct {
	Subject string `json:"subject"`
	N       int    `json:"n"`
	Pad     string `json:"pad,omitempty"`
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{t: t, secret: webhook.NewSecret(), file: filepath.Join(t.TempDir(), "hook.secret")}
	if err := os.WriteFile(b.file, []byte(b.secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.listen("127.0.0.1:0")
	t.Cleanup(func() { b.close() })
	return b
}

// listen serves at addr, which may be the one before.
func (b *backend) listen(addr string) {
	b.t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		b.t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: b, ReadHeaderTimeout: time.Minute}}
	s.Start()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.server, b.url, b.addr = s, s.URL+"/hook", ln.Addr().String()
}

// close refuses connections from now on.
func (b *backend) close() {
	b.mu.Lock()
	s := b.server
	b.server = nil
	b.mu.Unlock()
	if s != nil {
		s.CloseClientConnections()
		s.Close()
	}
}

// answers has f say how events are answered from now on.
func (b *backend) answers(f func(w http.ResponseWriter, r *http.Request, e got) int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = f
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it was broken off
	}
	verifier, _ := standardwebhooks.NewWebhook(b.secret)
	if err := verifier.Verify(body, r.Header); err != nil {
		b.t.Errorf("the signature is not right: %v", err)
	}
	events := b.read(r.Header.Get("webhook-id"), body)
	b.mu.Lock()
	b.tries++
	b.under++
	b.most = max(b.most, b.under)
	answer := b.answer
	b.mu.Unlock()
	status := http.StatusOK
	for _, e := range events {
		if answer != nil && status < 300 {
			status = answer(w, r, e)
		}
	}
	b.mu.Lock()
	b.under--
	if status < 300 {
		b.taken = append(b.taken, events...)
		b.sizes = append(b.sizes, len(events))
	}
	b.mu.Unlock()
	w.WriteHeader(status)
}

// read returns the events of a request: one, or a batch.
func (b *backend) read(id string, body []byte) (all []got) {
	type one struct {
		ID        string
		Type      string
		Timestamp time.Time
		Data      data
	}
	var request struct {
		one
		Events []one
	}
	if err := json.Unmarshal(body, &request); err != nil {
		b.t.Errorf("%s: %v", body, err)
	}
	events := request.Events
	if events == nil {
		request.ID = id
		events = []one{request.one}
	}
	for _, e := range events {
		if e.Type == "" || e.ID == "" || e.Timestamp.IsZero() {
			b.t.Errorf("%s: an event lacks its type, id or time", body)
		}
		all = append(all, got{id: e.ID, subject: e.Data.Subject, n: e.Data.N, at: time.Now()})
	}
	return all
}

// has returns the events of a subject in the order in which they were taken.
func (b *backend) has(subject string) (numbers []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.taken {
		if e.subject == subject {
			numbers = append(numbers, e.n)
		}
	}
	return numbers
}

func (b *backend) count() (taken, tries int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.taken), b.tries
}

// distinct returns how many different events were taken.
func (b *backend) distinct() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := map[string]bool{}
	for _, e := range b.taken {
		ids[e.id] = true
	}
	return len(ids)
}

// ordered fails the test unless the events of each subject came in order, but for
// repeats.
func (b *backend) ordered() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	last := map[string]int{}
	seen := map[string]bool{}
	for _, e := range b.taken {
		if seen[e.id] {
			continue
		}
		seen[e.id] = true
		if e.n <= last[e.subject] {
			b.t.Errorf("%s: %d came after %d", e.subject, e.n, last[e.subject])
		}
		last[e.subject] = e.n
	}
}

// process is what a process of a deployment has.
type process struct {
	t    *testing.T
	rc   redisx.Config
	r    *redisx.Redis
	keys hub.Keys
	cfg  hook.Config
	has  []hook.Target // endpoints; none: one with the default name
	name string        // of the endpoint that its senders send to
	list *hook.Roster  // nil: none runs yet
	scfg hook.SenderConfig
	ecfg webhook.Config
	reg  *prometheus.Registry
}

// newProcess is a process on Redis at rc that sends to b.
func newProcess(t *testing.T, rc redisx.Config, b *backend) *process {
	t.Helper()
	p := &process{t: t, rc: rc, r: redistest.Open(t, rc), keys: hub.NewKeys(rc.Prefix), name: hook.DefaultName, reg: prometheus.NewRegistry()}
	if err := kong.ApplyDefaults(&p.cfg); err != nil {
		t.Fatal(err)
	}
	if err := kong.ApplyDefaults(&p.scfg); err != nil {
		t.Fatal(err)
	}
	if err := kong.ApplyDefaults(&p.ecfg); err != nil {
		t.Fatal(err)
	}
	p.cfg.On = true
	p.ecfg.URL, p.ecfg.SecretFile, p.ecfg.Timeout = b.url, b.file, 2*time.Second
	return p
}

// alone is a process on a Redis of its own.
func alone(t *testing.T) (*process, *backend) {
	t.Helper()
	b := newBackend(t)
	return newProcess(t, redistest.Config(t, redistest.Server(t)), b), b
}

// another is a process like p.
func (p *process) another() *process {
	p.t.Helper()
	q := *p
	q.r, q.reg, q.list = redistest.Open(p.t, p.rc), prometheus.NewRegistry(), nil
	return &q
}

// targets are the endpoints.
func (p *process) targets() (all []hook.Target) {
	all = slices.Clone(p.has)
	if len(all) == 0 {
		all = []hook.Target{{Name: hook.DefaultName, Events: []string{"*"}}}
	}
	for i := range all {
		all[i].StreamBytes = p.scfg.StreamBytes
	}
	return all
}

// target is the endpoint that its senders send to.
func (p *process) target() hook.Target {
	for _, t := range p.targets() {
		if t.Name == p.name {
			return t
		}
	}
	p.t.Fatalf("no endpoint %s", p.name)
	return hook.Target{}
}

// roster is the list that the process says its endpoints in.
func (p *process) roster() *hook.Roster {
	if p.list == nil {
		p.list = hook.NewRoster(p.r, p.keys, quiet)
		p.list.Fast()
		p.list.Have(p.targets())
		p.background(p.list.Run)
	}
	return p.list
}

func (p *process) hookKeys() hub.HookKeys {
	if p.name == hook.DefaultName {
		return p.keys.Hook("")
	}
	return p.keys.Hook(p.name)
}

// stream is the key of a partition of its endpoint.
func (p *process) stream(n int) string { return p.hookKeys().Stream(n) }

var quiet = slog.New(slog.DiscardHandler)

// publisher runs one until the test ends.
func (p *process) publisher() *hook.Publisher {
	p.t.Helper()
	pub := hook.NewPublisher(p.cfg, p.roster(), p.r, p.keys, quiet, p.reg)
	p.background(pub.Run)
	return pub
}

// sender runs one until the test ends, or stop is called.
func (p *process) sender(change ...func(*hook.Sender)) (s *hook.Sender, stop func()) {
	p.t.Helper()
	end, err := webhook.New(p.ecfg, quiet)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(end.Close)
	p.roster()
	s = hook.NewSender(p.target(), p.scfg, end, p.r, p.keys, quiet, p.reg)
	s.Fast(lease)
	for _, f := range change {
		f(s)
	}
	return s, p.background(s.Run)
}

func (p *process) background(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			p.t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	p.t.Cleanup(stop)
	return stop
}

// publish publishes event n of a subject.
func publish(t *testing.T, p *hook.Publisher, subject string, n int) {
	t.Helper()
	if !p.Publish(event(subject, n)) {
		t.Fatalf("event %d of %s is lost", n, subject)
	}
}

func event(subject string, n int) hook.Event {
	return hook.Event{Type: "room.ended", Subject: subject, Data: data{Subject: subject, N: n}}
}

func flush(t *testing.T, p *hook.Publisher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// within waits until ok.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// metric returns the value of a counter or gauge, the sum of its labels' unless one
// is named.
func (p *process) metric(name string, label ...string) (sum float64) {
	p.t.Helper()
	all, err := p.reg.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	found := false
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(label) == 1 && !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == label[0] }) {
				continue
			}
			found = true
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if !found {
		p.t.Fatalf("no metric %s %v", name, label)
	}
	return sum
}

// others are subjects that are not of the partition of subject.
func others(subject string, n int) (all []string) {
	for i := 0; len(all) < n; i++ {
		if s := fmt.Sprintf("room-%d", i); hook.PartitionOf(s) != hook.PartitionOf(subject) {
			all = append(all, s)
		}
	}
	return all
}

// neighbors are n subjects of the partition of subject.
func neighbors(subject string, n int) (all []string) {
	for i := 0; len(all) < n; i++ {
		if s := fmt.Sprintf("room-%d", i); s != subject && hook.PartitionOf(s) == hook.PartitionOf(subject) {
			all = append(all, s)
		}
	}
	return all
}

// texts is a set of texts.
type texts struct {
	mu  sync.Mutex
	all map[string]bool
}

func (s *texts) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]bool{}
	}
	s.all[text] = true
}

func (s *texts) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}
