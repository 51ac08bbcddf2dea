package clients

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/bench/socket"
)

// poll is what a client has that polls. It has one request under way at a time, on one
// connection: it says what it has to say, a pong for example, before it asks again. So
// it needs no second connection, as a browser does.
type poll struct {
	sid  string // empty: the session has not begun
	get  []byte // the request that asks for messages
	said []byte // packets to post; empty: none
	post bool   // the request under way is a POST
}

// add has p say a packet.
func (p *poll) add(packet []byte) {
	if len(p.said) > 0 {
		p.said = append(p.said, separator...)
	}
	p.said = append(p.said, packet...)
}

// at is the front that client i speaks to: for requests from afar another one than
// that which has the session.
func (e *engine) at(i int) netip.AddrPort {
	if to := e.bees[i].to; to.IsValid() {
		return to
	}
	number := e.swarm.First + i
	if p := e.bees[i].poll; e.speech.carrier == farPolls && p != nil && p.sid != "" {
		number++
	}
	return e.swarm.front(number)
}

// connected goes on after the connect of a client that polls.
func (e *engine) connected(i int) error {
	b := &e.bees[i]
	host, path := e.at(i).String(), e.swarm.Path
	switch {
	case b.poll.sid == "":
		b.state = upgrading
		e.out = appendGet(e.out[:0], path+pollingQuery, host)
		return socket.Send(int(b.fd), e.out)
	case e.speech.carrier == upgrade:
		e.out = socket.AppendUpgrade(e.out[:0], host, path+socketQuery+sessionQuery+b.poll.sid, "")
		b.state, b.poll = upgrading, nil
		return socket.Send(int(b.fd), e.out)
	default:
		b.state = greeting
		return e.ask(i)
	}
}

func appendGet(dst []byte, target, host string) []byte {
	return fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host)
}

// ask sends the next request of a client's session.
func (e *engine) ask(i int) error {
	p, fd := e.bees[i].poll, int(e.bees[i].fd)
	if p.get == nil {
		p.get = appendGet(nil, e.swarm.Path+pollingQuery+sessionQuery+p.sid, e.at(i).String())
	}
	if p.post = len(p.said) > 0; !p.post {
		return socket.Send(fd, p.get)
	}
	e.out = append(append(e.out[:0], "POST"...), p.get[len("GET"):len(p.get)-len("\r\n")]...)
	e.out = append(e.out, "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: "...)
	e.out = strconv.AppendInt(e.out, int64(len(p.said)), 10)
	e.out = append(append(e.out, "\r\n\r\n"...), p.said...)
	p.said = p.said[:0]
	return socket.Send(fd, e.out)
}

// replies serves the whole replies in in and returns what is left.
func (e *engine) replies(i int, in []byte) ([]byte, error) {
	now := time.Now()
	for {
		head, rest, whole := socket.ReadHead(in)
		if !whole {
			return in, nil
		}
		size, err := contentLength(head)
		if err != nil {
			return nil, err
		}
		if len(rest) < size {
			return in, nil
		}
		moved, err := e.reply(i, head, rest[:size], now)
		if err != nil || moved {
			return nil, err
		}
		in = rest[size:]
	}
}

var errNoSession = errors.New("no session in the reply")

// reply serves one, and asks again. It reports whether it does so over another
// connection.
func (e *engine) reply(i int, head, body []byte, now time.Time) (moved bool, err error) {
	if !bytes.HasPrefix(head, accepted) {
		return false, declined(head, body)
	}
	b := &e.bees[i]
	begins := b.state == upgrading
	if begins {
		b.state = greeting
		if b.poll.sid = sessionIn(body); b.poll.sid == "" {
			return false, errNoSession
		}
	}
	if !b.poll.post {
		if err := e.text(i, body, now); err != nil {
			return false, err
		}
	}
	if begins && e.speech.carrier != polls {
		return true, e.move(i)
	}
	return false, e.ask(i)
}

// move goes on over another connection: to another front, if that is asked for.
func (e *engine) move(i int) error {
	b := &e.bees[i]
	_ = unix.Close(int(b.fd))
	b.fd, b.state = noSocket, connecting
	return e.connect(i, e.at(i))
}

// sessionIn returns the id of a session that begins, empty when there is none.
func sessionIn(body []byte) string {
	_, id, _ := bytes.Cut(body, []byte(`"sid":"`))
	id, _, ok := bytes.Cut(id, []byte(`"`))
	if !ok {
		return ""
	}
	return string(id)
}

// declined is why a front does not serve a request.
func declined(head, body []byte) error {
	const longest = 200
	err := refusal(head)
	if _, told := errors.AsType[*waitError](err); told || len(body) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, body[:min(longest, len(body))])
}

var (
	endOfHeader = []byte("\r\n")
	lengthName  = []byte("content-length: ")
	errLength   = errors.New("a reply without a length, or too long")
)

// contentLength is that of the reply with this head. One without, whose body comes in
// chunks, is an error.
func contentLength(head []byte) (int, error) {
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, endOfHeader)
		if len(line) <= len(lengthName) || !bytes.EqualFold(line[:len(lengthName)], lengthName) {
			continue
		}
		if n, _ := digits(line[len(lengthName):]); n <= socket.MaxFrame {
			return int(n), nil
		}
	}
	return 0, errLength
}
