package front

import (
	"log/slog"

	"github.com/homing/homing/front/admission"
	"github.com/homing/homing/front/handoff"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// parts are what a worker is made of, each on those before it.
type parts struct {
	loop       *loop.Loop[client]
	m          *metrics
	standing   *standing
	protocols  *protocols
	sessions   *sessions
	resumes    *resumes
	entry      *entry
	door       *door
	deliveries *deliveries
	rooms      *rooms
	lobbies    *lobbies
	friends    *friends // nil: nobody has any
	topics     *topics
	subscribes *subscribes
	publishes  *publishes
	node       *nodeDrain
	shutdown   *shutdown
	passages   *passages // nil: without Rooms
	pipes      *pipes
	turns      turns
}

// assemble makes the parts, without any protocol. It owns listeners, also when
// it fails.
func assemble(cfg *Config, listeners []Listener, deps Deps) (*parts, error) {
	if deps.Standing == nil {
		deps.Standing = func() hub.Standing { return hub.StandingGood }
	}
	queue := &envelopeQueue{limit: cfg.InboxBytes}
	p := &parts{
		m:         newMetrics(deps.Registry, queue.size),
		standing:  &standing{ask: deps.Standing},
		protocols: &protocols{},
	}
	limiter := admission.New(cfg.AdmitRate, loop.TickLength.Seconds())
	var err error
	p.loop, err = loop.New[client](cfg.loopConfig(deps.NeedCertificate, limiter), listeners, deps.Log, deps.Registry, p.m.handshakes)
	if err != nil {
		return nil, err
	}
	trace := newTracer(deps.Process, deps.Log)
	heard := newHeard()
	p.sessions = newSessions(cfg, p, &deps, trace, heard.hash)
	p.topics = newTopics(p, deps.Presence, loop.Ticks(cfg.RegisterTimeout))
	p.sessions.topics = p.topics
	p.resumes = newResumes(cfg, p, &deps, trace)
	bye := &farewells{loop: p.loop, sessions: p.sessions}
	p.node = &nodeDrain{
		farewells: bye, rooms: deps.Rooms, m: p.m, log: deps.Log, window: loop.Ticks(cfg.DrainWindow),
		release: func(*conn) {}, plays: func(c *conn) bool { return c.State.plays() },
	}
	p.entry = newEntry(cfg, p, &deps, trace, limiter)
	p.shutdown = newShutdown(cfg, p, queue.size, deps.Log)
	p.entry.opened = p.shutdown.opened
	p.door = &door{
		loop: p.loop, entry: p.entry, protocols: p.protocols, paths: map[string]protocolID{}, below: map[string]protocolID{}, m: p.m,
		ready: p.shutdown.inService, headLimit: cfg.HandshakeLimit, health: cfg.Health,
	}
	p.deliveries = &deliveries{
		loop: p.loop, sessions: p.sessions, topics: p.topics, m: p.m, log: deps.Log, queue: queue,
		heard: heard, mayDeliver: p.shutdown.mayDeliver,
	}
	p.rooms = &rooms{tracer: trace, loop: p.loop, sessions: p.sessions, m: p.m, host: deps.Rooms, mayDeliver: p.shutdown.mayDeliver}
	p.lobbies = &lobbies{tracer: trace, loop: p.loop, sessions: p.sessions, m: p.m, lobby: deps.Lobby, jobs: make(chan lobbyJob, lobbyJobs)}
	if deps.Friends != nil {
		p.friends = &friends{
			loop: p.loop, sessions: p.sessions, m: p.m, host: deps.Friends, mayDeliver: p.shutdown.mayDeliver,
			mayTell: p.standing.good, errands: make(chan *errand, friendErrands), circles: make(map[hub.UserID]*circle),
		}
		p.sessions.friends = p.friends
	}
	p.subscribes = &subscribes{tracer: trace, loop: p.loop, sessions: p.sessions, topics: p.topics, resumes: p.resumes, m: p.m}
	p.publishes = newPublishes(cfg, p, trace, deps.Publisher)
	p.pipes = &pipes{loop: p.loop, sessions: p.sessions, m: p.m, sendBuffer: cfg.SendBuffer}
	p.turns = turns{
		tracer: trace, loop: p.loop, m: p.m, door: p.door, entry: p.entry, sessions: p.sessions, protocols: p.protocols,
		resumes: p.resumes, topics: p.topics, deliveries: p.deliveries, rooms: p.rooms, friends: p.friends, shutdown: p.shutdown, pipes: p.pipes,
	}
	return p, nil
}

func newSessions(cfg *Config, p *parts, deps *Deps, trace tracer, hash idHash) *sessions {
	s := &sessions{
		tracer: trace, loop: p.loop, m: p.m, protocols: p.protocols, presence: deps.Presence,
		users: newUsers(), replays: newReplayBudget(cfg.ReplayBytes, deps.Inbox), hash: hash,
		held:         heldBounds{cfg.OutboxBytes, cfg.OutboxMessages},
		maxPerUser:   cfg.UserConnections,
		refuseNewest: cfg.UserOverflow == overflowNewest,
		canResume:    deps.Inbox != nil,
	}
	s.perConn, s.perUser = newAllowances(cfg)
	return s
}

func newResumes(cfg *Config, p *parts, deps *Deps, trace tracer) *resumes {
	return &resumes{
		tracer: trace, loop: p.loop, sessions: p.sessions, m: p.m, inbox: deps.Inbox, topics: p.topics, kept: deps.Histories, budget: p.sessions.replays,
		cfg: resumeConfig{
			workers: cfg.ResumeWorkers, queue: cfg.ResumeQueue, timeout: cfg.ResumeTimeout,
			wait: loop.Ticks(cfg.ResumeTimeout), memory: loop.Ticks(cfg.ResumeMemory), replay: loop.Ticks(cfg.ReplayTimeout),
		},
		reads: make(chan inboxJob, cfg.ResumeWorkers),
		acks:  make(chan inboxJob, cfg.ResumeQueue),
		found: make(chan found, cfg.ResumeWorkers),
	}
}

func newEntry(cfg *Config, p *parts, deps *Deps, trace tracer, limiter *admission.Limiter) *entry {
	return &entry{
		tracer: trace, loop: p.loop, sessions: p.sessions, standing: p.standing, node: p.node, limiter: limiter,
		origins: http1.NewOrigins(cfg.Origins), auth: deps.Auth, arrived: deps.Arrived, m: p.m, log: deps.Log,
		headLimit: cfg.HandshakeLimit, timeout: cfg.HandshakeTimeout, registerTime: loop.Ticks(cfg.RegisterTimeout),
		waiting: make(chan verifyJob, cfg.AuthQueue),
	}
}

func newShutdown(cfg *Config, p *parts, waiting func() int, log *slog.Logger) *shutdown {
	return &shutdown{
		farewells: p.node.farewells, node: p.node, entry: p.entry, standing: p.standing, m: p.m, log: log,
		waiting: waiting, release: func(*conn) {},
		window: loop.Ticks(cfg.DrainWindow), cutOff: loop.Ticks(cfg.DrainTimeout), closeTime: loop.Ticks(cfg.CloseTimeout),
		drainWindow: cfg.DrainWindow, leaving: make(chan struct{}),
	}
}

// route has clients that ask for a room be passed to the process that runs it,
// and takes those that others pass to this one.
func (p *parts) route(cfg *Config, deps *Deps) error {
	receiver, err := handoff.Listen(deps.Process, deps.Log)
	if err != nil {
		return err
	}
	p.passages = &passages{
		tracer: p.entry.tracer, loop: p.loop, entry: p.entry, protocols: p.protocols, pipes: p.pipes, m: p.m,
		rooms: deps.Rooms, receiver: receiver,
		headLimit: cfg.HandshakeLimit, timeout: cfg.HandshakeTimeout / 4,
		crew: newCrew(maxPassages),
	}
	if d := p.turns.engines; d != nil {
		p.passages.far = d.far
	}
	p.door.passages = p.passages
	p.pipes.protocol = p.protocols.add(p.pipes)
	return nil
}

// speak has the clients of a path speak a protocol.
func (p *parts) speak(path string, with protocol) {
	p.door.paths[path] = p.protocols.add(with)
}

// speakSocketIO has the clients of /socket.io/ speak Socket.IO.
func (p *parts) speakSocketIO(cfg *Config, deps *Deps) {
	e := p.newEngine(cfg, deps.Process)
	e.app = &socketIO{engine: e, entry: p.entry, sessions: p.sessions, homing: p.homing()}
	d := p.speakEngine("/socket.io/", e, p.framing(cfg))
	if x := deps.Exchange; x != nil {
		d.far = newFarRequests(x, d)
		p.shutdown.release, p.node.release = d.far.release, d.far.release
	}
}

// newEngine prepares an engine, without its app.
func (p *parts) newEngine(cfg *Config, process hub.ProcessID) *engine {
	return &engine{
		loop: p.loop, sessions: p.sessions, entry: p.entry, process: process,
		pingInterval: cfg.PingInterval, pingTimeout: cfg.PongTimeout,
		pingAfter: loop.Ticks(cfg.PingInterval), pongTime: loop.Ticks(cfg.PongTimeout), connectTime: loop.Ticks(cfg.ConnectTimeout),
		maxPayload: cfg.MaxMessage, earlyLimit: cfg.earlyLimit(), three: cfg.EngineIO3,
	}
}

// speakEngine has the clients of a path and of all below it speak Engine.IO.
func (p *parts) speakEngine(path string, e *engine, f framing) *engineDoor {
	polls := &enginePolls{engine: e, byID: map[string]*conn{}}
	d := &engineDoor{
		engine: e, polls: polls, messageTime: f.messageTime,
		again: p.door.received, stopping: p.shutdown.draining.Load, leaving: p.shutdown.leaves,
	}
	probes := &engineProbes{framing: f, door: d, polls: polls}
	d.probes, polls.probes = probes, probes
	d.sockets.four = p.addSockets(f, e, wire4)
	e.socket = d.sockets.four.id
	if e.three {
		d.sockets.three = p.addSockets(f, e, wire3)
		e.socket3 = d.sockets.three.id
	}
	e.polled = p.protocols.add(&enginePolled{polls, d})
	probes.protocol = p.protocols.add(probes)
	p.door.below[path] = p.protocols.add(d)
	p.turns.engines = d
	return d
}

// addSockets adds the protocol of an engine's sessions over WebSocket in one version.
func (p *parts) addSockets(f framing, e *engine, wire engineWire) *engineSockets {
	s := &engineSockets{framing: f, engine: e, wire: wire}
	s.id = p.protocols.add(s)
	return s
}

// homing is what clients say, whatever carries it.
func (p *parts) homing() *homing {
	return &homing{
		sessions: p.sessions, resumes: p.resumes, rooms: p.rooms, lobbies: p.lobbies,
		subscribes: p.subscribes, publishes: p.publishes,
	}
}

func (p *parts) framing(cfg *Config) framing {
	return framing{
		loop: p.loop, sessions: p.sessions, m: p.m,
		maxMessage: cfg.MaxMessage, earlyLimit: cfg.earlyLimit(), messageTime: loop.Ticks(cfg.MessageTimeout),
		pingAfter: loop.Ticks(cfg.PingInterval), pongTime: loop.Ticks(cfg.PongTimeout),
	}
}
