package abuse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// post calls the API with the attack's key and returns the status.
func (a *attack) post(ctx context.Context, path string, body any) (int, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, fmt.Errorf("call %s: %w", path, err)
	}
	return a.postRaw(ctx, path, raw)
}

func (a *attack) postRaw(ctx context.Context, path string, raw []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.API+path, bytes.NewReader(raw))
	if err != nil {
		return 0, fmt.Errorf("call %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if a.Key != "" {
		req.Header.Set("Authorization", "Bearer "+a.Key)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("call %s: %w", path, err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err //nolint:wrapcheck // only counted
}

// call posts and counts what was answered.
func (a *attack) call(ctx context.Context, path string, raw []byte) {
	code, err := a.postRaw(ctx, path, raw)
	if err != nil {
		a.fail(ctx, err)
		return
	}
	a.count(status(code))
}

// absent names n users who never come; no two lists share one.
func absent(list, n, length int) []string {
	users := make([]string, n)
	for i := range users {
		u := fmt.Sprintf("absent-%d-%d-", list, i)
		users[i] = u + strings.Repeat("x", max(0, length-len(u)))
	}
	return users
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings and numbers always marshal
	}
	return raw
}

func store(ctx context.Context, a *attack) {
	var n atomic.Int64
	data := strings.Repeat("x", 2000)
	a.repeat(ctx, 50, func(ctx context.Context) {
		a.call(ctx, "/notify", mustJSON(map[string]any{"users": absent(int(n.Add(1)), 200, 0), "data": data, "store": "168h"}))
	})
}

func replies(ctx context.Context, a *attack) {
	users, _ := json.Marshal(absent(0, 10_000, 128)) // strings always marshal
	var n atomic.Int64
	a.repeat(ctx, 20, func(ctx context.Context) {
		body := fmt.Appendf(nil, `{"users":%s,"data":1,"wait":"1ms","id":"large-%d"}`, users, n.Add(1))
		a.call(ctx, "/notify?per_user=1", body)
	})
}

func large(ctx context.Context, a *attack) {
	body := mustJSON(map[string]any{"users": absent(0, 10_000, 0), "data": strings.Repeat("x", 32<<10)})
	a.repeat(ctx, 20, func(ctx context.Context) { a.call(ctx, "/notify", body) })
}

func presence(ctx context.Context, a *attack) {
	body := mustJSON(map[string]any{"users": absent(0, 10_000, 0)})
	a.repeat(ctx, 50, func(ctx context.Context) { a.call(ctx, "/users/query", body) })
}

// batches holds batches open, and opens others for those that are ended.
func batches(ctx context.Context, a *attack) {
	const most = 1024
	slots := make(chan struct{}, most)
	a.repeat(ctx, most/2, func(ctx context.Context) {
		select {
		case slots <- struct{}{}:
		default:
			return // as many as wanted are open
		}
		conn, err := a.openBatch(ctx)
		if err != nil {
			a.fail(ctx, err)
			<-slots
			return
		}
		a.count("opened")
		go func() {
			defer func() { conn.Close(); <-slots }()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			a.readStatus(ctx, conn)
		}()
	})
}

func (a *attack) openBatch(ctx context.Context) (net.Conn, error) {
	base, err := url.Parse(a.API)
	if err != nil {
		return nil, fmt.Errorf("open a batch: %w", err)
	}
	conn, err := a.dialer.DialContext(ctx, "tcp", base.Host)
	if err != nil {
		return nil, fmt.Errorf("open a batch: %w", err)
	}
	_, err = fmt.Fprintf(conn, "POST /notify/batch HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", base.Host, a.Key)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open a batch: %w", err)
	}
	return conn, nil
}

// readStatus waits for an answer and counts its status.
func (a *attack) readStatus(ctx context.Context, conn net.Conn) {
	head := make([]byte, len("HTTP/1.1 429"))
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		a.fail(ctx, err)
		return
	}
	if _, err := io.ReadFull(conn, head); err != nil {
		a.fail(ctx, err)
		return
	}
	a.count("HTTP " + string(head[len("HTTP/1.1 "):]))
	_, _ = io.Copy(io.Discard, conn) // until it is closed, or the attack is over
}
