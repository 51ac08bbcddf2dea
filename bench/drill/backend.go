package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/homing/homing/hub"
)

// backend is a game backend of the scenarios' own, beside the senders: it calls
// servers over HTTP, one call at a time or many. Close it.
type backend struct {
	key  string
	apis []string // base URLs of the API servers
	http http.Client
}

// callTimeout is how long a caller waits for an answer.
const callTimeout = 5 * time.Second

func newBackend(key string, apis []string) *backend {
	return &backend{key: key, apis: apis, http: http.Client{Timeout: callTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
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
func (b *backend) notify(ctx context.Context, what string, api int, p post) answer {
	p.Type = "drill"
	return b.call(ctx, what, http.MethodPost, b.apis[api%len(b.apis)]+"/notify", p)
}

// watchPosts posts to users who are away, to each API server in turn. makePost
// makes the n-th notification.
func (b *backend) watchPosts(ctx context.Context, what string, every time.Duration, makePost func(n int) post) *watch {
	return watching(ctx, every, func(ctx context.Context, n int) answer {
		return b.notify(ctx, what, n, makePost(n))
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

func storePost(n int) post {
	p := awayPost(n)
	p.Store = keepFor
	return p
}
