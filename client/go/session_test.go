package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

func (p *peer) helloAndResume() {
	p.t.Helper()
	p.text(`{"t":"hello","user":"ada","conn":"c1","resume":true,"ping":30000}`)
}

func (p *peer) wantText(want string) {
	p.t.Helper()
	if f := p.read(); string(f.Payload) != want {
		p.t.Errorf("client sent %q (op %v), want %s", f.Payload, f.Header.OpCode, want)
	}
}

func (p *peer) stored(ids ...string) {
	p.t.Helper()
	for _, id := range ids {
		p.text(`{"t":"notify","id":"` + id + `","stored":true,"data":1}`)
	}
}

// follow runs a client against a scripted server until the script has ended
// the last connection with 1008, and returns what the application saw.
func follow(t *testing.T, opts Options, script func(p *peer, nth int)) (c *Client, got []string) {
	t.Helper()
	opts.URL, opts.Token = serve(t, script), StaticToken("secret")
	c = New(opts, Handler{
		Notify:  func(n Notification) { got = append(got, n.ID) },
		Resumed: func(r Resumed) { got = append(got, fmt.Sprintf("resumed:%t:%d", r.Recovered, r.Count)) },
		Other:   func(m Message) { got = append(got, "other:"+m.Kind) },
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.Run(ctx); CloseCode(err) != 1008 {
		t.Fatalf("Run = %v, want close code 1008", err)
	}
	return c, got
}

func want(t *testing.T, got []string, list string) {
	t.Helper()
	if !slices.Equal(got, strings.Fields(list)) {
		t.Errorf("the application saw %q, want %q", got, strings.Fields(list))
	}
}

func TestResumeAfterEachLoss(t *testing.T) {
	c, got := follow(t, Options{After: "first"}, func(p *peer, nth int) {
		p.helloAndResume()
		switch nth {
		case 0:
			p.stored("c") // newer than what was missed
			p.wantText(`{"t":"resume","after":"first"}`)
			p.text(`{"t":"resumed","recovered":true,"count":3,"last":"c"}`)
			p.stored("a", "b", "c", "d")
			p.text(`{"t":"notify","id":"passing","data":1}`)
			p.bye(ws.StatusGoingAway, "")
		case 1:
			p.wantText(`{"t":"resume","after":"d"}`)
			p.text(`{"t":"resumed","recovered":false,"count":2,"last":"f"}`)
			p.stored("d", "f", "e")
			p.bye(ws.StatusGoingAway, "")
		default:
			p.wantText(`{"t":"resume","after":"e"}`)
			p.text(`{"t":"resumed","recovered":true,"count":0,"last":""}`)
			p.bye(ws.StatusPolicyViolation, "")
		}
	})
	want(t, got, "resumed:true:3 a b c d passing resumed:false:2 f e resumed:true:0")
	if c.Position() != "" {
		t.Errorf("position %q, want none: the server knows of nothing", c.Position())
	}
}

func TestAReplayThatBreaksOffIsAskedForAgain(t *testing.T) {
	c, got := follow(t, Options{}, func(p *peer, nth int) {
		p.helloAndResume()
		p.wantText(`{"t":"resume","after":""}`)
		p.text(`{"t":"resumed","recovered":true,"count":3,"last":"c"}`)
		if nth == 0 {
			p.stored("a", "b")
			p.bye(ws.StatusGoingAway, "")
			return
		}
		p.stored("a", "b", "c")
		p.bye(ws.StatusPolicyViolation, "")
	})
	want(t, got, "resumed:true:3 a b resumed:true:3 c")
	if c.Position() != "c" {
		t.Errorf("position %q, want c", c.Position())
	}
}

func TestAnInboxThatCannotBeReadNowIsAskedAgain(t *testing.T) {
	for _, code := range []string{"unavailable", "rate_limited"} {
		t.Run(code, func(t *testing.T) { testAskedAgain(t, code) })
	}
}

func testAskedAgain(t *testing.T, code string) {
	t.Helper()
	c, got := follow(t, Options{After: "x"}, func(p *peer, _ int) {
		p.helloAndResume()
		p.wantText(`{"t":"resume","after":"x"}`)
		p.stored("live1")
		p.text(`{"t":"error","of":"resume","code":"` + code + `"}`)
		p.stored("live2")
		p.wantText(`{"t":"resume","after":"x"}`) // not live2: what was missed came before it
		p.text(`{"t":"error","of":"resume","code":"unavailable"}`)
		p.wantText(`{"t":"resume","after":"x"}`)
		p.text(`{"t":"resumed","recovered":true,"count":3,"last":"live2"}`)
		p.stored("missed", "live1", "live2", "live3")
		p.bye(ws.StatusPolicyViolation, "")
	})
	want(t, got, "live1 live2 resumed:true:3 missed live3")
	if c.Position() != "live3" {
		t.Errorf("position %q, want live3", c.Position())
	}
}

// wantAcks reads acknowledgements until as many ids have come, in whatever
// pieces the time between them makes.
func (p *peer) wantAcks(ids ...string) {
	p.t.Helper()
	var got []string
	for len(got) < len(ids) {
		var m struct {
			T   string
			IDs []string
		}
		if err := json.Unmarshal(p.read().Payload, &m); err != nil || m.T != "ack" || len(m.IDs) == 0 {
			p.t.Errorf("no acknowledgement: %+v, %v", m, err)
			return
		}
		got = append(got, m.IDs...)
	}
	if !slices.Equal(got, ids) {
		p.t.Errorf("client acknowledged %q, want %q", got, ids)
	}
}

func TestAcknowledgementsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		sent := make(chan int64, 10)
		go func() {
			for {
				h, err := ws.ReadHeader(there)
				if err != nil {
					return
				}
				_, _ = io.CopyN(io.Discard, there, h.Length)
				sent <- h.Length
			}
		}()
		conn := &Conn{socket: &socket{Conn: here}, stream: here, timeout: time.Second}
		a := acks{conn: conn}
		for range ackBatch + 3 {
			a.add("x")
		}
		synctest.Wait()
		if len(sent) != 1 {
			t.Errorf("%d messages for %d acknowledgements, want 1 at once", len(sent), ackBatch+3)
		}
		time.Sleep(ackDelay)
		synctest.Wait()
		if len(sent) != 2 {
			t.Errorf("%d messages after %v, want 2", len(sent), ackDelay)
		}
		a.stop()
		_ = conn.Abort()
		there.Close()
	})
}

