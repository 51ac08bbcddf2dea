package crowd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/bench/socket"
	"github.com/homing/homing/bench/times"
)

// state is how far a player has come.
type state uint8

const (
	gone       state = iota // no socket
	connecting              // TCP connect under way
	upgrading               // request sent
	entering                // upgraded, not in its room
	playing                 // in its room
)

// player is one player.
type player struct {
	fd      int32
	state   state
	mark    uint16 // of its positions; see markOf
	room    int    // among the rooms of this process
	place   int    // in the order of the schedule
	last    int64  // tick of the last frame; 0: none yet
	frames  int    // read so far
	moves   int    // times that it was told to go where its room is
	partial []byte // bytes of a frame or reply that is not whole yet
	seat    Seat
}

// echoOneIn is how many frames of a player there are for one whose echo is
// looked for, which takes longer than everything else that is done with a frame.
const echoOneIn = 4

// engine runs the players of one process in one goroutine.
type engine struct {
	epoll    int
	events   []unix.EpollEvent
	in       []byte // what a read takes
	out      []byte // scratch for what is sent
	said     []byte // scratch for what a frame that is sent holds
	mask     [4]byte
	speech   speech
	period   float64 // between two ticks, nanoseconds
	players  []player
	rooms    []timetable
	roomOf   map[int]int // by the number that a seat has
	under    int         // players between connect and their seat
	schedule *schedule   // nil: nobody says anything
	count    Counts
	reason   string // why a player failed last
	measured bool   // since mark
	marked   time.Time
	echo     *hdrhistogram.Histogram // µs from the instant at which a message was due to the frame with it
	behind   *hdrhistogram.Histogram // µs from that instant until the message was sent
}

func newEngine() (*engine, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open epoll: %w", err)
	}
	e := &engine{
		epoll: fd, events: make([]unix.EpollEvent, 512), in: make([]byte, 64<<10),
		roomOf: make(map[int]int), echo: times.New(), behind: times.New(),
	}
	for i := range e.mask {
		e.mask[i] = byte(1 + rand.N(255)) // a mask of zeros would spare the server its work
	}
	return e, nil
}

// close ends all players.
func (e *engine) close() {
	e.leave()
	_ = unix.Close(e.epoll)
}

// leave closes all connections and forgets players and rooms.
func (e *engine) leave() {
	for i := range e.players {
		if e.players[i].state == playing {
			_ = e.send(i, ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, "")) // who cannot hear it is closed anyway
		}
		e.drop(i)
	}
	e.players, e.rooms, e.schedule, e.measured = nil, nil, nil, false
	e.count, e.reason = Counts{}, ""
	clear(e.roomOf)
}

// drop closes a player's socket, if it has one.
func (e *engine) drop(i int) {
	p := &e.players[i]
	switch p.state {
	case gone:
		return
	case playing:
		e.count.Players--
	case connecting, upgrading, entering:
		e.under--
	}
	_ = unix.Close(int(p.fd))
	p.state, p.partial = gone, nil
}

// fail drops a player for a reason, and counts it.
func (e *engine) fail(i int, reason error) {
	if e.players[i].state == playing {
		e.count.Lost++
	} else {
		e.count.Failed++
	}
	e.drop(i)
	e.reason = reason.Error()
}

// add makes a player of a seat, and returns its number. It is not connected.
func (e *engine) add(s Seat) int {
	r, known := e.roomOf[s.Room]
	if !known {
		r = len(e.rooms)
		e.roomOf[s.Room] = r
		e.rooms = append(e.rooms, timetable{})
	}
	e.players = append(e.players, player{mark: markOf(s.Number), room: r, seat: s})
	return len(e.players) - 1
}

// dial starts a player's connection.
func (e *engine) dial(i int) {
	p := &e.players[i]
	fd, err := socket.Connect(p.seat.Addr, socket.Source(nil, p.seat.Addr, p.seat.From), 0)
	if err != nil {
		e.fail(i, err)
		return
	}
	p.fd, p.state = int32(fd), connecting
	e.under++
	if err := e.watch(unix.EPOLL_CTL_ADD, i, unix.EPOLLOUT); err != nil {
		e.fail(i, err)
	}
}

func (e *engine) watch(op, i int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(i)} // the player's number; its descriptor is in players
	if err := unix.EpollCtl(e.epoll, op, int(e.players[i].fd), &ev); err != nil {
		return fmt.Errorf("watch a socket: %w", err)
	}
	return nil
}

