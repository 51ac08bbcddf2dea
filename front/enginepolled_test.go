package front

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
)

// polling is a session of a client that polls, of somebody else's code.
type polling struct {
	t    testing.TB
	http *http.Client
	base string
	url  string // with the sid
	sid  string
	from string // what a proxy says of it; empty: there is none

	owner *rig // of the session
}

const pollQuery = "/socket.io/?EIO=4&transport=polling"

// ask sends one request.
func (p *polling) ask(method, url, body string, headers ...string) (status int, answer string, header http.Header) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if p.from != "" {
		req.Header.Set("X-Forwarded-For", p.from)
	}
	res, err := p.http.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

// poll begins a session.
func (r *rig) poll() *polling { return r.pollFrom("") }

// pollFrom begins a session as a proxy does, for a client of another address; empty: as
// a client.
func (r *rig) pollFrom(address string) *polling {
	r.t.Helper()
	p := &polling{t: r.t, owner: r, from: address, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}, base: "http://" + r.addr}
	r.t.Cleanup(p.http.CloseIdleConnections)
	status, body, _ := p.ask("GET", p.base+pollQuery, "")
	var open map[string]any
	if status != 200 || !strings.HasPrefix(body, "0") || json.Unmarshal([]byte(body[1:]), &open) != nil {
		r.t.Fatalf("%d %s", status, body)
	}
	if fmt.Sprint(open["upgrades"]) != "[websocket]" {
		r.t.Errorf("%v", open)
	}
	p.sid = open["sid"].(string)
	p.url = p.base + pollQuery + "&sid=" + p.sid
	return p
}

// want reads payloads until one has been read that ends so.
func (p *polling) want(end string) (all string) {
	p.t.Helper()
	for range 20 {
		status, body, _ := p.ask("GET", p.url, "")
		if status != 200 {
			p.t.Fatalf("%d %s, want …%s", status, body, end)
		}
		if all += body; strings.HasSuffix(body, end) {
			return all
		}
	}
	p.t.Fatalf("%q, want …%s", all, end)
	return ""
}

func (p *polling) say(packets string) {
	p.t.Helper()
	if status, body, _ := p.ask("POST", p.url, packets); status != 200 || body != "ok" {
		p.t.Fatalf("POST %s: %d %s", packets, status, body)
	}
}

func (p *polling) refused(method, body string, status int, want string) {
	p.t.Helper()
	if got, answer, _ := p.ask(method, p.url, body); got != status || !strings.Contains(answer, want) {
		p.t.Errorf("%s %.20q: %d %s, want %d %s", method, body, got, answer, status, want)
	}
}

// pollAs begins a session of a user and reads hello.
func (r *rig) pollAs(token string) *polling {
	r.t.Helper()
	p := r.poll()
	p.say(`40{"token":"` + token + `"}`)
	p.want("25000}]")
	return p
}

// begin sends a GET.
func (p *polling) begin() <-chan string {
	p.t.Helper()
	answer, sent := make(chan string, 1), make(chan struct{})
	ctx := httptrace.WithClientTrace(p.t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) }})
	go func() {
		req, _ := http.NewRequestWithContext(ctx, "GET", p.url, nil)
		res, err := p.http.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answer <- fmt.Sprint(res.StatusCode, " ", string(b))
	}()
	<-sent
	return answer
}

// held is a GET that waits at the session's owner, unless it is answered already.
func (p *polling) held() <-chan string {
	p.t.Helper()
	answer := p.begin()
	wait(p.t, "the GET to wait", func() bool {
		waits := make(chan bool)
		p.owner.Post(func() {
			session := p.owner.turns.engines.polls.byID[p.sid]
			waits <- session == nil || session.State.extra.polled.get != nil
		})
		return <-waits || len(answer) > 0
	})
	return answer
}

const unknown = `{"code":1,"message":"Session ID unknown"}`

