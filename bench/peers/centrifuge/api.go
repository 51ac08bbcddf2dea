package main

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/centrifugal/centrifuge"
	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"
)

const maxBody = 1 << 20 // bytes

// publishers is how many targets of a request are published to at once. Redis
// sees pipelines: the client joins what several goroutines send.
const publishers = 64

// api answers POST /notify.
func api(node *centrifuge.Node, o options) (http.Handler, error) {
	key, err := os.ReadFile(o.keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the API key: %w", err)
	}
	expected := append([]byte("Bearer "), key...)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /notify", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), expected) != 1 {
			answer(w, http.StatusUnauthorized, map[string]any{"code": "unauthorized"})
			return
		}
		notify(node, w, r)
	})
	return mux, nil
}

// notification is what a player gets.
type notification struct {
	ID   string          `json:"id"`
	Type string          `json:"type,omitempty"`
	Data json.RawMessage `json:"data"`
}

func notify(node *centrifuge.Node, w http.ResponseWriter, r *http.Request) {
	var request struct {
		Users []string        `json:"users"`
		Type  string          `json:"type"`
		Data  json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&request); err != nil || len(request.Users) == 0 {
		answer(w, http.StatusBadRequest, map[string]any{"code": "bad_request", "detail": fmt.Sprint(err)})
		return
	}
	n := notification{ID: ulid.Make().String(), Type: request.Type, Data: request.Data}
	body, err := json.Marshal(n)
	if err == nil {
		err = publish(node, request.Users, body)
	}
	if err != nil {
		answer(w, http.StatusServiceUnavailable, map[string]any{"code": "unavailable", "detail": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]any{"id": n.ID, "targets": len(request.Users)})
}

// publish sends body to the channel of every user, and returns when Redis has
// answered for all.
func publish(node *centrifuge.Node, users []string, body []byte) error {
	var g errgroup.Group
	var next atomic.Int64
	for range min(publishers, len(users)) {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(users)); i = next.Add(1) - 1 {
				if _, err := node.Publish(channel(users[i]), body); err != nil {
					return fmt.Errorf("publish: %w", err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func answer(w http.ResponseWriter, status int, value map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the caller has gone
}
