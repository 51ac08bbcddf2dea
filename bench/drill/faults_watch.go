package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/homing/homing/hub"
)

// answer is what one call got: of a backend at the API, of a probe at a
// /readyz, or of a player who connects.
type answer struct {
	what   string // the kind of call
	at     time.Time
	took   time.Duration
	status int  // of HTTP; 0: none came
	wait   bool // the answer said when to try again
	body   string
	err    error // why none came
}

func (a answer) ok() bool { return a.status == http.StatusOK }

// parse reads a JSON answer, whatever it is.
func (a answer) parse(v any) error { return json.Unmarshal([]byte(a.body), v) }

// until is when the caller knew.
func (a answer) until() time.Time { return a.at.Add(a.took) }

// String says what came back, for a message.
func (a answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("%s: %v after %v", a.what, a.err, a.took.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s: HTTP %d %s", a.what, a.status, a.body[:min(len(a.body), 400)])
}

// backend calls servers over HTTP, one call at a time or many. Close it.
type backend struct {
	key  string
	http http.Client
}

// callTimeout is how long a caller waits for an answer.
const callTimeout = 5 * time.Second

func newBackend(key string) *backend {
	return &backend{key: key, http: http.Client{Timeout: callTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

func (b *backend) close() { b.http.CloseIdleConnections() }

// call makes one call; body nil: none.
func (b *backend) call(ctx context.Context, what, method, url string, body any) (a answer) {
	a = answer{what: what, at: time.Now()}
	defer func() { a.took = time.Since(a.at) }()
	var raw []byte
	if body != nil {
		raw, _ = json.Marshal(body) // strings and numbers always marshal
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(raw))
	if err != nil {
		a.err = err
		return a
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+b.key)
	resp, err := b.http.Do(req)
	if err != nil {
		a.err = err
		return a
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	a.status, a.wait, a.body, a.err = resp.StatusCode, resp.Header.Get("Retry-After") != "", strings.TrimSpace(string(text)), err
	return a
}

// post is the JSON of a notification that a caller of a scenario's own sends.
type post struct {
	ID    string       `json:"id,omitempty"`
	Users []hub.UserID `json:"users"`
	Type  string       `json:"type"`
	Data  any          `json:"data"`
	Store string       `json:"store,omitempty"`
	Wait  string       `json:"wait,omitempty"`
}

// notify posts to API server number api, counted over all of them.
func (d *drill) notify(ctx context.Context, b *backend, what string, api int, p post) answer {
	p.Type = "drill"
	apis := d.stack.API.URLs()
	return b.call(ctx, what, http.MethodPost, apis[api%len(apis)]+"/notify", p)
}

// watch makes calls at a fixed pace, until it is ended, and keeps their answers.
type watch struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	answers []answer
}

// watching starts a watch: call is made every so often, one after another.
func watching(ctx context.Context, every time.Duration, call func(ctx context.Context, n int) answer) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{cancel: cancel}
	w.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			w.add(call(context.WithoutCancel(ctx), n))
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return w
}

func (w *watch) add(a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers = append(w.answers, a)
}

// soFar returns the answers up to now.
func (w *watch) soFar() []answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.answers)
}

// end stops calling and returns all answers. It may be called again.
func (w *watch) end() []answer {
	w.cancel()
	w.running.Wait()
	return w.soFar()
}

// between returns the answers to calls made in a span of time.
func between(answers []answer, from, to time.Time) []answer {
	return slices.DeleteFunc(slices.Clone(answers), func(a answer) bool { return a.at.Before(from) || !a.at.Before(to) })
}

// during returns the answers to calls that were made and answered in a span of
// time.
func during(answers []answer, from, to time.Time) []answer {
	return slices.DeleteFunc(between(answers, from, to), func(a answer) bool { return !a.until().Before(to) })
}

// slowAnswer is an answer that was late, though it was the one wanted.
const slowAnswer = time.Second

// back tells how long after a fault calls went wrong, or took long, for the
// last time before another fault.
func back(answers []answer, fault, next time.Time) time.Duration {
	last := fault
	for _, a := range answers {
		hurt := a.until().After(fault) && a.at.Before(next)
		if hurt && (!a.ok() || a.took > slowAnswer) && a.until().After(last) {
			last = a.until()
		}
	}
	return last.Sub(fault)
}

// count counts the answers by what came.
func count(answers []answer) map[string]int {
	n := make(map[string]int)
	for _, a := range answers {
		if a.status == 0 {
			n["no answer"]++
		} else {
			n[fmt.Sprintf("HTTP %d", a.status)]++
		}
	}
	return n
}

// checkRefusals wants every refusal to be one that a caller knows what to do
// with: 503, or 409 for an id that is under way, and when to try again. Others
// that the scenario allows are named.
func (d *drill) checkRefusals(answers []answer) {
	odd := make(map[string]int)
	var example answer
	for _, a := range answers {
		known := a.ok() || a.wait && (a.status == http.StatusServiceUnavailable || a.status == http.StatusConflict)
		if !known {
			odd[a.what]++
			example = a
		}
	}
	if len(odd) > 0 {
		d.result.breaks("calls were answered otherwise than by 200, or 503 with Retry-After: %v; the last: %v", odd, example)
	}
}

// watchReady asks a server whether it is ready, ten times a second.
func (d *drill) watchReady(ctx context.Context, b *backend, what, base string) *watch {
	return watching(ctx, 100*time.Millisecond, func(ctx context.Context, _ int) answer {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return b.call(ctx, what, http.MethodGet, base+"/readyz", nil)
	})
}

// waitReady wants /readyz to say 200 within limit, and reports after how long
// it did.
func (d *drill) waitReady(ctx context.Context, b *backend, what, base string, limit time.Duration) time.Duration {
	began := time.Now()
	for {
		a := b.call(ctx, what, http.MethodGet, base+"/readyz", nil)
		took := time.Since(began)
		if a.ok() {
			return took
		}
		if took > limit || pause(ctx, 100*time.Millisecond) != nil {
			d.result.breaks("%s is not ready after %v: %v", what, took.Round(time.Millisecond), a)
			return took
		}
	}
}

// watchPosts posts to users who are away, to each API server in turn. make
// makes the n-th notification.
func (d *drill) watchPosts(ctx context.Context, b *backend, what string, every time.Duration, makePost func(n int) post) *watch {
	return watching(ctx, every, func(ctx context.Context, n int) answer {
		return d.notify(ctx, b, what, n, makePost(n))
	})
}

// awayPost names one user who never connects.
func awayPost(n int) post { return post{Users: []hub.UserID{hub.UserID(fmt.Sprintf("absent%d", n))}} }

// namedPost is awayPost with an id.
func namedPost(n int) post {
	p := awayPost(n)
	p.ID = fmt.Sprintf("named-%d", n)
	return p
}

// newcomers connects a new player every 100 ms.
func (d *drill) newcomers(ctx context.Context) *watch {
	return watching(ctx, 100*time.Millisecond, func(ctx context.Context, n int) answer {
		return d.connect(ctx, fmt.Sprintf("newcomer%d", n))
	})
}

// connect connects one player and leaves again.
func (d *drill) connect(ctx context.Context, user string) answer {
	a := answer{what: "connect", at: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := dialAs(ctx, d.stack.Front.URL(), d.stack.Access.Secret(), &device{user: hub.UserID(user)})
	a.took, a.err = time.Since(a.at), err
	if err == nil {
		a.status = http.StatusOK
		_ = c.Close() // the player leaves, however
	}
	return a
}
