package front

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// pulled is an answer to GET /inbox.
type pulled struct {
	status int
	header http.Header
	text   string

	Recovered, More bool
	Next            string
	Notifications   []struct{ ID string }
	Code            string
}

func (p *pulled) ids() string {
	var all []string
	for _, n := range p.Notifications {
		all = append(all, n.ID)
	}
	return strings.Join(all, " ")
}

// pull polls the inbox; the answer comes when it does.
func (r *rig) pull(query string, headers ...string) <-chan *pulled {
	r.t.Helper()
	answer := make(chan *pulled, 1)
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr+"/inbox?"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	go func() {
		defer cancel()
		p := &pulled{}
		defer func() { answer <- p }()
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			p.text = err.Error()
			return
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err == nil {
			err = json.Unmarshal(b, p)
		}
		if p.status, p.header, p.text = res.StatusCode, res.Header, string(b); err != nil {
			p.text += err.Error()
		}
	}()
	return answer
}

// keeps answers the next read of an inbox with notifications that it holds.
func (f *fakeInbox) keeps(t *testing.T, user hub.UserID, after string, last string, ids ...string) {
	t.Helper()
	read := <-f.reads
	if read.user != user || read.after != after {
		t.Errorf("the inbox of %q is read after %q, want %q after %q", read.user, read.after, user, after)
	}
	m := hub.Missed{Recovered: true, Last: last}
	for _, id := range ids {
		e := stored(id, user)
		m.Entries = append(m.Entries, hub.Stored{ID: id, Payload: e.Payload})
	}
	read.answer <- fakeAnswer{missed: m}
}

func TestAClientPollsItsInbox(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	answer := r.pull("after=a&count=2", "Authorization", "Bearer ann@chess")
	inbox.keeps(t, "ann", "a", "e", "b", "c", "d", "e")
	p := <-answer
	if p.status != 200 || p.ids() != "b c" || !p.More || !p.Recovered || p.Next != "after=a&past=c" || p.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s", p.status, p.text)
	}
	answer = r.pull("count=2&token=ann&" + p.Next)
	inbox.keeps(t, "ann", "a", "e", "b", "c", "d", "e")
	if p = <-answer; p.ids() != "d e" || p.More || p.Next != "after=e" {
		t.Errorf("%d %s", p.status, p.text)
	}
	answer = r.pull("token=ann&" + p.Next)
	inbox.keeps(t, "ann", "e", "e")
	if p = <-answer; p.ids() != "" || p.More || p.Next != "after=e" || !strings.Contains(p.text, `"notifications":[]`) {
		t.Errorf("%d %s", p.status, p.text)
	}
	answer = r.pull("token=ann&after=e&past=gone")
	inbox.keeps(t, "ann", "e", "g", "f", "g")
	if p = <-answer; p.ids() != "f g" {
		t.Errorf("%d %s", p.status, p.text)
	}
	r.presence.mu.Lock()
	if r.presence.sets != 0 {
		t.Errorf("others were told of a client that does not wait, %d times", r.presence.sets)
	}
	r.presence.mu.Unlock()
	answer = r.pull("token=ann")
	(<-inbox.reads).answer <- fakeAnswer{err: errors.New("broken")}
	if p = <-answer; p.status != 503 || p.Code != "unavailable" || p.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", p.status, p.text)
	}
}

func TestAPageOfAnInboxIsBounded(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	answer := r.pull("token=ann")
	m := hub.Missed{Last: "c"}
	for _, id := range []string{"a", "b", "c"} {
		m.Entries = append(m.Entries, hub.Stored{ID: id, Payload: []byte(`{"id":"` + id + `","data":"` + strings.Repeat("x", pullBytes/2) + `"}`)})
	}
	(<-inbox.reads).answer <- fakeAnswer{missed: m}
	if p := <-answer; p.ids() != "a" || !p.More || p.Recovered || p.Next != "after=&past=a" {
		t.Errorf("%d %s %s", p.status, p.ids(), p.Next)
	}
}

