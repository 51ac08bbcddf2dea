package front

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
)

func startThree(t *testing.T) *rig {
	t.Helper()
	return startWith(t, newFakeInbox(), func(c *Config) { c.EngineIO3 = true })
}

// talk3 connects as a client of Socket.IO 2 and reads what comes before its CONNECT.
func (r *rig) talk3(query string) *talker {
	r.t.Helper()
	conn, br, _, err := (gws.Dialer{Timeout: 5 * time.Second}).Dial(r.t.Context(), "ws://"+r.addr+"/socket.io/?transport=websocket"+query)
	if err != nil {
		r.t.Fatalf("dial %s: %v", query, err)
	}
	c := &talker{newClient(r.t, conn, br)}
	c.want(`0{"sid":"`)
	return c
}

func TestSocketIO2(t *testing.T) {
	r := startThree(t)
	for _, version := range []string{"&EIO=3", ""} { // old clients do not say which
		c := r.talk3(version + "&token=ann")
		if rest := c.want("40"); rest != "" {
			t.Errorf("%s", rest)
		}
		if rest := c.want(`42["hello",{"t":"hello","user":"ann",`); strings.HasSuffix(rest, `,""]`) {
			t.Errorf("%s", rest)
		}
		r.deliver(note(`{"gift":"sword"}`, "ann"))
		c.want(`42["notify",{"t":"notify","id":"n1","data":{"gift":"sword"}}]`)
		for say, want := range map[string]string{
			"2": "3", `427["ping"]`: `437[{"t":"ok"}]`, `40/chat?a=b`: `44/chat,{"message":"Invalid namespace"}`,
		} {
			c.text(say)
			if rest := c.want(want); rest != "" {
				t.Errorf("%s: %s", say, rest)
			}
		}
		c.text("1")
		c.wantClose(1000)
	}
	c := r.talk3("&EIO=3&token=ann")
	c.want("40")
	c.want(`42["hello"`)
	c.text("3") // is for the other side to say
	c.closed()
	if _, body, _ := (&polling{t: t, http: http.DefaultClient}).ask("GET", "http://"+r.addr+"/socket.io/?EIO=2&transport=polling", ""); !strings.Contains(body, `"code":5`) {
		t.Errorf("version 2: %s", body)
	}
}

func TestSocketIO2IsRefused(t *testing.T) {
	r := startThree(t)
	c := r.talk3("&EIO=3&token=expired")
	if rest := c.want(`44{"message":"`); !strings.HasSuffix(rest, `"data":{"code":"token_expired"}}`) {
		t.Errorf("%s", rest)
	}
	c.want("41") // so that it does not come back by itself
	c.closed()
	if _, body, _ := (&polling{t: t, http: http.DefaultClient}).ask("GET", "http://"+start(t, nil).addr+"/socket.io/?EIO=3&transport=polling&token=ann", ""); !strings.Contains(body, `"code":5`) {
		t.Errorf("switched off: %s", body)
	}
}

// poll3 begins a session that is polled.
func (r *rig) poll3(query string) *polling {
	r.t.Helper()
	p := &polling{t: r.t, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}, base: "http://" + r.addr, owner: r}
	r.t.Cleanup(p.http.CloseIdleConnections)
	const path = "/socket.io/?EIO=3&transport=polling"
	_, body, _ := p.ask("GET", p.base+path+query, "")
	var open struct{ SID string }
	if _, packet, ok := strings.Cut(body, ":0"); !ok || json.Unmarshal([]byte(packet), &open) != nil {
		r.t.Fatalf("%s", body)
	}
	p.sid = open.SID
	p.url = p.base + path + "&sid=" + p.sid
	return p
}

func TestSocketIO2IsPolled(t *testing.T) {
	r := startThree(t)
	p := r.poll3("&token=ann")
	all := p.want("}]")
	if !strings.HasPrefix(all, "2:40") || !strings.Contains(all, `:42["hello",`) {
		t.Errorf("%s", all)
	}
	r.deliver(note(`"€ 😀"`, "ann"))
	if got := p.want("]"); got != `51:42["notify",{"t":"notify","id":"n1","data":"€ 😀"}]` {
		t.Errorf("%s", got)
	}
	p.say(`1:211:427["ping"]`)
	p.want(`15:437[{"t":"ok"}]`)
	answer := p.held()
	p.say("1:1")
	if got := <-answer; got != "200 1:6" && got != "200 1:3" {
		t.Errorf("%s", got)
	}
	p.refused("GET", "", 400, `"code":1`)
	p = r.poll3("&token=bob")
	p.want("}]")
	p.refused("POST", "abc", 400, `"code":3`)
}

