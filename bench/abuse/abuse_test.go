package abuse

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEveryKindAttacks lets each kind at servers that endure everything: it
// must get through to them, and end by itself.
func TestEveryKindAttacks(t *testing.T) {
	front, api := listen(t, welcome), httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/batch") {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(api.Close)
	target := Target{Front: front, TLS: listen(t, swallow), API: api.URL, User: "mallory", Token: "t", Key: "k", From: "127.66.0.1"}
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			const length = time.Second
			a := newAttack(target, length)
			defer a.http.CloseIdleConnections()
			if k.prepare != nil {
				if err := k.prepare(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), length)
			defer cancel()
			start := time.Now()
			k.run(ctx, a)
			if took := time.Since(start); took > patience+5*time.Second {
				t.Errorf("it went on for %v", took)
			}
			through := 0
			for what, n := range a.counted() {
				if what != "cut off" && what != "timed out" {
					through += n
				}
			}
			if through == 0 {
				t.Errorf("nothing got through: %v", a.counted())
			}
		})
	}
}

func TestAnUnknownKindIsRefused(t *testing.T) {
	if _, ok := Find("nobody"); ok {
		t.Error("found")
	}
	for _, name := range Names() {
		if k, ok := Find(name); !ok || k.Name != name || k.run == nil || k.Does == "" {
			t.Errorf("%s: %+v", name, k)
		}
	}
}

// listen serves every connection until the test ends.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(t.Context(), func() { c.Close() })
				defer stop()
				serve(c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); serving.Wait() })
	return ln.Addr().String()
}

func swallow(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// welcome is a front that says hello and nothing else.
func welcome(c net.Conn) {
	u := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == "homing.v1" }}
	if _, err := u.Upgrade(c); err != nil {
		return
	}
	_ = ws.WriteFrame(c, ws.NewTextFrame([]byte(`{"t":"hello"}`)))
	swallow(c)
}
