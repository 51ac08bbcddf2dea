package front

import (
	"net/http"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
)

// startSuite runs what the published test suites talk to.
func startSuite(t *testing.T) *rig {
	t.Helper()
	return startSuiteWith(t, false)
}

func startSuiteWith(t *testing.T, engineIO3 bool) *rig {
	t.Helper()
	cfg := testConfig(t)
	cfg.EngineIO3 = engineIO3
	cfg.MaxMessage, cfg.ConnectTimeout = 1_000_000, time.Second
	cfg.PingInterval, cfg.PongTimeout = 300*time.Millisecond, 200*time.Millisecond
	r := &rig{t: t, reg: newRegistry()}
	var err error
	if r.Worker, err = NewEngineSuite(cfg, testLog(t), r.reg); err != nil {
		t.Fatal(err)
	}
	r.run()
	return r
}

// suiteTalks are what the published suite of Socket.IO says and wants to hear.
var suiteTalks = []struct{ say, want []string }{
	{[]string{`40{"token":"123"}`}, []string{`40{"sid":"`, `42["auth",{"token":"123"}]`}},
	{[]string{`40`}, []string{`40{"sid":"`, `42["auth",{}]`}},
	{[]string{`40/custom,{"token":"abc"}`}, []string{`40/custom,{"sid":"`, `42/custom,["auth",{"token":"abc"}]`}},
	{[]string{`40/random`}, []string{`44/random,{"message":"Invalid namespace"}`}},
	{[]string{`40`, `42["message",1,"2",{"3":[true]}]`}, []string{`40`, `42["auth"`, `42["message-back",1,"2",{"3":[true]}]`}},
	{[]string{`40`, `42456["message-with-ack",1,"2",{"3":[false]}]`}, []string{`40`, `42["auth"`, `43456[1,"2",{"3":[false]}]`}},
	{[]string{`40`, `427["message-with-ack"]`}, []string{`40`, `42["auth"`, `437[]`}},
	{[]string{`40`, `40/custom`, `41/custom`, `42["message",1]`}, []string{`40`, `42["auth"`, `40/custom,`, `42/custom,["auth",{}]`, `42["message-back",1]`}},
	{[]string{`40`, `41`}, []string{`40`, `42["auth"`, `2`}},
}

func TestSuiteOfSocketIO(t *testing.T) {
	r := startSuite(t)
	for _, talk := range suiteTalks {
		c, _ := r.engine("")
		for _, s := range talk.say {
			c.text(s)
		}
		for _, s := range talk.want {
			c.want(s)
		}
	}
	c, _ := r.engine("")
	c.text(`40`)
	c.text(`452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	c.write(gws.MaskFrame(gws.NewBinaryFrame([]byte{1, 2, 3})))
	c.write(gws.MaskFrame(gws.NewBinaryFrame([]byte{4, 5, 6})))
	c.want(`40`)
	c.want(`42["auth"`)
	c.want(`462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	for _, want := range []string{"\x01\x02\x03", "\x04\x05\x06"} {
		if f := c.next(); f.Header.OpCode != gws.OpBinary || string(f.Payload) != want {
			t.Errorf("%v %q", f.Header.OpCode, f.Payload)
		}
	}
	for _, breach := range [][]string{{`4abc`}, {`40`, `4abc`}, {`40`, `42{}`}, {`40`, `42abc["message-with-ack"]`}, {`42["message"]`}, {`1`}, {}} {
		c, _ := r.engine("")
		for _, s := range breach {
			c.text(s)
		}
		if code, _ := c.closed(); code == 0 {
			t.Errorf("%q", breach)
		}
	}
}

func TestSuiteOfEngineIO(t *testing.T) {
	r := startSuite(t)
	p := &polling{t: t, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}, base: "http://" + r.addr}
	t.Cleanup(p.http.CloseIdleConnections)
	_, open, _ := p.ask("GET", p.base+"/engine.io/?EIO=4&transport=polling", "")
	sid, _, _ := strings.Cut(open[len(`0{"sid":"`):], `"`)
	p.url = p.base + "/engine.io/?EIO=4&transport=polling&sid=" + sid
	for payload := range map[string]bool{"4hello": true, "4test1\x1e4test2\x1e4test3": true, "4hello\x1ebAQIDBA==": true} {
		p.say(payload)
		if _, got, _ := p.ask("GET", p.url, ""); got != payload && got != "2" {
			t.Errorf("%q was sent back as %q", payload, got)
		}
	}
}