func TestSocketIO2GoesOverToAWebSocket(t *testing.T) {
	r := startThree(t)
	p := r.poll3("&token=ann")
	p.want("}]")
	conn, br, _, err := (gws.Dialer{Timeout: 5 * time.Second}).Dial(t.Context(), "ws://"+r.addr+"/socket.io/?EIO=3&transport=websocket&sid="+p.sid)
	if err != nil {
		t.Fatal(err)
	}
	c := &talker{newClient(t, conn, br)}
	c.text("2probe")
	c.want("3probe")
	if _, body, _ := p.ask("GET", p.url, ""); body != "1:6" {
		t.Errorf("%s", body)
	}
	r.deliver(note(`1`, "ann"))
	c.text("5")
	c.want(`42["notify",{"t":"notify","id":"n1","data":1}]`)
	c.text("2")
	c.want("3")
}

func TestASessionOfEngineIO3ThatFallsSilentEnds(t *testing.T) {
	r := startWith(t, nil, func(c *Config) {
		c.EngineIO3, c.PingInterval, c.PongTimeout = true, 300*time.Millisecond, 200*time.Millisecond
	})
	c := r.talk3("&EIO=3&token=ann")
	c.want("40")
	c.want(`42["hello"`)
	c.text("2")
	c.want("3")
	c.want(`42["closing",{"t":"closing","code":4009,`)
	c.closed()
	wait(t, "the user to leave", func() bool { return r.presence.count() == 0 })
}

func TestSuiteOfEngineIO3(t *testing.T) {
	r := startSuiteWith(t, true)
	p := &polling{t: t, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}, base: "http://" + r.addr}
	t.Cleanup(p.http.CloseIdleConnections)
	for b64, want := range map[string]string{
		"":       "\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04",
		"&b64=1": "6:4hello10:b4AQIDBA==",
	} {
		for _, say := range []struct{ body, contentType string }{
			{"6:4hello10:b4AQIDBA==", "text/plain"}, {"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04", "application/octet-stream"},
		} {
			_, open, _ := p.ask("GET", p.base+"/engine.io/?EIO=3&transport=polling"+b64, "")
			_, rest, _ := strings.Cut(open, `0{"sid":"`)
			sid, _, _ := strings.Cut(rest, `"`)
			url := p.base + "/engine.io/?EIO=3&transport=polling&sid=" + sid
			if status, answer, _ := p.ask("POST", url, say.body, "Content-Type", say.contentType); status != 200 {
				t.Errorf("%q: %d %s", say.body, status, answer)
			}
			_, got, header := p.ask("GET", url, "")
			if got != want || (header.Get("Content-Type") == "application/octet-stream") != (b64 == "") {
				t.Errorf("%q was sent back as %q, %s", say.body, got, header.Get("Content-Type"))
			}
		}
	}
	conn, br, _, err := (gws.Dialer{Timeout: 5 * time.Second}).Dial(t.Context(), "ws://"+r.addr+"/engine.io/?EIO=3&transport=websocket")
	if err != nil {
		t.Fatal(err)
	}
	c := &talker{newClient(t, conn, br)}
	c.want("0{")
	c.write(gws.MaskFrame(gws.NewBinaryFrame([]byte{4, 1, 2, 3})))
	if f := c.next(); f.Header.OpCode != gws.OpBinary || string(f.Payload) != "\x04\x01\x02\x03" {
		t.Errorf("%v %q", f.Header.OpCode, f.Payload)
	}
	c.text("b4AQ==")
	if f := c.next(); f.Header.OpCode != gws.OpBinary || string(f.Payload) != "\x04\x01" {
		t.Errorf("%v %q", f.Header.OpCode, f.Payload)
	}
}
