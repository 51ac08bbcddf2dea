// Package load calls Homing's REST API as a game backend does: one call at a
// time, or many on a schedule that does not wait for answers.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/homing/homing/hub"
)

// Poster calls one API server. It is safe for concurrent use; Close it.
type Poster struct {
	base, key string
	http      http.Client
}

// NewPoster returns a caller of the API server at base (http://host:port) with
// an API key; empty: none. Each call is given up after timeout.
func NewPoster(base, key string, timeout time.Duration) *Poster {
	return &Poster{base: base, key: key, http: http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
			MaxIdleConnsPerHost: 512,
			IdleConnTimeout:     30 * time.Second,
		},
	}}
}

// Close ends the connections kept for later calls.
func (p *Poster) Close() { p.http.CloseIdleConnections() }

// RefusedError is an answer that is no success.
type RefusedError struct {
	Status int
	Body   string
}

// Error implements error.
func (e *RefusedError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Status, e.Body) }

// Code is the problem's code in the answer; empty: there is none.
func (e *RefusedError) Code() string {
	var problem struct {
		Code string `json:"code"`
	}
	if json.Unmarshal([]byte(e.Body), &problem) != nil {
		return ""
	}
	return problem.Code
}

// Notify posts the JSON of one notification. The notification was accepted
// when the error is nil, and refused when it is a *RefusedError; after another
// error nobody knows.
func (p *Poster) Notify(ctx context.Context, body []byte) (hub.Summary, error) {
	var s hub.Summary
	err := p.call(ctx, http.MethodPost, "/notify", body, &s)
	return s, err
}

// NotifyInto is Notify with the answer's JSON read into reply, and with every
// target's fate in it if perUser is set.
func (p *Poster) NotifyInto(ctx context.Context, body []byte, perUser bool, reply any) error {
	path := "/notify"
	if perUser {
		path += "?per_user=1"
	}
	return p.call(ctx, http.MethodPost, path, body, reply)
}

// Broadcast posts the JSON of one broadcast, to everyone who is online. The
// error is as that of Notify.
func (p *Poster) Broadcast(ctx context.Context, body []byte) (hub.Summary, error) {
	var s hub.Summary
	err := p.call(ctx, http.MethodPost, "/broadcast", body, &s)
	return s, err
}

// Presence is what the API says about one user.
type Presence struct {
	User        hub.UserID `json:"user"`
	Online      bool       `json:"online"`
	Connections int        `json:"connections"`
}

// Presence asks where users are connected, in their order.
func (p *Poster) Presence(ctx context.Context, users []hub.UserID) ([]Presence, error) {
	body, err := json.Marshal(map[string]any{"users": users})
	if err != nil {
		return nil, fmt.Errorf("ask for presence: %w", err)
	}
	var reply struct {
		Users []Presence `json:"users"`
	}
	err = p.call(ctx, http.MethodPost, "/users/query", body, &reply)
	return reply.Users, err
}

// Nodes reads all nodes of the fleet into reply.
func (p *Poster) Nodes(ctx context.Context, reply any) error {
	return p.call(ctx, http.MethodGet, "/nodes", nil, reply)
}

// Assign posts the JSON of a request for a node, and returns the node and the ticket.
func (p *Poster) Assign(ctx context.Context, body []byte) (node, ticket string, err error) {
	var reply struct {
		Node   string `json:"node"`
		Ticket string `json:"ticket"`
	}
	err = p.call(ctx, http.MethodPost, "/nodes/assign", body, &reply)
	return reply.Node, reply.Ticket, err
}

// OpenRoom posts the JSON of a game room, and reads the answer's into reply.
func (p *Poster) OpenRoom(ctx context.Context, body []byte, reply any) error {
	return p.call(ctx, http.MethodPost, "/rooms", body, reply)
}

// CloseRoom ends a game room.
func (p *Poster) CloseRoom(ctx context.Context, id string) error {
	return p.call(ctx, http.MethodDelete, "/rooms/"+url.PathEscape(id), nil, nil)
}

// call makes one call. reply may be nil: what the answer holds is of no interest.
func (p *Poster) call(ctx context.Context, method, path string, body []byte, reply any) error {
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if p.key != "" {
		req.Header.Set("Authorization", "Bearer "+p.key)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return fmt.Errorf("call %s: read the answer: %w", path, err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
	default:
		return &RefusedError{Status: resp.StatusCode, Body: string(raw)}
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(raw, reply); err != nil {
		return fmt.Errorf("call %s: answer: %w", path, err)
	}
	return nil
}
