package load

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// calling is a call that needs no preparation.
func calling(call func(n int, due time.Time)) func(int, time.Time) func(context.Context) {
	return func(n int, due time.Time) func(context.Context) {
		return func(context.Context) { call(n, due) }
	}
}

func TestScheduleDoesNotWaitForAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		late := map[int]time.Duration{}
		s := Schedule{Rate: 100, Duration: time.Second, Callers: 4}
		s.Run(t.Context(), calling(func(n int, due time.Time) {
			if want := start.Add(time.Duration(n) * 10 * time.Millisecond); due.Sub(want).Abs() > time.Microsecond {
				t.Errorf("call %d is due at %v, want %v", n, due.Sub(start), want.Sub(start))
			}
			mu.Lock()
			late[n] = time.Since(due)
			mu.Unlock()
			if n == 50 {
				time.Sleep(500 * time.Millisecond) // one caller is stuck; the others go on
			}
		}))
		if len(late) != 100 || late[60] > time.Millisecond {
			t.Errorf("%d calls, call 60 late by %v", len(late), late[60])
		}
	})
}

func TestScheduleCountsLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var worst atomic.Int64
		s := Schedule{Rate: 100, Duration: time.Second, Callers: 1}
		s.Run(t.Context(), calling(func(n int, due time.Time) {
			if n == 50 {
				time.Sleep(300 * time.Millisecond)
			}
			worst.Store(max(worst.Load(), int64(time.Since(due))))
		}))
		if w := time.Duration(worst.Load()); w < 290*time.Millisecond || w > 310*time.Millisecond {
			t.Errorf("latest call started %v late, want about 300ms", w)
		}
	})
}

func TestScheduleStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 95*time.Millisecond)
		defer cancel()
		var calls atomic.Int32
		Schedule{Rate: 100, Duration: time.Minute, Callers: 2}.Run(ctx, calling(func(int, time.Time) { calls.Add(1) }))
		if n := calls.Load(); n != 10 {
			t.Errorf("%d calls in 95 ms at 100/s, want 10", n)
		}
	})
}

func TestPoster(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Header.Get("Authorization") != "Bearer hk_x":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/notify" && string(body) == `{"users":["a"],"data":1}`:
			_, _ = io.WriteString(w, `{"id":"1","targets":1,"online":1,"offline":0,"processes":1}`)
		case r.URL.Path == "/users/query" && string(body) == `{"users":["a","b"]}`:
			_, _ = io.WriteString(w, `{"users":[{"user":"a","online":true,"connections":2},{"user":"b"}]}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	p := NewPoster(srv.URL, "hk_x", time.Second)
	defer p.Close()
	s, err := p.Notify(t.Context(), []byte(`{"users":["a"],"data":1}`))
	if err != nil || s.Online != 1 {
		t.Errorf("Notify = %+v, %v", s, err)
	}
	users, err := p.Presence(t.Context(), []hub.UserID{"a", "b"})
	if err != nil || len(users) != 2 || !users[0].Online || users[0].Connections != 2 || users[1].Online {
		t.Errorf("Presence = %+v, %v", users, err)
	}
	_, err = p.Notify(t.Context(), []byte(`{}`))
	if r, ok := errors.AsType[*RefusedError](err); !ok || r.Status != 503 {
		t.Errorf("error = %v, want a refusal 503", err)
	}
	anonymous := NewPoster(srv.URL, "", time.Second)
	defer anonymous.Close()
	_, err = anonymous.Notify(t.Context(), nil)
	if r, ok := errors.AsType[*RefusedError](err); !ok || r.Status != 401 {
		t.Errorf("error = %v, want a refusal 401", err)
	}
}
