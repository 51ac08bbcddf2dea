package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/fleet/roster"
	"github.com/homing/homing/hub/match"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/remote"
)

const someone = `{"users":["ann"],"data":1}`

// ofMatchmaking is what a ticket is refused with; after is the Retry-After.
func ofMatchmaking(t *testing.T, err error, after string) reply {
	t.Helper()
	w := newWorld(t)
	w.maker.err = err
	method, path, body := http.MethodPost, "/match/tickets", `{"queue":"duel","players":["cleo"]}`
	if err == match.ErrUndecided { //nolint:errorlint // the test's own
		method, path, body = http.MethodDelete, "/match/tickets/duel:ann", ""
	}
	out := w.do(w.request(method, path, body))
	if got := out.header.Get("Retry-After"); got != after {
		t.Errorf("Retry-After: %q, want %q", got, after)
	}
	return out
}

// TestEveryProblem makes the server give every answer of the table.
func TestEveryProblem(t *testing.T) {
	cases := map[Code]func(t *testing.T) reply{
		CodeNotFound: func(t *testing.T) reply { return newWorld(t).get("/nope") },
		CodeMethodNotAllowed: func(t *testing.T) reply {
			out := newWorld(t).get("/v1/notify")
			if allow := out.header.Get("Allow"); allow != "POST" {
				t.Errorf("Allow: %q", allow)
			}
			return out
		},
		CodeOverloaded: overloaded,
		CodeFriendsFull: func(t *testing.T) reply {
			w := newWorld(t)
			w.friends.err = &hub.RoomError{Pot: hub.PotFriends, After: 9 * time.Second, Detail: "9 of 9 bytes"}
			out := w.do(w.request(http.MethodPut, "/users/ann/friends", `{"friends":["bob"]}`))
			if out.header.Get("Retry-After") != "9" {
				t.Errorf("Retry-After %q", out.header.Get("Retry-After"))
			}
			return out
		},
		CodeQueueFull: func(t *testing.T) reply {
			return ofMatchmaking(t, &hub.RoomError{Pot: hub.PotMatch, After: 5 * time.Second, Detail: "5 tickets wait"}, "5")
		},
		CodeNoRooms:       func(t *testing.T) reply { return ofMatchmaking(t, match.ErrClosed, "") },
		CodeTicketClaimed: func(t *testing.T) reply { return ofMatchmaking(t, match.ErrUndecided, "1") },
		CodeTicketEnded: func(t *testing.T) reply {
			w := newWorld(t)
			return w.do(w.request(http.MethodDelete, "/match/tickets/duel:bob", ""))
		},
		CodeNotAsked: func(t *testing.T) reply {
			return newWorld(t).post("/match/tickets/duel:bob/accept", `{"user":"bob"}`)
		},
		CodeNodeNotFound: func(t *testing.T) reply { return newWorld(t).get("/nodes/nobody") },
		CodeNoCapacity: func(t *testing.T) reply {
			w := newWorld(t)
			w.nodes.err = &roster.NoCapacityError{Cluster: "game", Nodes: 3}
			out := w.post("/nodes/assign", `{}`)
			if out.header.Get("Retry-After") != "1" || !strings.Contains(string(out.body), "none of the 3 of cluster game") {
				t.Errorf("%v %s", out.header, out.body)
			}
			return out
		},
		CodeKeyMissing: func(t *testing.T) reply {
			w := newWorld(t)
			w.key = ""
			out := w.post("/notify", someone)
			if out.header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
			return out
		},
		CodeKeyUnknown: func(t *testing.T) reply {
			w := newWorld(t)
			w.key += "x"
			return w.post("/notify", someone)
		},
		CodeScopeMissing: func(t *testing.T) reply {
			w := newWorld(t, withKey(func(s *apikey.Spec) { s.Scopes = []apikey.Scope{apikey.ScopeNotify} }))
			return w.post("/broadcast", `{"data":1}`)
		},
		CodeFromNotAllowed: func(t *testing.T) reply {
			w := newWorld(t, withKey(func(s *apikey.Spec) { s.From = []hub.Service{"chess"} }))
			wantOK(t, w.post("/notify", `{"users":["ann"],"data":1,"from":"chess"}`))
			return w.post("/notify", `{"users":["ann"],"data":1,"from":"shop"}`)
		},
		CodeLoopbackOnly: func(t *testing.T) reply {
			w := newWorld(t, withDev())
			r := w.request(http.MethodGet, "/dev/token?user=ann", "")
			r.Host = "rebound.example"
			return w.do(r)
		},
		CodeRateLimited: func(t *testing.T) reply {
			w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 0.1, 1 }))
			wantOK(t, w.post("/notify", someone))
			out := w.post("/notify", someone)
			if n, _ := strconv.Atoi(out.header.Get("Retry-After")); n < 9 || n > 10 {
				t.Errorf("Retry-After: %q", out.header.Get("Retry-After"))
			}
			return out
		},
		CodeUnsupportedMediaType: func(t *testing.T) reply {
			w := newWorld(t)
			r := w.request(http.MethodPost, "/notify", someone)
			r.Header.Set("Content-Type", "text/plain")
			return w.do(r)
		},
		CodeBodyTooLarge: func(t *testing.T) reply {
			w := newWorld(t, withConfig(func(c *Config) { c.BodyLimit = 100 }))
			return w.post("/notify", `{"users":["ann"],"data":"`+strings.Repeat("x", 100)+`"}`)
		},
		CodeBodyTimeout:    func(t *testing.T) reply { return half(t, "Content-Length: 100", `{"users"`, false) },
		CodeBodyUnreadable: func(t *testing.T) reply { return half(t, "Transfer-Encoding: chunked", "this is no chunk\r\n", true) },
		CodeTooManyLines: func(t *testing.T) reply {
			w := newWorld(t, withConfig(func(c *Config) { c.BatchLines = 1 }))
			lines := w.batch(someone + "\n" + someone + "\n" + someone + "\n")
			if len(lines) != 2 {
				t.Fatalf("%d lines: %s", len(lines), lines)
			}
			return lineReply(t, lines[1])
		},
		CodeTooManyOpen:     tooManyOpen,
		CodeTooManyInFlight: tooManyInFlight,
		CodeBatchIdle: func(t *testing.T) reply {
			w := newWorld(t, withConfig(func(c *Config) { c.BatchIdle = 50 * time.Millisecond }))
			b := w.openBatch()
			return lineReply(t, b.answer())
		},
		CodeInvalidUTF8:    posted("{\"users\":[\"ann\"],\"data\":\"\xff\"}"),
		CodeMalformedJSON:  posted(`{"users":["ann"]`),
		CodeDuplicateField: posted(`{"users":["ann"],"data":1,"data":2}`),
		CodeUnknownField:   posted(`{"users":["ann"],"data":1,"stock":"24h"}`),
		CodeWrongType:      posted(`{"users":"ann","data":1}`),
		CodeInvalidField:   posted(`{"users":[],"data":1}`),
		CodeIdempotencyInFlight: func(t *testing.T) reply {
			w := newWorld(t)
			body := `{"id":"o-1","users":["ann"],"data":1}`
			if _, _, err := w.once.Begin(t.Context(), "backend", "o-1", fingerprint("notify", false, []byte(body))); err != nil {
				t.Fatal(err)
			}
			out := w.post("/notify", body)
			if out.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return out
		},
		CodeIdempotencyMismatch: func(t *testing.T) reply {
			w := newWorld(t)
			wantOK(t, w.post("/notify", `{"id":"o-1","users":["ann"],"data":1}`))
			return w.post("/notify", `{"id":"o-1","users":["ann"],"data":2}`)
		},
		CodeUnavailable: func(t *testing.T) reply {
			w := newWorld(t)
			w.hub.err = fmt.Errorf("look up 1 users: %w: dial tcp 10.0.0.7:6379", hub.ErrUnavailable)
			out := w.post("/notify", someone)
			if out.header.Get("Retry-After") != "1" || strings.Contains(string(out.body), "10.0.0.7") {
				t.Errorf("%v %s", out.header, out.body)
			}
			return out
		},
		CodeInboxFull:        noRoom(hub.RoomError{Pot: hub.PotInbox}),
		CodeStoreQuota:       noRoom(hub.RoomError{Pot: hub.PotInbox, Account: "backend"}),
		CodeIdempotencyFull:  noRoom(hub.RoomError{Pot: hub.PotOnce}),
		CodeIdempotencyQuota: noRoom(hub.RoomError{Pot: hub.PotOnce, Account: "backend"}),
		CodeRoomNotFound:     func(t *testing.T) reply { return newWorld(t).get("/rooms/r-9") },
		CodeRoomEnded:        func(t *testing.T) reply { return newWorld(t).post("/rooms/r-6/seats", `{"users":["ann"]}`) },
		CodeRoomExists:       roomRefused(remote.ErrMismatch),
		CodeRoomFull:         roomRefused(&call.RefusalError{Code: asks.CodeFull}),
		CodeRoomRefused:      roomRefused(&call.RefusalError{Code: asks.CodeLogic, Detail: "no such map"}),
		CodeRoomNotMoved: func(t *testing.T) reply {
			w := newWorld(t)
			w.rooms.fail(&call.RefusalError{Code: asks.CodeMove, Detail: "the room is there already"})
			return w.post("/rooms/r-7/move", `{}`)
		},
		CodeRoomsFull: roomRefused(&call.RefusalError{Code: asks.CodeTooMany}),
		CodeTimeout: func(t *testing.T) reply {
			w := newWorld(t, withConfig(func(c *Config) { c.RequestTimeout = 20 * time.Millisecond }))
			w.hub.block = make(chan struct{})
			return w.post("/notify", someone)
		},
		CodeNotReady: func(t *testing.T) reply {
			w := newWorld(t)
			w.hub.health = hub.Health{Down: []string{"data shard 0: no master"}}
			out := w.get("/readyz")
			if !strings.Contains(string(out.body), "data shard 0: no master") {
				t.Errorf("does not say what is missing: %s", out.body)
			}
			return out
		},
		CodeInternal: func(t *testing.T) reply {
			w := newWorld(t)
			w.hub.panics = true
			out := w.post("/notify", someone)
			if !strings.Contains(w.log.String(), "the hub is broken") || strings.Contains(string(out.body), "broken") {
				t.Errorf("log %q, reply %s", w.log, out.body)
			}
			w.hub.set(func(h *fakeHub) { h.panics = false })
			wantOK(t, w.post("/notify", someone))
			return out
		},
	}
	for _, kind := range Problems {
		t.Run(string(kind.Code), func(t *testing.T) {
			provoke, ok := cases[kind.Code]
			if !ok {
				t.Fatal("nothing makes the server give this answer")
			}
			p := wantCode(t, provoke(t), kind.Code)
			if p.Type != "/problems/"+string(kind.Code) || p.Title != kind.Title {
				t.Errorf("%+v", p)
			}
		})
	}
}

