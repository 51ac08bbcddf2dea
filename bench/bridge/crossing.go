package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/front/socketio"
)

// crossing is one client's bridge.
type crossing struct {
	bridges *Bridges
	way     Way
	dial    Dial
	addr    string // of the front
	far     net.Conn
	known   func(net.Addr)

	carrier carrier
	said    chan []byte // packets of the client, to be sent
	closing *closed     // what the front has said of the end; nil: nothing
	left    bool        // the client has taken leave; owned by listen until that ends
	gone    atomic.Bool // the client has ended it, or the run has ended
}

// carrier brings packets to a front and back. One goroutine receives, others send.
type carrier interface {
	// receive blocks for the next packet. *closed is an end in form.
	receive() (engineio.Packet, error)
	// send blocks until the packet, which is text, is sent or taken.
	send(packet []byte) error
	// leave takes leave in form.
	leave()
	// cut ends it without a word. It may be called more than once.
	cut()
	addr() net.Addr
}

// closed is the end of a session that the front has given a reason for.
type closed struct {
	Code   ws.StatusCode `json:"code"`
	Reason string        `json:"reason"`
}

func (c *closed) Error() string { return fmt.Sprintf("closed by the front: %d %s", c.Code, c.Reason) }

// refused is an answer of HTTP in place of a session.
type refused struct {
	status int
	after  string // Retry-After; empty: it does not say
	kind   string // Content-Type of why
	why    string // the answer's body, or as much as people want to read
}

func refusal(reply *http.Response) *refused {
	return &refused{reply.StatusCode, reply.Header.Get("Retry-After"), reply.Header.Get("Content-Type"), brief(reply.Body)}
}

func (r *refused) Error() string { return fmt.Sprintf("refused: HTTP %d %s", r.status, r.why) }

const (
	// sayings are how many packets may wait to be sent.
	sayings = 1024
	// lastWords is how long the client has to read why its connection ends.
	lastWords = 10 * time.Second
)

var (
	errFront  = errors.New("the front does not speak Socket.IO as it should")
	errClient = errors.New("the client does not speak as it should")
	errBehind = errors.New("the front takes nothing")
)

// run is the bridge's life.
func (x *crossing) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer x.far.Close()
	stop := context.AfterFunc(ctx, func() { _ = x.far.Close() })
	defer stop()
	if err := x.greet(ctx); err != nil {
		if x.carrier != nil {
			x.carrier.cut()
		}
		return
	}
	x.said = make(chan []byte, sayings)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer cancel()
		x.hear()
	}()
	speaking := make(chan struct{})
	go func() {
		defer close(speaking)
		x.speak(ctx)
	}()
	x.listen()
	x.gone.Store(true)
	if x.left {
		x.carrier.leave()
	}
	x.carrier.cut()
	cancel()
	<-ended
	<-speaking
}

// greet answers the client's handshake with what becomes of a session at the front.
func (x *crossing) greet(ctx context.Context) error {
	var token string
	query := url.Values{}
	u := ws.Upgrader{
		OnRequest: func(uri []byte) error {
			if parsed, err := url.Parse(string(uri)); err == nil {
				query = parsed.Query()
			}
			return nil
		},
		ProtocolCustom: func(field []byte) (string, bool) {
			for offered := range strings.SplitSeq(string(field), ",") {
				if t, ok := strings.CutPrefix(strings.TrimSpace(offered), "bearer."); ok {
					token = t
				}
			}
			return client.Protocol, true
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			err := x.connect(ctx, query.Get("room"), token)
			if no, ok := errors.AsType[*refused](err); ok {
				no.answer(x.far)
			}
			if err != nil {
				_ = x.far.Close()
			}
			return nil, err
		},
	}
	_, err := u.Upgrade(x.far)
	return err
}

// answer gives a client what the front has answered: the library's own way of refusing
// has no other type of body than plain text.
func (r *refused) answer(client net.Conn) {
	reply := http.Response{
		StatusCode: r.status, ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Close: true,
		ContentLength: int64(len(r.why)), Body: io.NopCloser(strings.NewReader(r.why)),
	}
	for name, value := range map[string]string{"Retry-After": r.after, "Content-Type": r.kind} {
		if value != "" {
			reply.Header.Set(name, value)
		}
	}
	_ = client.SetWriteDeadline(time.Now().Add(lastWords)) // a pipe has deadlines
	_ = reply.Write(client)                                // it may be gone
}

// connect begins a session and shows the token.
func (x *crossing) connect(ctx context.Context, room, token string) (err error) {
	query := ""
	if room != "" {
		query = "&room=" + url.QueryEscape(room)
	}
	login, _ := json.Marshal(map[string]string{"token": token}) // a string always marshals
	login = slices.Concat([]byte{byte(engineio.Message), byte(socketio.Connect)}, login)
	if err := x.begin(ctx, query); err != nil {
		return err
	}
	err = x.carrier.send(login)
	if err == nil && x.way == Upgraded {
		err = x.goOver(ctx)
	}
	if err != nil {
		return err
	}
	x.known(x.carrier.addr())
	return x.awaitConnect()
}

