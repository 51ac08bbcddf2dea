package front

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// stream is one event stream, read as a browser reads it.
type stream struct {
	t      testing.TB
	body   *bufio.Reader
	header http.Header
	status int
	close  func()
}

// event is one event, or a comment.
type event struct {
	id, name, data, retry string
	comment               bool
}

func (r *rig) stream(query string, headers ...string) *stream {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.(*testing.T).Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr+"/events"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	s := &stream{r.t, bufio.NewReader(res.Body), res.Header, res.StatusCode, func() { cancel(); _ = res.Body.Close() }}
	r.t.Cleanup(s.close)
	return s
}

// next reads up to the next event or comment; false: the stream has ended.
func (s *stream) next() (e event, ok bool) {
	s.t.Helper()
	for {
		line, err := s.body.ReadString('\n')
		switch line = strings.TrimSuffix(line, "\n"); {
		case err != nil:
			return e, false
		case line == "" && e != (event{}):
			return e, true
		case line == ":":
			e.comment = true
		}
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "retry":
			e.retry = value
		}
	}
}

// want reads the next event and compares its type, id and data.
func (s *stream) want(name, id, data string) event {
	s.t.Helper()
	e, ok := s.next()
	if !ok || e.name != name || e.id != id || data != "" && e.data != data {
		s.t.Fatalf("read %+v, %v; want %q with id %q and %s", e, ok, name, id, data)
	}
	return e
}

func (s *stream) wantEnd() {
	s.t.Helper()
	if e, ok := s.next(); ok {
		s.t.Fatalf("read %+v, want the end", e)
	}
}

// listen opens a stream and reads hello.
func (r *rig) listen(token string, headers ...string) *stream {
	r.t.Helper()
	s := r.stream("?token="+token, headers...)
	if s.status != http.StatusOK {
		r.t.Fatalf("status %d", s.status)
	}
	e := s.want("hello", "", "")
	if ms, err := strconv.Atoi(e.retry); err != nil || ms < 1000 || ms > 3000 {
		r.t.Errorf("retry %q, want 1000 to 3000", e.retry)
	}
	return s
}

func TestAnEventStreamHearsNotifications(t *testing.T) {
	r := startWith(t, newFakeInbox(), nil)
	s := r.listen("ann@chess")
	if got := s.header; got.Get("Content-Type") != "text/event-stream" || got.Get("Cache-Control") != "no-store" || got.Get("X-Accel-Buffering") != "no" {
		t.Errorf("headers %v", got)
	}
	other := r.join("ann@chess")
	plain := note(`{"x":1}`, "ann", "bob")
	r.deliver(plain)
	s.want("", "", string(plain.Payload))
	r.deliver(stored("mail-1", "ann"))
	s.want("", "mail-1", "")
	if m := other.json(); m["id"] != "n1" {
		t.Errorf("the WebSocket of the same user read %v", m)
	}
	cast := note(`"all"`)
	cast.Kind, cast.Users = hub.KindBroadcast, nil
	r.deliver(cast)
	s.want("", "", string(cast.Payload))
	limited := note(`2`, "ann")
	limited.Services = []hub.Service{"poker"}
	r.deliver(limited)
	r.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann"}, Payload: []byte(`so "long"`)})
	s.want("closing", "", `{"t":"closing","code":4003,"reason":"so \"long\""}`)
	s.wantEnd()
	wait(t, "the index to forget ann", func() bool { return r.presence.of("ann") == nil })
}

func TestHelloOfAnEventStream(t *testing.T) {
	r := startWith(t, newFakeInbox(), nil)
	s := r.stream("?token=ann")
	e := s.want("hello", "", "")
	var m map[string]any
	if err := json.Unmarshal([]byte(e.data), &m); err != nil {
		t.Fatal(err)
	}
	if m["t"] != "hello" || m["user"] != "ann" || m["resume"] != true || m["ping"] != 15000.0 {
		t.Errorf("hello %v", m)
	}
}

