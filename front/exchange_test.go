package front

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
)

// switchboard has processes of a test ask each other.
type switchboard struct {
	mu      sync.Mutex
	methods map[hub.ProcessID]map[string]call.Handler
	dead    sync.Map // of hub.ProcessID: it is known not to live
	asked   atomic.Int64
	stopped sync.Map // of hub.ProcessID: it stands still
}

// line is how one process asks.
type switchboardLine struct {
	*switchboard

	from hub.ProcessID
}

func (l switchboardLine) Ask(ctx context.Context, to hub.ProcessID, method string, body []byte) ([]byte, error) {
	l.asked.Add(1)
	l.mu.Lock()
	h := l.methods[to][method]
	l.mu.Unlock()
	if h == nil {
		return nil, errors.New("nobody is there")
	}
	if _, stopped := l.stopped.Load(to); stopped {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h(ctx, l.from, body)
}

// join starts a worker whose sessions others reach.
func (s *switchboard) join(t *testing.T) *rig {
	t.Helper()
	x, id := &Exchange{}, hub.NewProcessID()
	x.Attach(switchboardLine{s, id}, func(p hub.ProcessID) bool { _, dead := s.dead.Load(p); return dead })
	r := startDeps(t, func(d *Deps) { d.Exchange, d.Process = x, id }, func(c *Config) { c.MaxMessage = 1000 })
	s.mu.Lock()
	s.methods[id] = x.Methods()
	s.mu.Unlock()
	return r
}

// at is the session of a client whose requests go to another worker.
func (p *polling) at(r *rig) *polling {
	other := *p
	other.base = "http://" + r.addr
	other.url = other.base + pollQuery + "&sid=" + p.sid
	return &other
}

func TestPollingAnywhere(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	p := owner.poll()
	far := p.at(other)
	far.say(`40{"token":"ann"}`)
	if all := far.want("25000}]"); !strings.HasPrefix(all, `40{"sid":"`) {
		t.Errorf("%q", all)
	}
	for i := range 5 { // what waits, and what comes while a GET waits, at either
		get := []*polling{far, p}[i%2].held()
		owner.deliver(note(fmt.Sprint(i), "ann"))
		if got := <-get; !strings.HasSuffix(got, fmt.Sprintf(`"data":%d}]`, i)) {
			t.Error(got)
		}
	}
	p.say(`421["ping"]`)
	far.want(`431[{"t":"ok"}]`)
	far.refused("POST", "4"+strings.Repeat("x", 1000), 413, "")
	far.refused("PUT", "", 400, `{"code":3`)

	first := far.held()
	p.refused("GET", "", 400, "Bad request")
	if got := <-first; got != "200 1" {
		t.Errorf("the first of two GETs: %s", got)
	}
	far.refused("GET", "", 400, unknown)
	far.refused("POST", "3", 400, unknown)

	far = owner.pollAs("ann").at(other)
	get := far.held()
	far.say("1")
	if got := <-get; got != "200 6" {
		t.Error(got)
	}
	far = owner.pollAs("ann").at(other)
	far.refused("POST", "abc", 400, "Bad request")
	far.refused("GET", "", 400, unknown)
	if n := other.metric("homing_front_polls_total", "result", "far"); n < 10 {
		t.Errorf("%v requests were carried to another process", n)
	}
	wait(t, "nothing to be owed", func() bool {
		left := make(chan int)
		owner.Post(func() { left <- owner.turns.engines.far.owed })
		other.Post(func() { left <- len(other.turns.engines.far.gets) })
		return <-left+<-left == 0
	})
}

func TestAnAbortedPollAnywhereEndsTheSession(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	p := owner.pollAs("ann")
	conn := other.dialFrom("127.0.0.1")
	fmt.Fprintf(conn, "GET %s&sid=%s HTTP/1.1\r\nHost: x\r\n\r\n", pollQuery, p.sid)
	wait(t, "the GET to wait at its owner", func() bool { return owner.owed() == 1 })
	_ = conn.Close()
	wait(t, "the user to leave", func() bool { return owner.presence.count() == 0 })
	p.refused("GET", "", 400, unknown)
}

func TestSessionsOfTheDead(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	r := s.join(t)
	p := r.poll()
	gone := hub.NewProcessID()
	p.sid = string(gone) + p.sid[hub.ProcessIDLen:]
	p = p.at(r)
	p.refused("GET", "", 400, unknown)
	p.refused("POST", "3", 400, unknown)
	if s.asked.Load() != 2 {
		t.Errorf("%d asks", s.asked.Load())
	}
	s.dead.Store(gone, true)
	p.refused("GET", "", 400, unknown)
	if s.asked.Load() != 2 {
		t.Error("the dead are asked")
	}
}

// TestTheOwnerDiesWhileAGETWaits has the GET be answered when that is known, and not
// when its time is over.
func TestTheOwnerDiesWhileAGETWaits(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	far := owner.pollAs("ann").at(other)
	get := far.held()
	wait(t, "the GET to wait at its owner", func() bool { return owner.owed() == 1 })
	s.dead.Store(hub.ProcessID(far.sid[:hub.ProcessIDLen]), true)
	if got := <-get; got != "400 "+unknown {
		t.Error(got)
	}
	far.refused("POST", "3", 400, unknown)
}

// TestTheOwnerStandsStill has its sessions' requests be given up in time, and nobody
// else's.
func TestTheOwnerStandsStill(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other, third := s.join(t), s.join(t), s.join(t)
	far, bob := owner.pollAs("ann").at(other), third.pollAs("bob").at(other)
	id := hub.ProcessID(far.sid[:hub.ProcessIDLen])
	s.stopped.Store(id, true)
	var answers []<-chan string
	for range maxFarOfSession { // two would break the rules, but who is to say so?
		answers = append(answers, far.begin())
	}
	underway := func() int {
		n := make(chan int)
		other.Post(func() { n <- other.turns.engines.far.of[far.sid] })
		return <-n
	}
	wait(t, "all to be read", func() bool { return underway() == maxFarOfSession })
	far.refused("GET", "", 400, "Bad request") // one more is not asked for
	bob.say(`421["ping"]`)
	bob.want(`431[{"t":"ok"}]`)
	for _, a := range answers {
		if got := <-a; got != "400 "+unknown {
			t.Error(got)
		}
	}
	wait(t, "nothing to be under way", func() bool { return underway() == 0 && other.turns.engines.far.bytes.Load() == 0 })
	s.stopped.Delete(id)
	far.say("3") // it goes on, if its client does
}

// TestAConnectionCarriesSessionsOfTwoWorkers has one that is kept alternate between
// them.
func TestAConnectionCarriesSessionsOfTwoWorkers(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	here, there := s.join(t), s.join(t)
	ann, bob := here.pollAs("ann"), there.pollAs("bob").at(here)
	one := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxConnsPerHost: 1}}
	t.Cleanup(one.CloseIdleConnections)
	ann.http, bob.http = one, one
	before := here.metric("homing_front_accepted_connections_total")
	for i := range 5 {
		for _, p := range []*polling{ann, bob} {
			p.say(fmt.Sprintf(`42%d["ping"]`, i))
			p.want(fmt.Sprintf(`43%d[{"t":"ok"}]`, i))
		}
		here.deliver(note(fmt.Sprintf(`"ann %d"`, i), "ann"))
		there.deliver(note(fmt.Sprintf(`"bob %d"`, i), "bob"))
		bob.want(fmt.Sprintf(`"data":"bob %d"}]`, i))
		ann.want(fmt.Sprintf(`"data":"ann %d"}]`, i))
	}
	if n := here.metric("homing_front_accepted_connections_total") - before; n != 1 {
		t.Errorf("%v connections", n)
	}
}

