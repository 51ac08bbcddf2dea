package app

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// logged keeps what a server logs.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// read reads the server's log until it ends.
func (s *process) read() *logged {
	l := &logged{}
	go func() { _, _ = io.Copy(l, s.log) }() // ends when the server does
	return l
}

// whyNotReady returns the reply of one of the servers' /readyz, "" when it is
// ready or does not answer yet.
func (p *program) whyNotReady(base string) string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, base+"/readyz", http.NoBody)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode == http.StatusOK {
		return ""
	}
	return string(body)
}

// saysNotReady waits until both servers' /readyz hold all the words, and not what is
// true of the first moment alone.
func (p *program) saysNotReady(words ...string) {
	p.t.Helper()
	for _, base := range []string{p.apiURL, "http://" + p.admins[1]} {
		p.waitFor(fmt.Sprintf("%s/readyz to say %q", base, words), func() bool {
			why := p.whyNotReady(base)
			for _, w := range words {
				if !strings.Contains(why, w) {
					return false
				}
			}
			return !strings.Contains(why, "the leases have not been read yet")
		})
	}
}

// TestRedisAwayAtTheStart: both servers say at WARN and at /readyz which Redis
// is away and why, and serve when it comes.
func TestRedisAwayAtTheStart(t *testing.T) {
	addr := freeAddr(t)
	p := launch(t, "redis://"+addr)
	logs := []*logged{p.api.read(), p.front.read()}
	p.saysNotReady(addr, "connection refused")
	for _, l := range logs {
		p.waitFor("a line that says so again", func() bool {
			return strings.Count(l.String(), `msg="redis does not serve"`) >= 2
		})
		text := l.String()
		if !strings.Contains(text, addr+": connect: connection refused") {
			t.Errorf("no line names the address and the reason:\n%s", text)
		}
		for _, word := range []string{"error=null", "<nil>", "master elected"} {
			if strings.Contains(text, word) {
				t.Errorf("%s in:\n%s", word, text)
			}
		}
	}
	var o redisproc.ServerOptions
	if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &o.Port); err != nil {
		t.Fatal(err)
	}
	redistest.Process(t, o)
	p.waitReady()
}

// TestRightMissingAtTheStart: "ready" means all that is offered. A server whose
// user lacks what only some of it needs is not, and names it.
func TestRightMissingAtTheStart(t *testing.T) {
	redis := redistest.Process(t, redisproc.ServerOptions{})
	admin := redis.Client()
	defer admin.Close()
	allow := func(more string) {
		t.Helper()
		args := []any{"ACL", "SETUSER", "hub", "reset", "on", ">pw"}
		for rule := range strings.FieldsSeq(rights.ACL("homing", rights.Roles...) + more) {
			args = append(args, rule)
		}
		if err := admin.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	allow(" -xrange")
	p := launch(t, "redis://hub:pw@"+redis.Addr())
	logs := []*logged{p.api.read(), p.front.read()}
	p.saysNotReady(redis.Addr(), "refuses XRANGE")
	for _, l := range logs {
		p.waitFor("a line that says so", func() bool { return strings.Contains(l.String(), "redis does not let us do what we must") })
	}
	allow("")
	p.waitReady()
}