// A client that comes back says where it stands, and hears what it has missed
// before what has arrived meanwhile.
func TestAnEventStreamResumes(t *testing.T) {
	for name, open := range map[string]func(r *rig) *stream{
		"header": func(r *rig) *stream { return r.listen("ann", "Last-Event-ID: m0") },
		"query":  func(r *rig) *stream { return r.listen("ann&lastEventId=m0") },
	} {
		t.Run(name, func(t *testing.T) {
			inbox := newFakeInbox()
			r := startWith(t, inbox, nil)
			s := open(r)
			read := inbox.next(t)
			if read.after != "m0" {
				t.Errorf("read after %q", read.after)
			}
			r.deliver(stored("m3", "ann"))
			r.deliver(stored("m1", "ann")) // is in the replay, too
			wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == 2 })
			read.finds("m1", "m2")
			s.want("resumed", "", `{"t":"resumed","recovered":true,"count":2,"last":"last"}`)
			s.want("", "m1", "")
			s.want("", "m2", "")
			s.want("", "last", "") // the place, without an event
			s.want("", "m3", "")
		})
	}
	r := startWith(t, newFakeInbox(), nil)
	s := r.listen("ann")
	r.deliver(note(`1`, "ann"))
	s.want("", "", "") // without having asked, there is no replay
}

func TestAnEventStreamIsToldWhenItCannotResume(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	s := r.listen("ann&lastEventId=")
	read := inbox.next(t)
	r.deliver(stored("m9", "ann")) // whose id would move the place past what is missing
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == 1 })
	read.answer <- fakeAnswer{err: io.ErrUnexpectedEOF}
	s.want("problem", "", `{"t":"error","of":"resume","code":"unavailable"}`)
	s.want("closing", "", `{"t":"closing","code":1013,"reason":"what was missed cannot be told now"}`)
	s.wantEnd()
}

// What is stored while the client waits for hello comes behind what it missed.
func TestAnEventStreamKeepsItsPlaceFromTheRequestOn(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	r.presence.goAway()
	s := r.stream("?token=ann", "Last-Event-ID: m0")
	wait(t, "ann", func() bool { return r.presence.of("ann") != nil })
	r.deliver(stored("m2", "ann"))
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == 1 })
	r.presence.back(nil)
	s.want("hello", "", "")
	inbox.next(t).finds("m1")
	s.want("resumed", "", "")
	s.want("", "m1", "")
	s.want("", "last", "")
	s.want("", "m2", "")
}

func TestAnEventStreamWithoutAnInboxAsksInVain(t *testing.T) {
	r := start(t, nil)
	s := r.listen("ann", "Last-Event-ID: m0")
	r.deliver(note(`1`, "ann"))
	s.want("", "", "")
}

func TestAnEventStreamOfALostWorkerEndsAtOnce(t *testing.T) {
	r := start(t, nil)
	s := r.listen("ann")
	r.standing.set(hub.StandingLost)
	e := s.want("reconnect", "", "")
	if e.data != `{"t":"reconnect","after_ms":0}` || e.retry != "" { // the window of tests is 0
		t.Errorf("%+v", e)
	}
	s.want("closing", "", "")
	s.wantEnd()
}

func TestAnEventStreamIsDrained(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainWindow, c.DrainTimeout = time.Second, 2*time.Second })
	s := r.listen("ann")
	r.Drain()
	e := s.want("reconnect", "", "")
	var m struct {
		After int `json:"after_ms"`
	}
	if err := json.Unmarshal([]byte(e.data), &m); err != nil || m.After >= 1000 || e.retry != "" {
		t.Errorf("%+v, %v: the stream goes on until then, so there is nothing to wait for when it ends", e, err)
	}
	s.want("closing", "", `{"t":"closing","code":1012,"reason":"come back"}`)
	s.wantEnd()
}

func TestAnEventStreamThatIsNotReadIsClosed(t *testing.T) {
	r := start(t, func(c *Config) { smallOutbox(c); c.CloseTimeout = 5 * time.Second })
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	_, _ = io.WriteString(conn, "GET /events?token=ann HTTP/1.1\r\nHost: x\r\n\r\n")
	wait(t, "ann", func() bool { return r.presence.of("ann") != nil })
	for i := 0; r.dropped("slow_consumer", "must") == 0; i++ {
		if i == 10_000 {
			t.Fatal("nothing is given up")
		}
		r.deliver(classNote(hub.ClassMust, "", i, "ann"))
		time.Sleep(time.Millisecond)
	}
	wait(t, "the index to forget ann", func() bool { return r.presence.of("ann") == nil })
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	all, _ := io.ReadAll(conn)
	if !strings.HasSuffix(string(all), `"code":4008,"reason":"slow consumer"}`+"\n\n") {
		t.Errorf("the last that is read is %q", all[max(0, len(all)-100):])
	}
}

