package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/bench/stack"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/socketio"
	"github.com/homing/homing/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAThirdSpeaksSocketIO(t *testing.T) {
	var by [4]int
	for i := range 900 {
		by[Mixed(i)]++
	}
	if by != [4]int{600, 100, 100, 100} {
		t.Errorf("by way: %v", by)
	}
}

func TestTranslate(t *testing.T) {
	for said, want := range map[string]string{
		`2["notify",{"t":"notify","id":"a"},"place"]`: `{"t":"notify","id":"a"}`,
		`37[{"t":"ok"}]`: `{"t":"ok","ref":7}`,
		`2["notify"]`:    "",
		`37[]`:           "",
		`4{}`:            "",
	} {
		p, err := socketio.Parse([]byte(said))
		if err != nil {
			t.Fatal(err)
		}
		text, err := translate(&p)
		if string(text) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", said, text, err)
		}
	}
}

// town is a real stack of two fronts.
type town struct {
	*testing.T

	stack   *stack.Stack
	bridges *Bridges
	caller  *load.Poster
}

func newTown(t *testing.T) *town {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "homing")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/homing/homing/cmd/homing").CombinedOutput(); err != nil {
		t.Fatalf("build homing: %v\n%s", err, out)
	}
	s, err := stack.Start(t.Context(), stack.Options{Binary: binary, Fronts: 2, Workers: 2, LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	w := &town{T: t, stack: s, bridges: &Bridges{}, caller: load.NewPoster(s.API.URLs()[0], s.Access.Key(), 10*time.Second)}
	for _, f := range s.Fronts {
		w.bridges.Fronts = append(w.bridges.Fronts, strings.TrimSuffix(strings.TrimPrefix(f.URL(), "ws://"), "/ws"))
	}
	t.Cleanup(func() {
		w.bridges.Close()
		w.caller.Close()
		if err := s.Stop(true); err != nil {
			t.Error(err)
		}
	})
	return w
}

// options are those of a user who connects to the first front.
func (w *town) options(way Way, user string) client.Options {
	return client.Options{URL: w.stack.Front.URL(), NetDial: w.bridges.Dialer(way, nil), Token: func(context.Context) (string, error) {
		return clients.Token(w.stack.Access.Secret(), user, "")
	}}
}

// hear reads until there is a message of a kind.
func (w *town) hear(c *client.Conn, kind string) client.Message {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			w.Fatalf("no %s: %v", kind, err)
		}
		if m.Kind == kind {
			return m
		}
	}
}

// waitOnline waits until the user is connected as often as that.
func (w *town) waitOnline(user hub.UserID, want bool) {
	w.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		all, err := w.caller.Presence(w.Context(), []hub.UserID{user})
		if err == nil && len(all) == 1 && all[0].Online == want {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("%s: %+v, %v; want online %v", user, all, err, want)
		}
	}
}

func TestClientsCrossBridges(t *testing.T) {
	w := newTown(t)
	for name, way := range map[string]Way{"socket": Socket, "polling": Polling, "upgraded": Upgraded} {
		t.Run(name, func(t *testing.T) { (&town{t, w.stack, w.bridges, w.caller}).cross(way, name) })
	}
	if w.bridges.Kept.Load() != 0 {
		t.Errorf("%d sessions could not go over to a WebSocket", w.bridges.Kept.Load())
	}
	refused, err := client.Dial(t.Context(), client.Options{
		URL: w.stack.Front.URL(), NetDial: w.bridges.Dialer(Polling, nil), Token: client.StaticToken("nonsense"),
	})
	if r, ok := errors.AsType[*client.RefusedError](err); !ok || r.Status != http.StatusUnauthorized {
		t.Errorf("a bad token: %v, %v", refused, err)
	}
}