// begin begins a session.
func (x *crossing) begin(ctx context.Context, query string) error {
	if x.way == Socket {
		s, err := dialSocket(ctx, x.dial, x.addr, query)
		if err != nil {
			return err
		}
		x.carrier = s
		_, err = s.receive() // what the session is
		return err
	}
	p, err := x.bridges.open(ctx, x.addr, query)
	if err != nil {
		return err
	}
	x.carrier = p
	return nil
}

// awaitConnect reads until the front has taken the token.
func (x *crossing) awaitConnect() error {
	for {
		p, err := x.receive()
		if end, ok := errors.AsType[*closed](err); ok && end.Code == ws.StatusCode(1013) {
			return &refused{status: http.StatusServiceUnavailable, why: end.Reason}
		}
		if err != nil {
			return err
		}
		switch p.Type {
		case socketio.Connect:
			return nil
		case socketio.ConnectError:
			return &refused{status: http.StatusUnauthorized, why: string(p.Data)}
		default:
			return fmt.Errorf("%w: %q before it has answered CONNECT", errFront, p.Data)
		}
	}
}

// receive returns the next packet of Socket.IO but for the last event, and answers pings
// meanwhile.
func (x *crossing) receive() (p socketio.Packet, err error) {
	for {
		packet, err := x.carrier.receive()
		if err != nil {
			if x.closing != nil {
				err = x.closing
			}
			return p, err
		}
		switch {
		case packet.Type == engineio.Ping:
			err = errors.Join(x.carrier.send([]byte{byte(engineio.Pong)}), x.ping())
		case packet.Type == engineio.Noop:
		case packet.Type != engineio.Message || packet.Binary:
			err = fmt.Errorf("%w: packet %q", errFront, packet.Type)
		default:
			p, err = socketio.Parse(packet.Data)
			if err != nil || !x.isLast(&p) {
				return p, err
			}
		}
		if err != nil {
			return p, err
		}
	}
}

// isLast notes what the last packets say of the end.
func (x *crossing) isLast(p *socketio.Packet) bool {
	const event = `["closing",`
	body, ok := bytes.CutPrefix(p.Data, []byte(event))
	if p.Type != socketio.Event || !ok {
		return p.Type == socketio.Disconnect
	}
	x.closing = new(closed)
	_ = json.Unmarshal(bytes.TrimSuffix(body, []byte("]")), x.closing) // what is not there is found missing
	return true
}

// ping shows the client, once it is there, that the front lives.
func (x *crossing) ping() error {
	if x.said == nil {
		return nil
	}
	return ws.WriteFrame(x.far, ws.NewPingFrame(nil))
}

// hear tells the client what the front says, until that ends.
func (x *crossing) hear() {
	err := error(nil)
	for err == nil {
		var p socketio.Packet
		var text []byte
		if p, err = x.receive(); err == nil {
			text, err = translate(&p)
		}
		if err == nil {
			err = ws.WriteFrame(x.far, ws.NewTextFrame(text))
		}
	}
	x.carrier.cut()
	end, ok := errors.AsType[*closed](err)
	if !ok && !x.gone.Load() {
		x.bridges.lost(x.way, x.addr, err)
	}
	if ok {
		_ = x.far.SetWriteDeadline(time.Now().Add(lastWords))                                  // a pipe has deadlines
		_ = ws.WriteFrame(x.far, ws.NewCloseFrame(ws.NewCloseFrameBody(end.Code, end.Reason))) // it may be gone
	}
	_ = x.far.Close()
}

// translate is a packet as a message of homing.v1.
func translate(p *socketio.Packet) ([]byte, error) {
	switch {
	case p.Type == socketio.Event:
		_, args, err := p.Event()
		if err != nil || len(args) == 0 {
			return nil, fmt.Errorf("%w: event %q", errFront, p.Data)
		}
		return args[0], nil
	case p.Type == socketio.Ack && len(p.Data) > len(`[{}]`):
		answer := p.Data[1 : len(p.Data)-2]
		text := strconv.AppendUint(append(bytes.Clone(answer), `,"ref":`...), p.ID, 10)
		return append(text, '}'), nil
	default:
		return nil, fmt.Errorf("%w: packet %q", errFront, p.Type)
	}
}

// listen reads what the client says until it has gone.
func (x *crossing) listen() {
	for {
		f, err := readFrame(x.far)
		if err != nil {
			return
		}
		f = ws.UnmaskFrameInPlace(f)
		switch f.Header.OpCode {
		case ws.OpClose:
			x.left = true
			return
		case ws.OpText:
			if err := x.say(f.Payload); err != nil {
				_ = x.far.Close()
				return
			}
		default: // an answer to a ping
		}
	}
}

// say has a message of homing.v1 be sent as an event. What wants an answer has the
// number of its reference for an acknowledgement.
func (x *crossing) say(text []byte) error {
	var m struct {
		T   string `json:"t"`
		Ref *int   `json:"ref"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%w: %w", errClient, err)
	}
	p := socketio.Packet{Type: socketio.Event, Data: socketio.AppendEvent(nil, m.T, text)}
	if m.Ref != nil {
		p.ID, p.HasID = uint64(*m.Ref), true
	}
	select {
	case x.said <- p.Append([]byte{byte(engineio.Message)}):
		return nil
	default:
		return errBehind
	}
}

// speak sends what the client has said.
func (x *crossing) speak(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case packet := <-x.said:
			if x.carrier.send(packet) != nil {
				x.carrier.cut() // hear finds out
				return
			}
		}
	}
}
