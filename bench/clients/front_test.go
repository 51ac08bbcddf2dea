package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"

	"github.com/homing/homing/hub"
)

var testSecret = []byte("0123456789abcdef0123456789abcdef")

// treatment is what a front does with a client.
type treatment int

const (
	welcome   treatment = iota
	busy                // 503 with Retry-After
	broken              // 500
	cut                 // reset before the reply
	restart             // closed with 1012 after the upgrade
	elsewhere           // told to reconnect in place of hello
	brief               // hello, and then a reset
)

// fakeFront is a tiny front: it registers each client under its token's user.
type fakeFront struct {
	dialect Dialect
	treat   func(user string, visit int) treatment // nil: welcome
	ln      net.Listener
	wg      sync.WaitGroup

	mu     sync.Mutex
	conns  map[string]net.Conn
	visits map[string]int // handshakes by user
	pongs  int
	joins  []string // topics that clients have subscribed to, with their users
	resets int      // of registered clients
}

func startFront(t *testing.T, d Dialect, treat func(string, int) treatment) *fakeFront {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeFront{dialect: d, treat: treat, ln: ln, conns: map[string]net.Conn{}, visits: map[string]int{}}
	f.wg.Add(1)
	go f.accept()
	t.Cleanup(func() {
		ln.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

// url names no path: clients are to know the dialect's own.
func (f *fakeFront) url() string { return "ws://" + f.ln.Addr().String() }

func (f *fakeFront) accept() {
	defer f.wg.Done()
	for {
		c, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.wg.Add(1)
		go f.serve(c.(*net.TCPConn))
	}
}

func (f *fakeFront) serve(c *net.TCPConn) {
	defer f.wg.Done()
	defer c.Close()
	user, how := "", welcome
	u := ws.Upgrader{OnRequest: func(uri []byte) (err error) {
		user, err = f.admit(string(uri))
		if err == nil && user != "" {
			how = f.treatment(user)
			err = how.refuse(c)
		}
		return err
	}}
	if f.dialect == Homing {
		u.Protocol = func(p []byte) bool { return string(p) == "homing.v1" }
	}
	if _, err := u.Upgrade(c); err != nil {
		return
	}
	if !f.greet(c, user, how) {
		return
	}
	if how == brief {
		_ = c.SetLinger(0)
		return
	}
	f.read(c, user)
}

// admit checks the request; the user is empty unless the request names it.
func (f *fakeFront) admit(uri string) (user string, err error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", err
	}
	switch f.dialect {
	case SocketIO:
		if uri != "/socket.io/?EIO=4&transport=websocket" {
			return "", ws.RejectConnectionError(ws.RejectionStatus(http.StatusNotFound))
		}
	case Centrifuge:
		if uri != "/connection/websocket" {
			return "", ws.RejectConnectionError(ws.RejectionStatus(http.StatusNotFound))
		}
	default:
		user = subject(u.Query().Get("token"))
		if u.Path != "/ws" || user == "" {
			return "", ws.RejectConnectionError(ws.RejectionStatus(http.StatusUnauthorized))
		}
	}
	return user, nil
}

// subject is whom a token names, empty for a bad one.
func subject(token string) string {
	t, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return testSecret, nil })
	if err != nil {
		return ""
	}
	user, _ := t.Claims.GetSubject()
	return user
}

func (f *fakeFront) treatment(user string) treatment {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.visits[user]++
	if f.treat == nil {
		return welcome
	}
	return f.treat(user, f.visits[user])
}

func (how treatment) refuse(c *net.TCPConn) error {
	switch how {
	case busy:
		header := ws.HandshakeHeaderString("Retry-After: 0\r\n")
		return ws.RejectConnectionError(ws.RejectionStatus(http.StatusServiceUnavailable), ws.RejectionHeader(header))
	case broken:
		return ws.RejectConnectionError(ws.RejectionStatus(http.StatusInternalServerError))
	case cut:
		_ = c.SetLinger(0)
		c.Close()
	}
	return nil
}

