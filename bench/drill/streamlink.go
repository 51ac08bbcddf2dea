package drill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

// streamLink is an event stream as a link. A client says nothing on it.
type streamLink struct {
	local  net.Addr
	body   io.ReadCloser
	in     *bufio.Reader
	cancel context.CancelFunc
}

// openStream asks the front whose WebSocket URL is given for an event stream, and for
// topics, and reads hello.
func openStream(ctx context.Context, front, token string, topics []hub.Topic) (*streamLink, error) {
	u, err := url.Parse(front)
	if err != nil {
		return nil, err
	}
	query := url.Values{"token": {token}}
	for _, t := range topics {
		query.Add("topic", string(t))
	}
	u.Scheme, u.Path, u.RawQuery = strings.Replace(u.Scheme, "ws", "http", 1), "/events", query.Encode()
	l := &streamLink{}
	ctx, l.cancel = context.WithCancel(ctx)
	late := time.AfterFunc(dialTimeout, l.cancel)
	defer late.Stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { l.local = got.Conn.LocalAddr() }})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req) //nolint:bodyclose // Abort does
	if err != nil {
		l.cancel()
		return nil, err
	}
	l.body, l.in = res.Body, bufio.NewReader(res.Body)
	if res.StatusCode != http.StatusOK {
		_ = l.Abort()
		return nil, &client.RefusedError{Status: res.StatusCode}
	}
	if msg, err := l.Receive(ctx); err != nil || msg.Kind != "hello" {
		_ = l.Abort()
		return nil, fmt.Errorf("hello: %q: %w", msg.Kind, errors.Join(err, ctx.Err()))
	}
	return l, nil
}

func (l *streamLink) LocalAddr() net.Addr { return l.local }

// errMute says that nothing can be said on an event stream.
var errMute = errors.New("an event stream goes one way")

func (l *streamLink) Send([]byte) error { return errMute }

func (l *streamLink) Abort() error {
	l.cancel()
	return l.body.Close()
}

// Receive reads the next event. The word of its end is a *client.CloseError.
func (l *streamLink) Receive(ctx context.Context) (msg client.Message, err error) {
	stop := context.AfterFunc(ctx, l.cancel)
	defer stop()
	for msg.Kind == "" {
		line, err := l.in.ReadBytes('\n')
		if err != nil {
			return client.Message{}, err
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			if msg, err = readStreamed(bytes.TrimSpace(data)); err != nil {
				return client.Message{}, err
			}
		}
	}
	return msg, nil
}

// readStreamed reads the data of one event: a message of homing.v1.
func readStreamed(data []byte) (client.Message, error) {
	var of struct {
		T     string `json:"t"`
		After int64  `json:"after_ms"`
		Code  json.RawMessage
	}
	msg := client.Message{Raw: data}
	if err := json.Unmarshal(data, &of); err != nil {
		return msg, fmt.Errorf("%w: %w", client.ErrProtocol, err)
	}
	switch msg.Kind = of.T; of.T {
	case "notify":
		msg.Notification = &client.Notification{}
		return msg, json.Unmarshal(data, msg.Notification)
	case "error":
		msg.Error = &client.ServerError{}
		return msg, json.Unmarshal(data, msg.Error)
	case "reconnect":
		msg.Reconnect = &client.Reconnect{After: time.Duration(of.After) * time.Millisecond}
	case "closing":
		end := &client.CloseError{}
		_ = json.Unmarshal(of.Code, &end.Code) // none: 0
		return msg, end
	}
	return msg, nil
}