func TestPolling(t *testing.T) {
	r := start(t, nil)
	p := r.poll()
	p.say(`40{"token":"ann@chess"}`)
	all := p.want("25000}]")
	if !strings.HasPrefix(all, `40{"sid":"process-abc.`) || !strings.Contains(all, "\x1e42[\"hello\",") || strings.HasSuffix(all, "\x1e") {
		t.Errorf("%q", all)
	}
	get := p.held()
	r.deliver(note(`1`, "ann"))
	if got := <-get; got != `200 42["notify",{"t":"notify","id":"n1","data":1}]` {
		t.Error(got)
	}
	r.deliver(note(`2`, "ann"))
	r.deliver(note(`3`, "ann"))
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == 3 })
	if got, want := p.want("3}]"), "42[\"notify\",{\"t\":\"notify\",\"id\":\"n1\",\"data\":2}]\x1e42[\"notify\",{\"t\":\"notify\",\"id\":\"n1\",\"data\":3}]"; got != want {
		t.Errorf("%q", got)
	}
	p.say("427[\"ping\"]\x1e428[\"ping\"]")
	p.want("437[{\"t\":\"ok\"}]\x1e438[{\"t\":\"ok\"}]")
	p.say("451-9[\"say\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID")
	p.want(`439[{"t":"error","of":"say","code":"no_room"}]`)
	_, _, header := p.ask("POST", p.url, "3")
	if header.Get("Content-Type") != "text/html" {
		t.Errorf("%v", header)
	}
	get = p.held()
	p.say("1")
	if got := <-get; got != "200 6" {
		t.Error(got)
	}
	p.refused("GET", "", 400, unknown)
	wait(t, "the user to leave", func() bool { return r.presence.count() == 0 })
	wait(t, "the session to be forgotten", func() bool { return r.metric("homing_front_polled_sessions") == 0 })
}

func TestPollingGoesByRules(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxMessage = 1000 })
	for name, breach := range map[string]func(p *polling){
		"no packet":  func(p *polling) { p.refused("POST", "abc", 400, "") },
		"no payload": func(p *polling) { p.refused("POST", "", 400, "") },
		"a ping":     func(p *polling) { p.refused("POST", "2", 400, "") },
		"twice":      func(p *polling) { p.refused("POST", `40{"token":"ann"}`, 400, "") },
		"octets": func(p *polling) {
			if status, _, _ := p.ask("POST", p.url, "3", "Content-Type", "application/octet-stream"); status != 400 {
				t.Errorf("status %d", status)
			}
		},
		"two GETs": func(p *polling) {
			first := p.held()
			p.refused("GET", "", 400, "Bad request")
			if got := <-first; got != "200 1" {
				t.Error(got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := r.pollAs("ann")
			breach(p)
			p.refused("GET", "", 400, unknown)
			wait(t, "the user to leave", func() bool { return r.presence.count() == 0 })
		})
	}
	p := r.pollAs("ann")
	p.refused("POST", "4"+strings.Repeat("x", 1000), 413, "")
	p.refused("PUT", "", 400, `{"code":3`)
	p.say("3") // the session goes on
	p.url = p.base + pollQuery + "&sid=process-abcAAAAAAAAAAAAAAAAAAAAAA"
	p.refused("GET", "", 400, unknown)
	p.refused("POST", "3", 400, unknown)
	p.url = p.base + pollQuery
	p.refused("POST", "3", 400, `{"code":2,"message":"Bad handshake method"}`)
	p.url = p.base + "/socket.io/?EIO=3&transport=polling"
	p.refused("GET", "", 400, `{"code":5,"message":"Unsupported protocol version"}`)
}

// TestBodiesWhereThereAreNone has what looks like a second request be the body of the
// first, as a proxy takes it.
func TestBodiesWhereThereAreNone(t *testing.T) {
	r := start(t, nil)
	p := r.pollAs("ann")
	p.say(`421["ping"]`) // so that there is something to read
	hidden := fmt.Sprintf("GET %s&sid=%s HTTP/1.1\r\nHost: x\r\n\r\n", pollQuery, p.sid)
	for _, header := range []string{fmt.Sprintf("Content-Length: %d", len(hidden)), "Transfer-Encoding: chunked"} {
		conn := r.dialFrom("127.0.0.1")
		body := hidden
		if header[0] == 'T' {
			body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", pollQuery, header, body)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		got, _ := io.ReadAll(conn)
		if n := bytes.Count(got, []byte("HTTP/1.1 ")); n != 1 || !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) {
			t.Errorf("%s: %s", header, got)
		}
	}
	p.want(`431[{"t":"ok"}]`)
}

