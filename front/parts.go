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
	p.resumes = newResumes(cfg, p, &deps, trace)
	p.entry = newEntry(cfg, p, &deps, trace, limiter)
	p.shutdown = newShutdown(cfg, p, queue.size, deps.Log)
	p.entry.opened = p.shutdown.opened
	p.door = &door{
		loop: p.loop, entry: p.entry, protocols: p.protocols, paths: map[string]protocolID{}, m: p.m,
		ready: p.shutdown.ready, headLimit: cfg.HandshakeLimit, health: cfg.Health,
	}
	p.deliveries = &deliveries{
		loop: p.loop, sessions: p.sessions, m: p.m, log: deps.Log, queue: queue,
		heard: heard, mayDeliver: p.shutdown.mayDeliver,
	}
	p.rooms = &rooms{tracer: trace, loop: p.loop, sessions: p.sessions, m: p.m, host: deps.Rooms, mayDeliver: p.shutdown.mayDeliver}
	p.lobbies = &lobbies{tracer: trace, loop: p.loop, sessions: p.sessions, m: p.m, lobby: deps.Lobby, jobs: make(chan lobbyJob, lobbyJobs)}
	p.pipes = &pipes{loop: p.loop, sessions: p.sessions, m: p.m, sendBuffer: cfg.SendBuffer}
	p.turns = turns{
		tracer: trace, loop: p.loop, m: p.m, door: p.door, entry: p.entry, sessions: p.sessions, protocols: p.protocols,
		resumes: p.resumes, deliveries: p.deliveries, rooms: p.rooms, shutdown: p.shutdown, pipes: p.pipes,
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
		tracer: trace, loop: p.loop, sessions: p.sessions, m: p.m, inbox: deps.Inbox, budget: p.sessions.replays,
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
		tracer: trace, loop: p.loop, sessions: p.sessions, standing: p.standing, limiter: limiter,
		origins: http1.NewOrigins(cfg.Origins), auth: deps.Auth, m: p.m, log: deps.Log,
		headLimit: cfg.HandshakeLimit, timeout: cfg.HandshakeTimeout, registerTime: loop.Ticks(cfg.RegisterTimeout),
		waiting: make(chan verifyJob, cfg.AuthQueue),
	}
}

func newShutdown(cfg *Config, p *parts, waiting func() int, log *slog.Logger) *shutdown {
	return &shutdown{
		loop: p.loop, sessions: p.sessions, entry: p.entry, standing: p.standing, m: p.m, log: log,
		waiting: waiting,
		window:  loop.Ticks(cfg.DrainWindow), cutOff: loop.Ticks(cfg.DrainTimeout), closeTime: loop.Ticks(cfg.CloseTimeout),
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
		waiting: make(chan passage, maxPassages),
	}
	p.door.passages = p.passages
	p.pipes.protocol = p.protocols.add(p.pipes)
	return nil
}

// speak has the clients of a path speak a protocol.
func (p *parts) speak(path string, with protocol) {
	p.door.paths[path] = p.protocols.add(with)
}

func (p *parts) framing(cfg *Config) framing {
	return framing{
		loop: p.loop, sessions: p.sessions, m: p.m,
		maxMessage: cfg.MaxMessage, messageTime: loop.Ticks(cfg.MessageTimeout),
		pingAfter: loop.Ticks(cfg.PingInterval), pongTime: loop.Ticks(cfg.PongTimeout),
	}
}
