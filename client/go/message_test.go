package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestKindsThatAreNotKnownMayHoldAnything(t *testing.T) {
	for _, text := range []string{
		`{"t":"room","id":7}`,
		`{"t":"presence","user":{"id":"bob"}}`,
		`{"t":"match","count":"3"}`,
		`{"t":"poll","code":17}`,
		`{"t":"chat","type":["a"],"after_ms":"soon","stored":1,"last":null,"ping":{}}`,
		`{"t":"notifY","id":7}`,
	} {
		m, err := parseMessage([]byte(text))
		if err != nil || string(m.Raw) != text || m.Notification != nil || m.Reconnect != nil || m.Resumed != nil || m.Error != nil {
			t.Errorf("%s: %+v, %v", text, m, err)
		}
	}
}

// Fields of other kinds and fields whose names differ in case are no fields
// of a kind.
func TestFieldsThatAreNotKnownMayHoldAnything(t *testing.T) {
	for text, ok := range map[string]func(m Message) bool{
		`{"t":"notify","id":"a","ID":7,"Data":1,"data":2,"player":[],"count":"x","code":{}}`: func(m Message) bool {
			return m.Notification.ID == "a" && string(m.Notification.Data) == "2"
		},
		`{"t":"resumed","recovered":true,"count":2,"last":"x","id":7,"data":[1],"url":3}`: func(m Message) bool {
			return *m.Resumed == Resumed{Recovered: true, Count: 2, Last: "x"}
		},
		`{"t":"error","code":"unavailable","of":"resume","id":7,"count":[]}`: func(m Message) bool {
			return *m.Error == ServerError{Code: "unavailable", Of: "resume"}
		},
		`{"t":"reconnect","after_ms":1500,"id":7,"last":7}`: func(m Message) bool { return m.Reconnect.After == 1500*time.Millisecond },
		`{"t":"notify","id":"a","data":{"x":1,"x":2},"stored":null}`: func(m Message) bool {
			return string(m.Notification.Data) == `{"x":1,"x":2}` && !m.Notification.Stored
		},
	} {
		if m, err := parseMessage([]byte(text)); err != nil || !ok(m) {
			t.Errorf("%s: %+v, %v", text, m, err)
		}
	}
}

func TestOddSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "-5": 0, "-1e300": 0, "1500.5": 1500500 * time.Microsecond,
		"9000000000": 9000000 * time.Second, "1e300": longestSpan, "99999999999999999999999": longestSpan,
	} {
		m, err := parseMessage([]byte(`{"t":"reconnect","after_ms":` + text + `}`))
		if err != nil || m.Reconnect.After != want {
			t.Errorf("after_ms %s: %v, %v, want %v", text, m.Reconnect, err, want)
		}
		h, err := parseHello([]byte(`{"t":"hello","ping":` + text + `}`))
		if err != nil || h.Ping != want {
			t.Errorf("ping %s: %v, %v, want %v", text, h.Ping, err, want)
		}
	}
}

func TestMessagesThatBreakTheProtocol(t *testing.T) {
	long := strings.Repeat("x", maxID+1)
	for _, text := range []string{
		`{"t":"notify","id":7}`, `{"t":7}`, `{"T":"notify"}`, `[]`, `null`, `{"t":"a"} ` + "x", `{"t":"reconnect","after_ms":"5"}`,
		`{"t":"notify","id":"` + long + `"}`, `{"t":"resumed","last":"` + long + `"}`,
	} {
		if m, err := parseMessage([]byte(text)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %+v, %v", text, m, err)
		}
	}
}

// FuzzSession feeds messages, each in a line, to a session whose connection
// takes whatever it is told.
func FuzzSession(f *testing.F) {
	f.Add([]byte(`{"t":"notify","id":"a","stored":true,"ack":true,"data":1}
{"t":"resumed","recovered":true,"count":1,"last":"a"}
{"t":"notify","id":"a","stored":true,"ack":true,"data":1}
{"t":"notify","id":"b","stored":true,"data":1}
{"t":"reconnect","after_ms":1,"to":"x:1"}`), "", true)
	f.Add([]byte(`{"t":"error","of":"resume","code":"unavailable"}
{"t":"error","of":"resume","code":"unavailable"}
{"t":"resumed","count":-1}
{"t":"resumed","count":99999999999}`), "x", true)
	f.Fuzz(func(t *testing.T, script []byte, after string, resume bool) {
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); _, _ = io.Copy(io.Discard, there) }()
		conn := &Conn{socket: &socket{Conn: here}, stream: here, timeout: time.Second, hello: Hello{Resume: resume}}
		given := map[string]bool{}
		c := New(Options{After: after}, Handler{Notify: func(n Notification) {
			if n.ID != "" && given[n.ID] && len(given) < seenLimit {
				t.Errorf("%q was given twice", n.ID)
			}
			given[n.ID] = true
		}})
		s := newSession(c, conn)
		s.begin()
		for line := range bytes.Lines(script) {
			m, err := parseMessage(bytes.TrimSpace(line))
			if err != nil {
				break
			}
			if s.take(m) != nil {
				break
			}
			if len(s.aside) > asideLimit || s.asideBytes > asideMost || len(c.seen.ids) > seenLimit || s.replay < 0 {
				t.Fatalf("%d aside of %d bytes, %d seen, replay %d", len(s.aside), s.asideBytes, len(c.seen.ids), s.replay)
			}
		}
		s.end()
		_ = conn.Abort()
		there.Close()
		<-done
	})
}

// FuzzStream feeds a whole connection, from hello on, to a Client.
func FuzzStream(f *testing.F) {
	frame := func(text string) string {
		b, _ := ws.CompileFrame(ws.NewTextFrame([]byte(text)))
		return string(b)
	}
	f.Add([]byte(frame(`{"t":"hello","resume":true,"ping":1}`) + frame(`{"t":"resumed","count":0}`) + frame(`{"t":"notify","id":"a","ack":true}`) + "\x89\x00\x88\x02\x03\xe8"))
	f.Add([]byte("\x01\x01{\x89\x00\x80\x01}"))
	f.Fuzz(func(t *testing.T, bytesOfServer []byte) {
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); _, _ = io.Copy(io.Discard, there) }()
		conn := &Conn{socket: &socket{Conn: here}, stream: here, timeout: time.Second}
		conn.frames = frames{in: bufio.NewReader(bytes.NewReader(bytesOfServer)), limit: 4096, onControl: conn.control}
		opts := Options{QueueMessages: 1, QueueBytes: 64, CloseTimeout: -1}
		if conn.readHello(context.Background(), 0) == nil {
			in := readAhead(context.Background(), conn, &opts)
			s := newSession(New(opts, Handler{}), conn)
			s.begin()
			for {
				m, err := in.next(context.Background())
				if err != nil || s.take(m) != nil {
					break
				}
				in.done(m)
			}
			leave(in, s, opts.closeTimeout(), nil)
		}
		_ = conn.Abort()
		there.Close()
		<-done
	})
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte("\x81\x0d{\"t\":\"hello\"}"))
	f.Add([]byte("\x88\x02\x03\xe8"))
	f.Add([]byte("\x01\x01{\x89\x00\x80\x01}"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		fr := frames{
			in:        bufio.NewReader(strings.NewReader(string(stream))),
			limit:     4096,
			onControl: func(ws.OpCode, []byte) {},
		}
		for {
			text, err := fr.next()
			if err != nil {
				return
			}
			if len(text) > 4096 {
				t.Fatalf("message of %d bytes", len(text))
			}
			_, _ = parseMessage(text)
		}
	})
}