func posted(body string) func(t *testing.T) reply {
	return func(t *testing.T) reply { return newWorld(t).post("/v1/notify", body) }
}

// roomRefused provokes the answer to a room that cannot be opened.
func roomRefused(why error) func(t *testing.T) reply {
	return func(t *testing.T) reply {
		t.Helper()
		w := newWorld(t)
		w.rooms.fail(why)
		return w.post("/rooms", `{"class":"arena"}`)
	}
}

// lineReply dresses a line of a batch's reply as a reply of its own.
func lineReply(t *testing.T, line string) reply {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(line), &p); err != nil {
		t.Fatal(err)
	}
	return reply{status: p.Status, body: []byte(line), header: http.Header{"Content-Type": {"application/problem+json"}}}
}

// overloaded fills a server that serves two requests at once.
func overloaded(t *testing.T) reply {
	w := newWorld(t, withConfig(func(c *Config) { c.MaxInFlight = 2 }))
	w.hub.block = make(chan struct{})
	done := make(chan reply, 2)
	for range 2 {
		r := w.request(http.MethodPost, "/notify", someone)
		go func() { done <- w.send(r) }()
	}
	for w.server.gate.share.Working() < 2 {
		time.Sleep(time.Millisecond)
	}
	out := w.post("/notify", someone)
	wantOK(t, w.get("/healthz")) // probes are not bounded
	close(w.hub.block)
	for range 2 {
		wantOK(t, <-done)
	}
	wantOK(t, w.post("/notify", someone))
	return out
}