// TestGuessedSessions has ids be guessed of this worker, of another one, and of nobody.
func TestGuessedSessions(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	here, there := s.join(t), s.join(t)
	ann, bob := here.pollAs("ann"), there.pollAs("bob")
	guess := ann.at(here)
	guess.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	t.Cleanup(guess.http.CloseIdleConnections)
	for _, sid := range []string{
		ann.sid[:len(ann.sid)-1], ann.sid + "A", ann.sid[:hub.ProcessIDLen] + strings.Repeat("A", 22),
		bob.sid[:hub.ProcessIDLen] + strings.Repeat("A", 22), bob.sid[:hub.ProcessIDLen], string(hub.NewProcessID()) + ann.sid[hub.ProcessIDLen:],
		strings.Repeat("x", 5000), "%00", "..",
	} {
		guess.url = guess.base + pollQuery + "&sid=" + sid
		for _, method := range []string{"GET", "POST"} {
			before := here.metric("homing_front_accepted_connections_total")
			status, body, _ := guess.ask(method, guess.url, map[string]string{"POST": "3"}[method])
			if status != 400 || body != unknown || here.metric("homing_front_accepted_connections_total") == before {
				t.Errorf("%s %.60s: %d %s, or it took no connection of its own", method, sid, status, body)
			}
		}
	}
	ann.say(`421["ping"]`) // and nobody's session has suffered
	ann.want(`431[{"t":"ok"}]`)
	bob.say(`421["ping"]`)
	bob.want(`431[{"t":"ok"}]`)
}