func TestAClientWaitsForItsInbox(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	answer := r.pull("token=ann&after=a&wait=60")
	inbox.keeps(t, "ann", "a", "a", "must")
	wait(t, "the client to be found", func() bool { return r.presence.count() == 1 })
	r.deliver(stored("b", "ann"))
	inbox.keeps(t, "ann", "a", "b", "must", "b")
	if p := <-answer; p.status != 200 || p.ids() != "must b" || p.Next != "after=b" {
		t.Errorf("%d %s", p.status, p.text)
	}
	wait(t, "the client to leave", func() bool { return r.presence.count() == 0 })

	// What is not kept comes, too.
	answer = r.pull("token=ann&after=b&wait=60")
	inbox.keeps(t, "ann", "b", "b")
	wait(t, "the client to be found", func() bool { return r.presence.count() == 1 })
	r.deliver(note(`1`, "ann"))
	inbox.keeps(t, "ann", "b", "b")
	if p := <-answer; p.status != 200 || p.ids() != "n1" || p.Next != "after=b" {
		t.Errorf("%d %s", p.status, p.text)
	}

	// And when nothing comes.
	answer = r.pull("token=ann&after=b&wait=1")
	inbox.keeps(t, "ann", "b", "b")
	inbox.keeps(t, "ann", "b", "b", "again")
	if p := <-answer; p.status != 200 || p.ids() != "again" || p.Next != "after=b" {
		t.Errorf("%d %s", p.status, p.text)
	}

	// There is something: it does not wait.
	answer = r.pull("token=ann&after=b&wait=60")
	inbox.keeps(t, "ann", "b", "c", "c")
	if p := <-answer; p.ids() != "c" {
		t.Errorf("%d %s", p.status, p.text)
	}
}

func TestAClientThatWaitsIsSentAway(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	answer := r.pull("token=ann&after=a&wait=60", "Origin", "http://"+r.addr)
	inbox.keeps(t, "ann", "a", "a")
	wait(t, "the inbox to be read", func() bool { return r.metric("homing_front_resumes_total", "result", "recovered") == 1 })
	r.Drain()
	if p := <-answer; p.status != 503 || p.Code != "unavailable" || p.header.Get("Retry-After") == "" || p.header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("%d %s %v", p.status, p.text, p.header)
	}
}

func TestRequestsForAnInboxAreRefused(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.InboxRate, c.InboxBurst = 1, 2*resumeCost+200 })
	for query, want := range map[string]struct {
		status int
		code   string
	}{
		"token=expired&after=": {401, "token_expired"}, "token=ann&count=0": {400, "bad_request"}, "token=ann&count=201": {400, "bad_request"},
		"token=ann&wait=61": {400, "bad_request"}, "token=ann&wait=x": {400, "bad_request"},
		"token=ann&after=" + strings.Repeat("a", hub.MaxID+1): {400, "bad_request"},
	} {
		if p := <-r.pull(query); p.status != want.status || p.Code != want.code {
			t.Errorf("%s: %d %s", query, p.status, p.text)
		}
	}
	for range (2*resumeCost + 200) / resumeCost {
		answer := r.pull("token=ann")
		inbox.keeps(t, "ann", "", "")
		if p := <-answer; p.status != 200 {
			t.Errorf("%d %s", p.status, p.text)
		}
	}
	if p := <-r.pull("token=ann"); p.status != 429 || p.Code != "rate_limited" {
		t.Errorf("%d %s", p.status, p.text)
	}
	if p := <-r.pull("token=ann&wait=1"); p.status != 429 || p.Code != "rate_limited" {
		t.Errorf("%d %s", p.status, p.text)
	}
	for _, method := range []string{http.MethodPost, http.MethodHead} {
		req, _ := http.NewRequestWithContext(t.Context(), method, "http://"+r.addr+"/inbox", nil)
		if res, err := http.DefaultTransport.RoundTrip(req); err != nil || res.StatusCode != 405 {
			t.Errorf("%s: %v, %v", method, res, err)
		}
	}
	if p := <-start(t, nil).pull("token=ann"); p.status != 404 {
		t.Errorf("without an inbox: %d %s", p.status, p.text)
	}
}

func TestAClientThatGivesUpWaitingLeaves(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	conn := r.dialFrom("127.0.0.1")
	if _, err := io.WriteString(conn, "GET /inbox?token=ann&after=a&wait=60 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	inbox.keeps(t, "ann", "a", "a")
	wait(t, "the client to be found", func() bool { return r.presence.count() == 1 })
	_ = conn.Close()
	wait(t, "the client to leave", func() bool { return r.presence.count() == 0 })
}