// TestASlowPollerIsBounded has what waits for one that does not poll be bounded by
// bytes, and its client be told why it is closed.
func TestASlowPollerIsBounded(t *testing.T) {
	r := start(t, func(c *Config) { c.OutboxBytes = 100_000 })
	p := r.pollAs("ann")
	for range 20 {
		r.deliver(note(`"`+strings.Repeat("x", 10_000)+`"`, "ann"))
	}
	wait(t, "the session to be closed", func() bool { return r.metric("homing_front_closes_total", "code", "4008") == 1 })
	status, body, _ := p.ask("GET", p.url, "")
	if status != 200 || !strings.Contains(body, `["closing",{"t":"closing","code":4008,`) || len(body) > 1000 {
		t.Errorf("%d %.200s", status, body)
	}
	if n := r.metric("homing_front_dropped_messages_total", "reason", "slow_consumer"); n < 10 {
		t.Errorf("%v messages are counted as given up", n)
	}
	p.refused("GET", "", 400, unknown)
}

// TestAdmissionAtTheHandshake has clients of Socket.IO be told to come back before they
// have a session.
func TestAdmissionAtTheHandshake(t *testing.T) {
	r := start(t, func(c *Config) { c.AdmitRate = 1 })
	asking := &polling{t: t, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	for range 20 { // until all of a second happens within one
		_, _ = r.statusOn(r.dialFrom("127.0.0.1"), joining("ann"))
		status, body, header := asking.ask("GET", "http://"+r.addr+pollQuery, "")
		reply, _ := r.raw("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n" + upgradeHead + "\r\n")
		if status == 503 && header.Get("Retry-After") != "" && strings.Contains(body, "crowded") && reply.StatusCode == 503 {
			return
		}
	}
	t.Error("nobody was told to come back")
}

// TestTwoPOSTs has a second one come while the body of the first arrives.
func TestTwoPOSTs(t *testing.T) {
	r := start(t, nil)
	p := r.pollAs("ann")
	conn := r.dialFrom("127.0.0.1")
	fmt.Fprintf(conn, "POST %s&sid=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n3", pollQuery, p.sid)
	wait(t, "the first POST", func() (posting bool) {
		done := make(chan bool)
		r.Post(func() { done <- r.turns.engines.polls.byID[p.sid].State.extra.polled.posting })
		return <-done
	})
	p.refused("POST", "3", 400, "Bad request")
	p.refused("GET", "", 400, unknown)
}

func TestAnAbortedPollEndsTheSession(t *testing.T) {
	r := start(t, nil)
	p := r.pollAs("ann")
	conn := r.dialFrom("127.0.0.1")
	fmt.Fprintf(conn, "GET %s&sid=%s HTTP/1.1\r\nHost: x\r\n\r\n", pollQuery, p.sid)
	time.Sleep(20 * time.Millisecond)
	_ = conn.Close()
	wait(t, "the user to leave", func() bool { return r.presence.count() == 0 })
	p.refused("GET", "", 400, unknown)
}

// TestAConnectionCarriesSeveralSessions has requests of two come behind each other,
// before the first is answered.
func TestAConnectionCarriesSeveralSessions(t *testing.T) {
	r := start(t, nil)
	ann, bob := r.pollAs("ann"), r.pollAs("bob")
	conn := r.dialFrom("127.0.0.1")
	fmt.Fprintf(conn, "GET %s&sid=%s HTTP/1.1\r\nHost: x\r\n\r\nGET %s&sid=%s HTTP/1.1\r\nHost: x\r\n\r\n", pollQuery, ann.sid, pollQuery, bob.sid)
	time.Sleep(20 * time.Millisecond)
	r.deliver(note(`"for bob"`, "bob"))
	r.deliver(note(`"for ann"`, "ann"))
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var got []byte
	for b := make([]byte, 4096); bytes.Count(got, []byte("HTTP/1.1 200")) < 2 || !bytes.HasSuffix(got, []byte("}]")); {
		n, err := conn.Read(b)
		if got = append(got, b[:n]...); err != nil {
			t.Fatalf("%s %v", got, err)
		}
	}
	if i, j := bytes.Index(got, []byte("for ann")), bytes.Index(got, []byte("for bob")); i < 0 || j < i {
		t.Errorf("%s", got)
	}
}

func TestPollingHeartbeats(t *testing.T) {
	r := start(t, func(c *Config) { c.PingInterval, c.PongTimeout = 300*time.Millisecond, 300*time.Millisecond })
	p := r.poll()
	p.say(`40{"token":"ann"}`)
	p.want("300}]")
	for range 2 {
		p.want("2")
		p.say("3")
	}
	wait(t, "the silent user to leave", func() bool { return r.presence.count() == 0 })
	p.refused("GET", "", 400, unknown)
	if r.metric("homing_front_closes_total", "code", "4009") != 1 {
		t.Error("it is not counted")
	}
}

func TestSessionsWithoutATokenEnd(t *testing.T) {
	r := start(t, func(c *Config) { c.ConnectTimeout, c.AddressPending, c.TrustedProxies = 300*time.Millisecond, 100, nil })
	p := r.poll()
	p.want(`44{"message":"handshake_timeout","data":{"code":1008}}`)
	p.refused("GET", "", 400, unknown)
	p.url = p.base + pollQuery
	for range 300 { // those of one address close each other
		if status, _, _ := p.ask("GET", p.url, ""); status != 200 && status != 0 {
			t.Fatalf("status %d", status)
		}
	}
	if n := r.metric("homing_front_polled_sessions"); n > 101 {
		t.Errorf("%v sessions", n)
	}
	if r.metric("homing_front_turned_away_total", "reason", "address_pending") == 0 {
		t.Error("they are not counted")
	}
}

// TestLittleIsReadBeforeAToken has clients say much before they have shown one.
func TestLittleIsReadBeforeAToken(t *testing.T) {
	r := start(t, nil)
	limit := r.cfg.earlyLimit()
	p := r.poll()
	p.refused("POST", "4"+strings.Repeat("x", limit), 413, "")
	p.say(`40{"token":"ann","more":"` + strings.Repeat("x", 6000) + `"}`)
	p.want("25000}]")
	p.say(`421["ping",{"more":"` + strings.Repeat("x", limit) + `"}]`)
	p.want(`431[{"t":"ok"}]`)

	p = r.poll()
	p.refused("POST", `451-["say",{"_placeholder":true,"num":0}]`, 400, "")
	p.refused("GET", "", 400, unknown)
	c, _ := r.engine("")
	c.text(`40` + strings.Repeat(" ", limit))
	c.wantClose(1009)
	c, _ = r.engine("")
	c.text(`451-["say",{"_placeholder":true,"num":0}]`)
	c.wantClose(1002)
}

// TestAnswersThatAreNotRead has a client ask on and on over one connection, and read
// nothing.
func TestAnswersThatAreNotRead(t *testing.T) {
	r := start(t, func(c *Config) { c.SendBuffer, c.WriteTimeout = 4096, time.Second })
	p := r.pollAs("ann")
	conn := r.dialFrom("127.0.0.1")
	if err := conn.(*net.TCPConn).SetReadBuffer(2048); err != nil {
		t.Fatal(err)
	}
	big := note(`"`+strings.Repeat("x", 30000)+`"`, "ann")
	const rounds = 40
	asked := 0
	for ; asked < rounds; asked++ {
		r.deliver(big)
		if _, err := fmt.Fprintf(conn, "GET %s&sid=%s HTTP/1.1\r\nHost: x\r\n\r\n", pollQuery, p.sid); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	wait(t, "the session to end", func() bool { return r.presence.count() == 0 })
	if n := r.metric("homing_front_polls_total", "result", "answered"); n > rounds/2 {
		t.Errorf("%v answers were made for who reads none", n)
	}
}

// TestTenThousandSessionsWithoutAToken are opened, half from one address, and never
// heard of again. Who has a token gets in meanwhile and stays.
func TestTenThousandSessionsWithoutAToken(t *testing.T) {
	const sessions, pending, ofAddress = 10_000, 600, 100
	r := start(t, func(c *Config) {
		c.Pending, c.AddressPending, c.AddressRate, c.AdmitRate = pending, ofAddress, 0, 0
		c.TrustedProxies = []string{"127.0.0.0/8"}
	})
	enter := func(user string, i int) *polling { // from an address of its own
		p := r.pollFrom(fmt.Sprintf("172.16.0.%d", i))
		p.say(`40{"token":"` + user + `"}`)
		p.want("25000}]")
		return p
	}
	honest := enter("ann", 0)
	var opened, refused atomic.Int64
	next := make(chan int)
	var crowd sync.WaitGroup
	for range 8 {
		crowd.Go(func() {
			p := &polling{t: t, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}, base: "http://" + r.addr}
			defer p.http.CloseIdleConnections()
			for i := range next {
				from := "10.0.0.1"
				if i%2 == 0 {
					from = fmt.Sprintf("10.%d.%d.%d", 1+i>>14, i>>7&127, i&127)
				}
				if status, _, _ := p.ask("GET", p.base+pollQuery, "", "X-Forwarded-For", from); status == 200 {
					opened.Add(1)
				} else {
					refused.Add(1)
				}
			}
		})
	}
	var late []*polling
	for i := range sessions {
		next <- i
		if i%1000 == 999 {
			late = append(late, enter(fmt.Sprint("late-", i), 1+i/1000))
		}
	}
	close(next)
	crowd.Wait()
	if opened.Load() < sessions*9/10 {
		t.Errorf("%d were opened, %d not: the test does not do what it says", opened.Load(), refused.Load())
	}
	for _, p := range append(late, honest) {
		p.say(`421["ping"]`)
		p.want(`431[{"t":"ok"}]`)
	}
	if n := r.metric("homing_front_polled_sessions"); n > pending+float64(len(late))+1 {
		t.Errorf("%v sessions are kept", n)
	}
	if r.metric("homing_front_turned_away_total", "reason", "address_pending") == 0 || r.metric("homing_front_turned_away_total", "reason", "pending") == 0 {
		t.Error("those that were closed for others are not counted")
	}
}

func TestPollingAcrossOrigins(t *testing.T) {
	r := start(t, func(c *Config) { c.Origins = []string{"https://game.example.com"} })
	p := r.poll()
	const origin = "https://game.example.com"
	_, _, header := p.ask("GET", p.base+pollQuery, "", "Origin", origin)
	if header.Get("Access-Control-Allow-Origin") != origin || header.Get("Access-Control-Allow-Credentials") != "true" || header.Get("Vary") != "Origin" || header.Get("Cache-Control") != "no-store" || header.Get("Content-Type") != textPlain {
		t.Errorf("%v", header)
	}
	status, _, header := p.ask("OPTIONS", p.url, "", "Origin", origin, "Access-Control-Request-Method", "POST")
	if status != 204 || header.Get("Access-Control-Allow-Origin") != origin || header.Get("Access-Control-Allow-Credentials") != "true" || !strings.Contains(header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("%d %v", status, header)
	}
	if status, body, _ := p.ask("GET", p.base+pollQuery, "", "Origin", "https://evil.example.com"); status != 403 || body != `{"code":4,"message":"Forbidden"}` {
		t.Errorf("%d %s", status, body)
	}
}

func TestPollersAreDrained(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainWindow = 300 * time.Millisecond })
	p := r.pollAs("ann")
	get := p.held()
	go func() { _ = r.stop() }()
	if got := <-get; !strings.HasPrefix(got, `200 42["reconnect",{"t":"reconnect","after_ms":`) {
		t.Error(got)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// probe tries a WebSocket for the session, as far as it works.
func (r *rig) probe(p *polling) *talker {
	r.t.Helper()
	conn, br, _, err := (gws.Dialer{Timeout: 5 * time.Second}).Dial(r.t.Context(), "ws://"+r.addr+"/socket.io/?EIO=4&transport=websocket&sid="+p.sid)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &talker{newClient(r.t, conn, br)}
	c.text("2probe")
	c.want("3probe")
	return c
}

func TestUpgrade(t *testing.T) {
	r := start(t, nil)
	p := r.pollAs("ann@chess")
	get := p.held()
	c := r.probe(p)
	if got := <-get; got != "200 6" {
		t.Error(got)
	}
	for range 2 { // the client may poll again before it goes over
		p.want("6")
	}
	r.deliver(note(`1`, "ann"))
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == 1 })
	p.want(`"data":1}]`)
	r.deliver(note(`2`, "ann"))
	r.deliver(note(`3`, "ann"))
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == 3 })
	c.text("5")
	c.want(`42["notify",{"t":"notify","id":"n1","data":2}]`)
	c.want(`42["notify",{"t":"notify","id":"n1","data":3}]`)
	p.refused("GET", "", 400, `{"code":3,"message":"Bad request"}`) // it speaks over the WebSocket now
	conn, br, _, err := (gws.Dialer{Timeout: 5 * time.Second}).Dial(t.Context(), "ws://"+r.addr+"/socket.io/?EIO=4&transport=websocket&sid="+p.sid)
	if err != nil {
		t.Fatal(err)
	}
	newClient(t, conn, br).wantClose(1008)
	c.text(`421["ping"]`)
	c.want(`431[{"t":"ok"}]`)
	r.deliver(note(`4`, "ann"))
	c.want(`42["notify",{"t":"notify","id":"n1","data":4}]`)
	_ = c.Close()
	wait(t, "the user to leave", func() bool { return r.presence.count() == 0 && r.metric("homing_front_polled_sessions") == 0 })
}