func (w *town) cross(way Way, name string) {
	user := hub.UserID("user-" + name)
	c, err := client.Dial(w.Context(), w.options(way, string(user)))
	if err != nil {
		w.Fatal(err)
	}
	if h := c.Hello(); h.User != string(user) || h.Conn == "" || h.Ping <= 0 {
		w.Errorf("hello: %+v", h)
	}
	if owner := hub.ProcessID(c.LocalAddr().String()).Check() == nil; owner != (way == Polling) {
		w.Errorf("its address is %v", c.LocalAddr())
	}
	for n := range 20 {
		body := fmt.Sprintf(`{"users":[%q],"type":"x","data":{"n":%d}}`, user, n)
		if _, err := w.caller.Notify(w.Context(), []byte(body)); err != nil {
			w.Fatal(err)
		}
		if m := w.hear(c, "notify"); string(m.Notification.Data) != fmt.Sprintf(`{"n":%d}`, n) {
			w.Errorf("notification %d: %s", n, m.Raw)
		}
	}
	if err := c.Send([]byte(`{"t":"subscribe","topic":"nowhere","ref":5}`)); err != nil {
		w.Fatal(err)
	}
	if m := w.hear(c, "error"); !strings.HasSuffix(string(m.Raw), `,"ref":5}`) || m.Error.Of != "subscribe" {
		w.Errorf("answered %s", m.Raw)
	}
	w.endings(way, user, c)
}

// endings has the client go in each way, and be sent away.
func (w *town) endings(way Way, user hub.UserID, c *client.Conn) {
	_ = c.Close()
	w.waitOnline(user, false)
	for _, end := range []string{"abort", "disconnect"} {
		c, err := client.Dial(w.Context(), w.options(way, string(user)))
		if err != nil {
			w.Fatal(err)
		}
		w.waitOnline(user, true)
		if end == "abort" {
			_ = c.Abort()
			w.waitOnline(user, false)
			continue
		}
		req, _ := http.NewRequestWithContext(w.Context(), http.MethodDelete, w.stack.API.URLs()[0]+"/users/"+string(user)+"/connections", nil)
		req.Header.Set("Authorization", "Bearer "+w.stack.Access.Key())
		reply, err := http.DefaultClient.Do(req)
		if err != nil {
			w.Fatal(err)
		}
		_ = reply.Body.Close()
		if _, err := c.Receive(w.Context()); client.CloseCode(err) == 0 {
			w.Errorf("disconnected, and the client saw %v", err)
		}
		_ = c.Abort()
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestARefusalKeepsItsCode(t *testing.T) {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"code":"draining"}`)
	}))
	defer front.Close()
	b := &Bridges{}
	defer b.Close()
	for _, way := range []Way{Socket, Polling, Upgraded} {
		_, err := client.Dial(t.Context(), client.Options{
			URL: "ws" + strings.TrimPrefix(front.URL, "http") + "/ws", NetDial: b.Dialer(way, nil), Token: client.StaticToken("t"),
		})
		want := client.RefusedError{Status: http.StatusServiceUnavailable, Code: "draining", After: 3 * time.Second}
		if r, ok := errors.AsType[*client.RefusedError](err); !ok || *r != want {
			t.Errorf("way %d: %v, want %v", way, err, &want)
		}
	}
}

// TestAClientThatDoesNotRead is not read for.
func TestAClientThatDoesNotRead(t *testing.T) {
	x := &crossing{said: make(chan []byte, 1)}
	if err := x.say([]byte(`{"t":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if err := x.say([]byte(`{"t":"ping"}`)); !errors.Is(err, errBehind) {
		t.Errorf("beyond the bound: %v", err)
	}
	if err := x.say([]byte(`nonsense`)); !errors.Is(err, errClient) {
		t.Errorf("nonsense: %v", err)
	}
	if packet := <-x.said; string(packet) != `42["ping",{"t":"ping"}]` {
		t.Errorf("said %s", packet)
	}
}

func TestFramesAreBounded(t *testing.T) {
	var b strings.Builder
	_ = ws.WriteHeader(&b, ws.Header{Fin: true, OpCode: ws.OpText, Length: maxFrame + 1})
	if _, err := readFrame(strings.NewReader(b.String())); !errors.Is(err, errFrame) {
		t.Errorf("too long: %v", err)
	}
}