func TestAcknowledgesAfterTheCallback(t *testing.T) {
	must := func(p *peer, id string) {
		p.text(`{"t":"notify","id":"` + id + `","stored":true,"ack":true,"data":1}`)
	}
	_, got := follow(t, Options{}, func(p *peer, _ int) {
		p.helloAndResume()
		p.wantText(`{"t":"resume","after":""}`)
		p.text(`{"t":"resumed","recovered":true,"count":0,"last":""}`)
		must(p, "a")
		p.stored("b")
		must(p, "a") // the first acknowledgement may have been lost
		must(p, "c")
		p.wantAcks("a", "a", "c")
		p.text(`{"t":"error","of":"ack","code":"unavailable"}`)
		var ids []string
		for i := range ackBatch {
			ids = append(ids, fmt.Sprint("m", i))
			must(p, ids[i])
		}
		p.wantAcks(ids...)
		p.bye(ws.StatusPolicyViolation, "")
	})
	if len(got) != 4+ackBatch || got[3] != "c" {
		t.Errorf("the application saw %d: %q", len(got), got)
	}
}

func TestAServerThatDoesNotAnswerResumeIsLeft(t *testing.T) {
	url := serve(t, func(p *peer, _ int) {
		p.helloAndResume()
		for i := range asideLimit + 1 {
			if ws.WriteFrame(p.conn, ws.NewTextFrame(fmt.Appendf(nil, `{"t":"notify","id":"%d","data":1}`, i))) != nil {
				return
			}
		}
		p.read()
		p.read()
	})
	ctx, cancel := context.WithCancel(t.Context())
	var down error
	c := New(Options{URL: url}, Handler{Down: func(err error, _ time.Duration) { down = err; cancel() }})
	_ = c.Run(ctx)
	if down != errTooMuchAside { //nolint:errorlint // returned as it is
		t.Errorf("left with %v, want errTooMuchAside", down)
	}
}

// TestLaterServer has a server say what a later one might, under names that are known
// here with other fields: the application is given it, and nothing ends.
func TestLaterServer(t *testing.T) {
	strange := []string{
		`{"t":"presence","user":{"id":"bob"}}`, `{"t":"friends","online":{"bob":[]}}`, `{"t":"subscribed","topic":7}`,
		`{"t":"unsubscribed","topic":["a"]}`, `{"t":"published","id":1}`, `{"t":"poll","code":17}`,
	}
	var friends Friends
	url := serve(t, func(p *peer, _ int) {
		p.hello()
		p.text(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
		for _, m := range strange {
			p.text(m)
		}
		p.text(`{"t":"notify","id":"after","data":1}`)
		p.text(`{"t":"presence","user":"cleo","online":true,"services":[]}`)
		p.bye(1008, "")
	})
	var got []string
	c := New(Options{URL: url, Token: StaticToken("x")}, Handler{
		Other:   func(m Message) { got = append(got, string(m.Raw)) },
		Notify:  func(n Notification) { got = append(got, n.ID) },
		Friends: func(f Friends) { friends = f },
	})
	if err := c.Run(t.Context()); CloseCode(err) != 1008 {
		t.Fatalf("Run = %v, want close code 1008", err)
	}
	if all := append(strange, "after"); !slices.Equal(got, all) {
		t.Errorf("the application was given %q, want %q", got, all)
	}
	if len(friends) != 2 {
		t.Errorf("friends %v, want ann, who was there before, and cleo", friends)
	}
}