func (r *rig) owed() int {
	left := make(chan int)
	r.Post(func() { left <- r.turns.engines.far.owed })
	return <-left
}

// TestAnOwnerThatEnds: what waits for its answer is told so at once.
func TestAnOwnerThatEnds(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	far := owner.pollAs("ann").at(other)
	get := far.held()
	wait(t, "the GET to wait", func() bool { return other.turns.engines.far.waits.Load() == 1 })

	silent, asked := hub.NewProcessID(), make(chan struct{})
	s.mu.Lock()
	s.methods[silent] = map[string]call.Handler{methodPost: func(ctx context.Context, _ hub.ProcessID, _ []byte) ([]byte, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	s.mu.Unlock()
	stuck := owner.poll()
	stuck.sid = string(silent) + stuck.sid[hub.ProcessIDLen:]
	post := make(chan struct{})
	go func() {
		defer close(post)
		stuck.at(other).refused("POST", "3", 400, unknown)
	}()
	<-asked
	s.dead.Store(hub.ProcessID(far.sid[:hub.ProcessIDLen]), true)
	s.dead.Store(silent, true)
	if got := <-get; !strings.HasPrefix(got, "400 "+unknown) {
		t.Errorf("the GET is answered %q", got)
	}
	<-post
	if n := other.turns.engines.far.waits.Load(); n != 0 {
		t.Errorf("%d GETs wait", n)
	}
}

// others are the processes of s but for a session's owner.
func (s *switchboard) others(p *polling) (ids []hub.ProcessID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.methods {
		if !strings.HasPrefix(p.sid, string(id)) {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestADrainLetsGetsGo: the session of a client whose GET waits at a worker that stops
// goes on elsewhere.
func TestADrainLetsGetsGo(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	p := owner.pollAs("ann")
	get := p.at(other).held()
	wait(t, "the GET to wait", func() bool { return other.turns.engines.far.waits.Load() == 1 })
	stopped := make(chan error)
	go func() { stopped <- other.stop() }()
	if got := <-get; got != "200 6" {
		t.Errorf("the GET is answered %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	again := p.held()
	owner.deliver(note("1", "ann"))
	if got := <-again; !strings.HasSuffix(got, `"data":1}]`) {
		t.Error(got)
	}
}

// TestAnAnswerThatIsLost: what was given to a process that has ended, and did not reach
// the client, reaches it when it asks again.
// TestACloseComesAlone has a session end while messages wait for it: socket.io-client
// keeps what it reads together with a close until it has connected again, when that comes
// again.
func TestACloseComesAlone(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	p := owner.pollAs("ann").at(other)
	owner.deliver(note(`"last"`, "ann"))
	go func() { _ = owner.stop() }()
	wait(t, "the session to be closed", func() bool { return owner.metric("homing_front_closes_total", "code", "1012") == 1 })
	status, body, _ := p.ask("GET", p.url, "")
	packets := strings.Split(body, "\x1e")
	if status != 200 || !strings.Contains(body, `"last"`) || !strings.HasPrefix(packets[len(packets)-1], `42["closing"`) {
		t.Errorf("%d %q", status, packets)
	}
	p.refused("GET", "", 400, unknown)
}

// TestWhatIsSaidToAClosedSession is passed by, and keeps nobody from reading what is left.
func TestWhatIsSaidToAClosedSession(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	near, far := owner.pollAs("ann"), owner.pollAs("ben").at(other)
	owner.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann", "ben"}, Payload: []byte("bye")})
	wait(t, "the sessions to be closed", func() bool { return owner.metric("homing_front_closes_total", "code", "4003") == 2 })
	for name, p := range map[string]*polling{"near": near, "far": far} {
		if status, body, _ := p.ask("POST", p.url, `42["ack",{"t":"ack","ids":["x"]}]`); status != 200 || body != "ok" {
			t.Errorf("%s: POST: %d %q", name, status, body)
		}
		if status, body, _ := p.ask("GET", p.url, ""); status != 200 || !strings.Contains(body, `42["closing"`) {
			t.Errorf("%s: GET: %d %q", name, status, body)
		}
		p.refused("GET", "", 400, unknown)
		p.refused("POST", "2probe", 400, unknown)
	}
}

// TestAClosedSessionIsNoRefuge has clients go on saying things to a session that is closed,
// and read nothing.
func TestAClosedSessionIsNoRefuge(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	all := map[string]*polling{"near": owner.pollAs("ann"), "far": owner.pollAs("ben").at(other)}
	owner.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann", "ben"}, Payload: []byte("bye")})
	wait(t, "the sessions to be closed", func() bool { return owner.metric("homing_front_closes_total", "code", "4003") == 2 })
	for name, p := range all {
		said := 0
		for ; said < 1000; said++ {
			if status, _, _ := p.ask("POST", p.url, `42["ping"]`); status != 200 {
				break
			}
		}
		if said == 0 || said > 500 {
			t.Errorf("%s: %d things were listened to", name, said)
		}
		p.refused("GET", "", 400, unknown)
	}
}

func TestAnAnswerThatIsLost(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	p := owner.pollAs("ann")
	p.at(other).held()
	wait(t, "the GET to wait", func() bool { return other.turns.engines.far.waits.Load() == 1 })
	carrier, given := s.others(p)[0], make(chan struct{})
	s.mu.Lock()
	s.methods[carrier] = map[string]call.Handler{methodAnswer: func(ctx context.Context, _ hub.ProcessID, _ []byte) ([]byte, error) {
		close(given)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	s.mu.Unlock()
	owner.deliver(note("1", "ann"))
	<-given
	owner.deliver(note("2", "ann"))
	again := p.held()
	s.dead.Store(carrier, true)
	got := <-again
	if i, j := strings.Index(got, `"data":1}]`), strings.Index(got, `"data":2}]`); i < 0 || j < i || strings.Count(got, "\x1e") != 1 {
		t.Errorf("%q", got)
	}
	owner.deliver(note("3", "ann"))
	if got := p.want(`"data":3}]`); strings.Contains(got, `"data":1}`) {
		t.Errorf("again: %q", got)
	}
}

// TestACarrierThatEnds: the GET that it had is lost, and with it the session, of which
// the client knows at once.
func TestACarrierThatEnds(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	p := owner.pollAs("ann")
	get := p.at(other).held()
	wait(t, "the GET to wait", func() bool { return owner.turns.engines.far.waits.Load() == 1 })
	s.dead.Store(s.others(p)[0], true)
	wait(t, "the user to leave", func() bool { return owner.presence.count() == 0 })
	if got := <-get; got != "200 1" {
		t.Errorf("the GET is answered %q", got)
	}
	p.refused("POST", "3", 400, unknown)
	if n := owner.turns.engines.far.waits.Load(); n != 0 {
		t.Errorf("%d GETs wait", n)
	}
}

func TestFarRequestsAreBounded(t *testing.T) {
	s := &switchboard{methods: map[hub.ProcessID]map[string]call.Handler{}}
	owner, other := s.join(t), s.join(t)
	far := owner.pollAs("ann").at(other)
	d := other.turns.engines
	d.far.crew.busy.Add(maxFar)
	far.refused("POST", "3", 503, "")
	far.refused("GET", "", 503, "")
	if n := other.metric("homing_front_polls_total", "result", "busy"); n != 2 {
		t.Errorf("%v are counted", n)
	}
	d.far.crew.busy.Add(-maxFar)
	far.say("3")
	d.far.bytes.Add(maxFarBytes)
	far.refused("POST", "3", 503, "")
	d.far.bytes.Add(-maxFarBytes)
	far.say("3")
	full := make(chan struct{})
	owner.Post(func() { owner.turns.engines.far.owed = maxFar; close(full) })
	<-full
	far.refused("GET", "", 400, unknown)
	owner.Post(func() { owner.turns.engines.far.owed = 0 })
	far.say("3")
}

func TestUpgradedSessionsAreForgotten(t *testing.T) {
	var u upgradedIDs
	for i := range maxUpgraded + 1 {
		u.add(fmt.Sprint(i))
	}
	if u.known["0"] || !u.known["1"] || !u.known[fmt.Sprint(maxUpgraded)] || len(u.known) != maxUpgraded {
		t.Errorf("%d are known", len(u.known))
	}
}
