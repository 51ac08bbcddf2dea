package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/hub"
)

// polling carries packets by requests, which go to any of the fronts, each over any
// connection.
type polling struct {
	bridges *Bridges
	front   string
	sid     string

	unread []byte // of the last payload; owned by receive

	post   sync.Mutex      // one at a time
	life   context.Context // of its requests
	end    context.CancelFunc
	mu     sync.Mutex
	asking bool // a GET is under way
}

// open begins a session by polling, which is cut when ctx ends. The refusal of a front is *refused.
func (b *Bridges) open(ctx context.Context, addr, query string) (*polling, error) {
	p := &polling{bridges: b, front: addr}
	p.life, p.end = context.WithCancel(ctx)
	payload, err := p.do(ctx, http.MethodGet, "http://"+addr+path+"polling"+query, nil)
	if err != nil {
		return nil, err
	}
	var session struct {
		SID string `json:"sid"`
	}
	first, _, err := engineio.Next(payload)
	if err != nil || first.Type != engineio.Open || json.Unmarshal(first.Data, &session) != nil || len(session.SID) < hub.ProcessIDLen {
		return nil, fmt.Errorf("%w: a session begins with %q", errFront, payload)
	}
	p.sid = session.SID
	return p, nil
}

func (p *polling) addr() net.Addr { return Owner(p.sid[:hub.ProcessIDLen]) }

// url is where the next request goes.
func (p *polling) url() string {
	front := p.front
	if all := p.bridges.Fronts; len(all) > 0 {
		front = all[rand.IntN(len(all))]
	}
	return "http://" + front + path + "polling&sid=" + p.sid
}

func (p *polling) receive() (packet engineio.Packet, err error) {
	for p.unread == nil {
		if p.unread, err = p.get(); err != nil {
			p.end() // there is nobody to take leave of
			return packet, err
		}
	}
	packet, p.unread, err = engineio.Next(p.unread)
	if err == nil && packet.Type == engineio.Close {
		p.end()
		err = fmt.Errorf("%w: the session has ended", io.EOF)
	}
	return packet, err
}

// get asks for the next payload.
func (p *polling) get() ([]byte, error) {
	p.asks(true)
	defer p.asks(false)
	return p.do(p.life, http.MethodGet, p.url(), nil)
}

func (p *polling) asks(now bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking = now
}

func (p *polling) send(packet []byte) error { return p.sendBy(p.life, packet) }

func (p *polling) sendBy(ctx context.Context, packet []byte) error {
	p.post.Lock()
	defer p.post.Unlock()
	_, err := p.do(ctx, http.MethodPost, p.url(), packet)
	return err
}

// do sends a request and returns what it is answered with.
func (p *polling) do(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "text/plain;charset=UTF-8")
		// As browsers do, a request is sent again when the connection, which had been kept,
		// is closed before anything of the answer has come. The header is not sent.
		req.Header["Idempotency-Key"] = nil
	}
	reply, err := p.bridges.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		no := refusal(reply)
		if bytes.HasPrefix([]byte(no.why), unknownSession) {
			p.bridges.Unknown.Add(1)
		}
		return nil, no
	}
	payload, err := io.ReadAll(io.LimitReader(reply.Body, maxFrame))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return payload, nil
}

// unknownSession is what a front says of a session that is nowhere.
var unknownSession = []byte(`{"code":1,`)

// leaveTime is how long taking leave may take.
const leaveTime = 2 * time.Second

// leave tells the front that the client is gone.
func (p *polling) leave() {
	ctx, cancel := context.WithTimeout(p.life, leaveTime)
	defer cancel()
	_ = p.sendBy(ctx, []byte{byte(engineio.Close)}) // it may be gone
}

// cut ends the request under way, by which the front notices. Where there is none, it
// would not for as long as it waits for the next: it is told.
func (p *polling) cut() {
	p.mu.Lock()
	asking := p.asking
	p.mu.Unlock()
	if !asking && p.life.Err() == nil {
		p.leave()
	}
	p.end()
}