// half sends a request whose body does not come whole.
func half(t *testing.T, framing, part string, closes bool) reply {
	w := newWorld(t, withConfig(func(c *Config) { c.ReadHeaderTimeout, c.RequestTimeout = 500*time.Millisecond, time.Millisecond }))
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%s\r\n\r\n%s", w.key, framing, part)
	if closes {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return reply{status: res.StatusCode, header: res.Header, body: body}
}

// noRoom provokes the refusal of what would have to be kept.
func noRoom(why hub.RoomError) func(t *testing.T) reply {
	return func(t *testing.T) reply {
		t.Helper()
		w := newWorld(t)
		why.After, why.Detail = 7*time.Second, "9 of 9 bytes"
		w.hub.err = fmt.Errorf("store notification x: %w", &why)
		out := w.post("/notify", someone)
		if out.header.Get("Retry-After") != "7" {
			t.Errorf("Retry-After %q, want 7", out.header.Get("Retry-After"))
		}
		if told := strings.Contains(string(out.body), "backend"); told != (why.Account != "") {
			t.Errorf("names the key: %v: %s", told, out.body)
		}
		return out
	}
}

func TestProblemsAreServed(t *testing.T) {
	w := newWorld(t)
	w.key = ""
	out := w.get("/problems")
	wantOK(t, out)
	var all problemsReply
	if err := json.Unmarshal(out.body, &all); err != nil || len(all.Problems) != len(Problems) {
		t.Fatalf("%v %s", err, out.body)
	}
	for _, k := range all.Problems {
		wantOK(t, w.get("/problems/"+string(k.Code)))
	}
	wantCode(t, w.get("/problems/nope"), CodeNotFound)
}

func TestLargeBodyIsRefusedUnread(t *testing.T) {
	w := newWorld(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1572865\r\n\r\n", w.key)
	res, err := http.ReadResponse(bufio.NewReader(c), nil) // nothing of the body was sent
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d", res.StatusCode)
	}
}

func TestChunkedBodyIsBounded(t *testing.T) {
	w := newWorld(t, withConfig(func(c *Config) { c.BodyLimit = 1000 }))
	r := w.request(http.MethodPost, "/notify", "x")
	r.Body = io.NopCloser(io.LimitReader(zeros{}, 5000))
	r.ContentLength = -1
	r.GetBody = nil
	wantCode(t, w.send(r), CodeBodyTooLarge)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCallerWhoLeavesIsCounted(t *testing.T) {
	w := newWorld(t)
	w.hub.block = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	r := w.request(http.MethodPost, "/notify", someone).WithContext(ctx)
	done := make(chan error, 1)
	go func() {
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		res, err := tr.RoundTrip(r)
		if err == nil {
			res.Body.Close()
		}
		done <- err
	}()
	for w.server.gate.share.Working() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("the caller got an answer")
	}
	gone := w.server.responder.metrics.requests.WithLabelValues("/notify", "499")
	for deadline := time.Now().Add(5 * time.Second); testutil.ToFloat64(gone) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never counted")
		}
	}
	if strings.Contains(w.log.String(), "level=ERROR") {
		t.Errorf("logged as an error: %s", w.log)
	}
}
