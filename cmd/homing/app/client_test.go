package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/golang-jwt/jwt/v5"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redistest"
)

// clientPatience bounds what a test of the client waits for.
const clientPatience = 30 * time.Second

// token is good for user at s's fronts.
func (s *stack) token(t *testing.T, user hub.UserID) string {
	t.Helper()
	token, err := auth.Mint(s.secret, auth.Identity{User: user}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// store sends user a notification of class must that is kept.
func (s *stack) store(t *testing.T, user hub.UserID, id string) {
	t.Helper()
	body := fmt.Sprintf(`{"users":[%q],"id":%q,"store":"1h","data":1}`, user, id)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.apis[0]+"/notify", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("POST /notify: HTTP %d", res.StatusCode)
	}
}

// wantWaiting waits until user's inbox would replay as many to a client without
// a position: a front answers a close before the acknowledgements that came
// ahead of it have reached the inbox.
func (s *stack) wantWaiting(t *testing.T, user hub.UserID, want int) {
	t.Helper()
	got := -1
	for deadline := time.Now().Add(clientPatience); time.Now().Before(deadline); {
		if got = s.waiting(t, user); got == want {
			return
		}
	}
	t.Fatalf("%d wait in the inbox of %s, want %d", got, user, want)
}

// waiting is what user's inbox would replay to a client without a position.
func (s *stack) waiting(t *testing.T, user hub.UserID) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	defer cancel()
	waiting := -1
	c := client.New(client.Options{URL: s.fronts[1], Token: client.StaticToken(s.token(t, user)), CloseTimeout: -1},
		client.Handler{Resumed: func(r client.Resumed) { waiting = r.Count; cancel() }})
	if err := c.Run(ctx); waiting < 0 {
		t.Fatalf("the client ended with %v", err)
	}
	return waiting
}

// TestClientAcknowledgesAtItsEnd cancels a client in the middle of what it is
// given: the front must hear of exactly what was dealt with.
func TestClientAcknowledgesAtItsEnd(t *testing.T) {
	s := newStack(t)
	const stored, dealt = 30, 20
	for i := range stored {
		s.store(t, "ann", fmt.Sprint("n", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	defer cancel()
	n := 0
	c := client.New(client.Options{URL: s.fronts[0], Token: client.StaticToken(s.token(t, "ann")), CloseTimeout: clientPatience},
		client.Handler{Notify: func(client.Notification) {
			if n++; n == dealt {
				cancel()
			}
		}})
	if err := c.Run(ctx); !errors.Is(err, context.Canceled) || n != dealt {
		t.Fatalf("Run = %v after %d", err, n)
	}
	s.wantWaiting(t, "ann", stored-dealt)
}

// TestClientKeepsWhatItPanickedAt runs a client again whose application
// panicked.
func TestClientKeepsWhatItPanickedAt(t *testing.T) {
	s := newStack(t)
	s.store(t, "ann", "first")
	s.store(t, "ann", "second")
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	defer cancel()
	var given []string
	c := client.New(client.Options{URL: s.fronts[0], Token: client.StaticToken(s.token(t, "ann")), CloseTimeout: clientPatience},
		client.Handler{Notify: func(n client.Notification) {
			given = append(given, n.ID)
			switch len(given) {
			case 2:
				panic("the database is away")
			case 3:
				cancel()
			}
		}})
	run := func() (panicked any) {
		defer func() { panicked = recover() }()
		_ = c.Run(ctx)
		return nil
	}
	if run() == nil {
		t.Fatalf("no panic, given %q", given)
	}
	s.wantWaiting(t, "ann", 1)
	if got := run(); got != nil || strings.Join(given, " ") != "first second second" {
		t.Errorf("panic %v, given %q", got, given)
	}
	s.wantWaiting(t, "ann", 0)
}

// TestClientFetchesTokens connects with the third token, the first two being
// of no use, and tells what the front said about them.
func TestClientFetchesTokens(t *testing.T) {
	s := newStack(t)
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	defer cancel()
	expired, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ann", "exp": 1}).SignedString(s.secret)
	if err != nil {
		t.Fatal(err)
	}
	tokens := []string{"nonsense", expired, s.token(t, "ann")}
	var codes []string
	up := false
	c := client.New(client.Options{
		URL:   s.fronts[0],
		Token: func(context.Context) (string, error) { next := tokens[0]; tokens = tokens[1:]; return next, nil },
		Pause: func(err error, _ *client.Reconnect) time.Duration {
			if r, ok := errors.AsType[*client.RefusedError](err); ok {
				codes = append(codes, r.Code)
			}
			return 0
		},
	}, client.Handler{Up: func(client.Hello) { up = true; cancel() }})
	if err := c.Run(ctx); !up {
		t.Errorf("Run = %v", err)
	}
	if strings.Join(codes, " ") != "token_malformed token_expired" {
		t.Errorf("the front said %q", codes)
	}
}

// TestClientAnswersPingsWhileTheApplicationWorks has a handler that works
// for twice what the front allows a connection to be silent.
func TestClientAnswersPingsWhileTheApplicationWorks(t *testing.T) {
	s := &stack{secret: []byte(newSecret())}
	fc := frontConfig{Auth: auth.Config{Secret: s.secret}}
	if err := kong.ApplyDefaults(&fc); err != nil {
		t.Fatal(err)
	}
	fc.Redis = redistest.Config(t, redistest.Server(t))
	fc.Front.Listen, fc.Front.DrainWindow, fc.Front.DrainTimeout = "127.0.0.1:0", 0, time.Second
	fc.Front.PingInterval, fc.Front.PongTimeout = 200*time.Millisecond, 2*time.Second
	s.startFront(t, fc)
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	defer cancel()
	ups := 0
	c := client.New(client.Options{URL: s.fronts[0], Token: client.StaticToken(s.token(t, "ann"))}, client.Handler{
		Up: func(client.Hello) {
			ups++
			time.Sleep(2 * (fc.Front.PingInterval + fc.Front.PongTimeout)) // the work
			time.AfterFunc(100*time.Millisecond, cancel)
		},
		Down: func(err error, _ time.Duration) { t.Errorf("lost: %v", err) },
	})
	if err := c.Run(ctx); !errors.Is(err, context.Canceled) || ups != 1 {
		t.Errorf("Run = %v, %d connections", err, ups)
	}
}