// turn waits up to timeout for sockets to become ready and serves those.
func (e *engine) turn(timeout time.Duration) error {
	n, err := unix.EpollWait(e.epoll, e.events, int(timeout.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for sockets: %w", err)
	}
	for _, ev := range e.events[:n] {
		switch i, err := int(ev.Fd), e.serve(int(ev.Fd)); {
		case errors.Is(err, errElsewhere):
			e.drop(i)
			e.dial(i)
		case err != nil:
			e.fail(i, err)
		}
	}
	return nil
}

func (e *engine) serve(i int) error {
	switch e.players[i].state {
	case gone: // dropped earlier in this turn
		return nil
	case connecting:
		return e.upgrade(i)
	case upgrading, entering, playing:
	}
	return e.read(i)
}

// upgrade sends the handshake's request on a fresh connection.
func (e *engine) upgrade(i int) error {
	p := &e.players[i]
	if err := socket.Connected(int(p.fd)); err != nil {
		return fmt.Errorf("enter a room: %w", err)
	}
	e.out = socket.AppendUpgrade(e.out[:0], p.seat.Addr.String(), p.seat.Path, e.speech.protocol)
	if err := socket.Send(int(p.fd), e.out); err != nil {
		return fmt.Errorf("enter a room: %w", err)
	}
	p.state = upgrading
	return e.watch(unix.EPOLL_CTL_MOD, i, unix.EPOLLIN)
}

// read takes what the socket has and serves the whole frames in it.
func (e *engine) read(i int) error {
	p := &e.players[i]
	n, err := unix.Read(int(p.fd), e.in)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0:
		return fmt.Errorf("read: %w", io.EOF)
	}
	in := e.in[:n]
	if e.measured {
		e.count.Bytes += n
	}
	if len(p.partial) > 0 {
		in = append(p.partial, in...)
	}
	rest, err := e.consume(i, in)
	if err != nil {
		return err
	}
	p.partial = nil
	if len(rest) > 0 {
		p.partial = bytes.Clone(rest)
	}
	return nil
}

var errRefused = errors.New("handshake refused")

// consume serves all that is whole in in and returns what is left.
func (e *engine) consume(i int, in []byte) ([]byte, error) {
	if p := &e.players[i]; p.state == upgrading {
		head, rest, whole := socket.ReadHead(in)
		if !whole {
			return rest, nil
		}
		if !socket.Switched(head) {
			line, _, _ := bytes.Cut(head, []byte("\r\n"))
			return nil, fmt.Errorf("%w: %s", errRefused, line)
		}
		p.state, in = entering, rest
	}
	now := time.Now().UnixNano()
	for {
		f, n, err := socket.Parse(in)
		if err != nil || n == 0 {
			return in, err
		}
		if err := e.frame(i, f, now); err != nil {
			return nil, err
		}
		in = in[n:]
	}
}

var errClosed = errors.New("closed by the server")

func (e *engine) frame(i int, f socket.Frame, now int64) error {
	switch f.Op {
	case ws.OpText, ws.OpBinary:
		return e.message(i, e.speech.read(f.Op, f.Payload), now)
	case ws.OpPing:
		return e.send(i, ws.OpPong, f.Payload)
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(f.Payload)
		return fmt.Errorf("%w: %d %s", errClosed, code, reason)
	case ws.OpPong:
		return nil
	default:
		return socket.ErrBadFrame
	}
}

func (e *engine) message(i int, m message, now int64) error {
	p := &e.players[i]
	switch {
	case m.kind == frame && p.state == playing:
		e.told(i, m, now)
	case m.kind == invitation && p.state == entering:
		return e.enter(i)
	case m.kind == seated && p.state == entering:
		p.state = playing
		p.seat = Seat{} // it has served
		e.under--
		e.count.Players++
	case m.kind == elsewhere:
		return p.follow(m.told)
	case m.kind == ping:
		return e.send(i, ws.OpText, e.speech.answer)
	case m.kind == goodbye:
		return m.end
	case m.kind == refusal:
		e.count.Refused++
	case m.kind == noise:
	default:
		e.count.Violations++
	}
	return nil
}

// maxMoves is how often a player goes where it is told that its room is, before it
// has its seat: a machine's workers share a port, and which of them takes a
// connection is chance.
const maxMoves = 20

var (
	errMoved     = errors.New("told to go elsewhere")
	errElsewhere = errors.New("the seat is elsewhere")
)

// follow has a player's seat be where its room is. It returns errElsewhere when the
// player is to go there.
func (p *player) follow(text []byte) (err error) {
	if p.moves++; p.state != entering || p.moves > maxMoves {
		return fmt.Errorf("%w: %s", errMoved, text)
	}
	if p.seat, err = p.seat.followed(text); err != nil {
		return err
	}
	return errElsewhere
}

// enter says what a player is invited to say.
func (e *engine) enter(i int) error {
	if e.speech.greeting != nil {
		return e.send(i, ws.OpBinary, e.speech.greeting)
	}
	return e.send(i, ws.OpText, []byte(e.players[i].seat.Login))
}

// told serves a frame.
func (e *engine) told(i int, m message, now int64) {
	p := &e.players[i]
	before := p.last
	p.last = m.tick
	p.frames++
	if !e.measured {
		return
	}
	e.count.Frames++
	if before > 0 && m.tick > before+1 {
		e.count.Skipped += int(m.tick - before - 1)
	}
	if before > 0 && m.tick <= before {
		e.count.Again++
	}
	e.rooms[p.room].note(now, m.tick, e.period)
	if p.frames%echoOneIn == 0 && e.schedule != nil {
		e.hear(p, m.told, now)
	}
}

// hear looks for what the player itself has said last.
func (e *engine) hear(p *player, told []byte, now int64) {
	if own, ok := e.speech.own(told, p.mark); ok {
		lag := now - e.schedule.dueOf(p.place, own.x, now)
		_ = e.echo.RecordValue(max(1, lag/1000)) // out of range: minutes, and the lost ticks tell
	}
}

// send sends one frame.
func (e *engine) send(i int, op ws.OpCode, payload []byte) error {
	e.out = socket.AppendMasked(e.out[:0], op, e.mask, payload)
	return socket.Send(int(e.players[i].fd), e.out)
}
