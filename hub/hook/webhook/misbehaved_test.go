package webhook

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/homing/homing/hub/hook"
)

// TestAHugeAnswer: of a body of 100 MB a little is read, and the connection given up.
func TestAHugeAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusBadRequest} {
		var wrote atomic.Int64
		ended := make(chan struct{})
		e := endpoint(t, Config{}, func(w http.ResponseWriter, _ *http.Request) {
			defer close(ended)
			w.WriteHeader(status)
			for chunk := bytes.Repeat([]byte("x"), 64<<10); wrote.Load() < 100<<20; {
				n, err := w.Write(chunk)
				wrote.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		a := e.Post(t.Context(), "evt_1", []byte(`{}`))
		if delivered(a) != (status == http.StatusOK) {
			t.Errorf("%d: %+v", status, a)
		}
		if !delivered(a) && (a.Why != hook.Refused || len(a.Err.Error()) > 300) {
			t.Errorf("%d: %+v", status, a)
		}
		<-ended
		if n := wrote.Load(); n > 16<<20 {
			t.Errorf("%d: %d bytes were read of the answer", status, n)
		}
	}
}

func delivered(a hook.Answer) bool { return a.Verdict == hook.Delivered }

// TestA200WithoutAnEnd: the status decides. A body that does not end holds up the
// request until its timeout, and no longer.
func TestA200WithoutAnEnd(t *testing.T) {
	t.Parallel()
	e := endpoint(t, Config{Timeout: 300 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write([]byte("o"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	begun := time.Now()
	a := e.Post(t.Context(), "evt_1", []byte(`{}`))
	if took := time.Since(begun); !delivered(a) || took > 5*time.Second {
		t.Errorf("%+v after %v", a, took)
	}
}

// TestWhy: every way to fail has its name.
func TestWhy(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		why   hook.Failure
		serve http.HandlerFunc
	}{
		"redirect":    {hook.Redirected, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		"refused":     {hook.Refused, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }},
		"unreachable": {hook.Unreachable, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"timeout": {hook.TimedOut, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}},
	} {
		e := endpoint(t, Config{Timeout: 300 * time.Millisecond}, want.serve)
		if a := e.Post(t.Context(), "evt_1", []byte(`{}`)); a.Verdict != hook.Failed || a.Why != want.why || a.Why.String() != name {
			t.Errorf("%s: %+v, %s", name, a, a.Why)
		}
	}
}

// TestVerifier: it takes what is signed with one of its secrets, and nothing else.
func TestVerifier(t *testing.T) {
	t.Parallel()
	ours := NewSecret()
	v, err := LoadVerifier(file(t, NewSecret(), ours))
	if err != nil {
		t.Fatal(err)
	}
	var verified []bool
	serve := func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		verified = append(verified, v.Verify(body, r.Header) == nil)
	}
	first := endpoint(t, Config{Secret: ours}, serve)
	u, err := url.Parse(first.cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*Endpoint{first, endpoint(t, Config{URL: u.String()}, nil)} {
		if a := e.Post(t.Context(), "evt_1", []byte(`{}`)); !delivered(a) {
			t.Errorf("%+v", a)
		}
	}
	if len(verified) != 2 || !verified[0] || verified[1] {
		t.Errorf("verified: %v, want the first alone", verified)
	}
}