// greet registers a client by the dialect's rules, and pings it; it reports
// false when the client is to go.
func (f *fakeFront) greet(c net.Conn, user string, how treatment) bool {
	switch {
	case how == restart:
		_ = ws.WriteFrame(c, ws.NewCloseFrame(ws.NewCloseFrameBody(1012, "restart")))
	case how == elsewhere:
		say(c, `{"t":"reconnect","after_ms":300}`)
		hear(c) // the client goes
	case f.dialect == SocketIO:
		say(c, `0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000}`)
		if user = subject(token(hear(c), "40")); user != "" {
			return f.register(user, c, append(frameOf(`40{"sid":"b"}`), frameOf("2")...))
		}
		say(c, `44{"message":"not authorized"}`)
	case f.dialect == Centrifuge:
		if user = subject(token(hear(c), `{"id":1,"connect":`)); user != "" {
			return f.register(user, c, frameOf(`{"id":1,"connect":{"client":"x","ping":25,"pong":true}}`+"\n"+
				`{"push":{"channel":"#x","subscribe":{}}}`+"\n{}"))
		}
		say(c, `{"id":1,"error":{"code":101,"message":"unauthorized"}}`)
	case how == brief:
		return f.register(user, c, frameOf(`{"t":"hello"}`))
	default:
		return f.register(user, c, append(frameOf(`{"t":"hello","user":"`+user+`","conn":"x","ping":1000}`),
			ws.MustCompileFrame(ws.NewPingFrame([]byte("p")))...))
	}
	return false
}

// register says hello, in one write: whoever hears it may be written to.
func (f *fakeFront) register(user string, c net.Conn, hello []byte) bool {
	f.mu.Lock()
	f.conns[user] = c
	f.mu.Unlock()
	_, err := c.Write(hello)
	return err == nil
}

func say(c net.Conn, text string) { _, _ = c.Write(frameOf(text)) }

// hear returns the next frame's payload, empty when there is none.
func hear(c net.Conn) string {
	p, _ := payload(c)
	return string(p)
}

func payload(c net.Conn) ([]byte, error) {
	h, err := ws.ReadHeader(c)
	if err != nil {
		return nil, err
	}
	p := make([]byte, min(h.Length, 4096))
	if _, err := io.ReadFull(c, p); err != nil {
		return nil, err
	}
	ws.Cipher(p, h.Mask, 0)
	return p, nil
}

// token reads the token from the JSON object after a prefix.
func token(text, prefix string) string {
	rest, ok := strings.CutPrefix(text, prefix)
	var login struct{ Token string }
	if !ok || json.NewDecoder(strings.NewReader(rest)).Decode(&login) != nil {
		return ""
	}
	return login.Token
}

// read counts answers to pings until the client goes, and how it went.
func (f *fakeFront) read(c net.Conn, user string) {
	pong := map[Dialect]string{Homing: "p", SocketIO: "3", Centrifuge: "{}"}[f.dialect]
	for {
		said, err := payload(c)
		if topic, ok := strings.CutPrefix(string(said), `{"t":"subscribe","topic":`); ok {
			f.mu.Lock()
			f.joins = append(f.joins, user+" "+topic)
			f.mu.Unlock()
			say(c, `{"t":"subscribed","topic":`+topic)
			continue
		}
		f.mu.Lock()
		if errors.Is(err, syscall.ECONNRESET) {
			f.resets++
		}
		if string(said) == pong {
			f.pongs++
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (f *fakeFront) conn(user hub.UserID) net.Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns[string(user)]
}

func (f *fakeFront) write(user hub.UserID, p []byte) {
	if c := f.conn(user); c != nil {
		_, _ = c.Write(p)
	}
}

// message is notification n as the dialect has it.
func (f *fakeFront) message(n uint32) string {
	data := AppendData(nil, time.Now().UnixNano(), n, 120)
	switch f.dialect {
	case SocketIO:
		return fmt.Sprintf(`42["notify",{"id":"x%d","type":"bench","data":%s}]`, n, data)
	case Centrifuge:
		return fmt.Sprintf(`{"push":{"channel":"#x","pub":{"data":{"id":"x%d","type":"bench","data":%s}}}}`, n, data)
	default:
		return fmt.Sprintf(`{"t":"notify","id":"x%d","data":%s}`, n, data)
	}
}

func (f *fakeFront) notify(n uint32) []byte {
	if f.dialect == Events {
		return []byte("id: x\ndata: " + f.message(n) + "\n\n")
	}
	return frameOf(f.message(n))
}

// twice is notification n two times, in one frame where the dialect has that.
func (f *fakeFront) twice(n uint32) []byte {
	if f.dialect == Centrifuge {
		return frameOf(f.message(n) + "\n" + f.message(n))
	}
	return append(f.notify(n), f.notify(n)...)
}

func frameOf(text string) []byte { return ws.MustCompileFrame(ws.NewTextFrame([]byte(text))) }