// TestUpgradeInOneWrite has messages come behind the packet that ends it, the last
// in two pieces.
func TestUpgradeInOneWrite(t *testing.T) {
	r := start(t, nil)
	p := r.poll()
	c := r.probe(p)
	var all []byte
	for _, text := range []string{"5", `40{"token":"ann"}`, `421["ping"]`} {
		all = append(all, gws.MustCompileFrame(gws.MaskFrame(gws.NewTextFrame([]byte(text))))...)
	}
	_, _ = c.Conn.Write(all[:len(all)-3])
	c.want(`40{"sid":"`)
	c.want(`42["hello",`)
	_, _ = c.Conn.Write(all[len(all)-3:])
	c.want(`431[{"t":"ok"}]`)
}

func TestUpgradesThatComeToNothing(t *testing.T) {
	r := start(t, nil)
	p := r.pollAs("ann")
	for _, packet := range []string{"5", "2", "4hello", "2probe2", "x"} {
		conn, br, _, err := (gws.Dialer{Timeout: 5 * time.Second}).Dial(t.Context(), "ws://"+r.addr+"/socket.io/?EIO=4&transport=websocket&sid="+p.sid)
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, conn, br)
		c.text(packet)
		c.wantClose(1002)
		_ = conn.Close()
		wait(t, "the probe to end", func() bool {
			free := make(chan bool)
			r.Post(func() { free <- r.turns.engines.polls.byID[p.sid].State.mayProbe() })
			return <-free
		})
	}
	c := r.probe(p)
	if _, _, _, err := (gws.Dialer{Timeout: 5 * time.Second}).Dial(t.Context(), "ws://"+r.addr+"/socket.io/?EIO=4&transport=websocket&sid="+p.sid); err == nil {
		t.Error("two WebSockets were tried for one session")
	}
	_ = c.Close()
	get := p.held() // polling goes on
	time.Sleep(20 * time.Millisecond)
	r.deliver(note(`1`, "ann"))
	if got := <-get; !strings.HasSuffix(got, `"data":1}]`) {
		t.Errorf("%s", got)
	}
	c = r.probe(p)
	p.say("1")
	c.wantClose(1000)
}

// TestPollingAndPostingAtOnce has GETs and POSTs of one session go over connections
// that are kept.
func TestPollingAndPostingAtOnce(t *testing.T) {
	r := start(t, nil)
	p := r.pollAs("ann")
	const messages = 50
	read := make(chan int)
	go func() {
		n := 0
		for n < messages {
			status, body, _ := p.ask("GET", p.url, "")
			if status != 200 {
				t.Errorf("GET: %d %s", status, body)
				break
			}
			n += strings.Count(body, `{"t":"ok"}`)
		}
		read <- n
	}()
	for i := range messages {
		p.say(fmt.Sprintf(`42%d["ping"]`, i))
		time.Sleep(5 * time.Millisecond) // as often as it may
	}
	if n := <-read; n != messages {
		t.Errorf("%d answers of %d", n, messages)
	}
}