func TestCommentsKeepAnEventStreamAlive(t *testing.T) {
	t.Parallel() // the first comment comes within 15 s
	r := start(t, nil)
	s := r.listen("ann")
	if e, ok := s.next(); !ok || !e.comment {
		t.Errorf("read %+v, want a comment", e)
	}
}

func TestRequestsForEventsThatAreRefused(t *testing.T) {
	r := start(t, func(c *Config) { c.Origins = []string{"https://game.example"} })
	for _, tc := range []struct {
		request string
		status  int
		want    string
	}{
		{"POST /events?token=ann HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, "Allow: GET, OPTIONS"},
		{"HEAD /events?token=ann HTTP/1.1\r\nHost: x\r\n\r\n", 405, "Allow: GET, OPTIONS"},
		{"GET /events HTTP/1.1\r\nHost: x\r\n\r\n", 401, "token_missing"},
		{"GET /events?token=ann&lastEventId=" + strings.Repeat("x", 65) + " HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"},
		{"GET /events?token=bad HTTP/1.1\r\nHost: x\r\n\r\n", 401, "token_bad_signature"},
		{"GET /events?token=ann HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n\r\n", 403, "origin_not_allowed"},
		{"OPTIONS /events HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n\r\n", 403, "origin_not_allowed"},
		{"OPTIONS /events HTTP/1.1\r\nHost: x\r\nOrigin: https://game.example\r\n\r\n", 204, "Access-Control-Allow-Headers: Authorization, Last-Event-ID"},
		{"GET /events?token=bad HTTP/1.1\r\nHost: x\r\nOrigin: https://game.example\r\n\r\n", 401, "Access-Control-Expose-Headers: Retry-After, Date"},
		{"GET /events?token=bad HTTP/1.1\r\nHost: x\r\nOrigin: https://game.example\r\n\r\n", 401, "Access-Control-Allow-Origin: https://game.example"},
		{"GET /events?token=ann HTTP/1.0\r\nOrigin: https://game.example\r\n\r\n", 200, "Access-Control-Allow-Origin: https://game.example"},
		{"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: bearer  ann\r\n\r\n", 200, "text/event-stream"},
	} {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, tc.request)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		var got strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(got.String(), tc.want) {
			n, err := conn.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				break
			}
		}
		_ = conn.Close()
		if !strings.HasPrefix(got.String(), fmt.Sprintf("HTTP/1.1 %d ", tc.status)) || !strings.Contains(got.String(), tc.want) {
			t.Errorf("%q: %q, want %d and %q", tc.request, got.String(), tc.status, tc.want)
		}
	}
}

func TestEventsMayBeSwitchedOff(t *testing.T) {
	r := start(t, func(c *Config) { c.Events = false })
	if s := r.stream("?token=ann"); s.status != http.StatusNotFound {
		t.Errorf("status %d, want 404", s.status)
	}
}

// What a client sends on its stream is charged and passed over.
func TestAnEventStreamDoesNotListen(t *testing.T) {
	r := start(t, few)
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, "GET /events?token=ann HTTP/1.1\r\nHost: x\r\n\r\nGET /events HTTP/1.1\r\n\r\n")
	wait(t, "ann", func() bool { return r.presence.of("ann") != nil })
	_, _ = conn.Write(make([]byte, 25_000))
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	all, _ := io.ReadAll(conn)
	if !strings.Contains(string(all), `"code":1008,"reason":"too many bytes"`) {
		t.Errorf("read %q", all)
	}
}

func TestCurlReadsEvents(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal("no curl: tools/setup installs it")
	}
	r := start(t, nil)
	cmd := exec.CommandContext(t.Context(), curl, "-sN", "--max-time", "10", "-H", "Authorization: Bearer ann", "http://"+r.addr+"/events")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	s := &stream{t: t, body: bufio.NewReader(out)}
	s.want("hello", "", "")
	e := note(`1`, "ann")
	r.deliver(e)
	s.want("", "", string(e.Payload))
	r.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann"}, Payload: []byte("bye")})
	s.want("closing", "", "")
	s.wantEnd()
}
