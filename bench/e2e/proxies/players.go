package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/client/go"
)

// player is one connection: listen returns when it has heard the notification, and
// connected is called once it is registered.
type player struct {
	name   string
	listen func(ctx context.Context, at dialer, token string, connected func()) error
}

// dialer says where a player connects, and from which address.
type dialer struct {
	addr string
	from string // empty: any
}

func (d dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nd := new(net.Dialer)
	if d.from != "" {
		nd.LocalAddr = &net.TCPAddr{IP: net.ParseIP(d.from)}
	}
	return nd.DialContext(ctx, network, addr)
}

var trusting = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // a certificate that nobody signed, on loopback

func (d dialer) http() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: d.dial, TLSClientConfig: trusting, ForceAttemptHTTP2: false}}
}

var kinds = []player{{name: "WebSocket", listen: webSocket}, {name: "SSE", listen: events}, {name: "polling", listen: polling}}

// heardFor is how long after the idle time a notification may take.
const heardFor = 20 * time.Second

// crowd is the players that are held.
type crowd struct {
	say   func(format string, args ...any)
	users []string
	ready chan struct{}
	ends  chan ending
	ended int
	errs  []error
}

// ending is the end of one player: without an error it has heard the notification.
type ending struct {
	name string
	err  error
}

// holdAll has a player of each kind behind each proxy, idle for so long.
func (s *site) holdAll(ctx context.Context, hold time.Duration, say func(format string, args ...any)) error {
	ctx, cancel := context.WithTimeout(ctx, hold+2*time.Minute)
	defer cancel()
	c := &crowd{say: say, ready: make(chan struct{}), ends: make(chan ending)}
	for i, at := range s.ends {
		for j, p := range kinds {
			user := fmt.Sprintf("player-%d-%d", i, j)
			c.users = append(c.users, user)
			go func() { c.ends <- ending{at.name + ", " + p.name, s.one(ctx, p, dialer{addr: at.addr}, user, c.ready)} }()
		}
	}
	c.hold(hold)
	if err := s.notify(ctx, c.users); err != nil {
		c.errs = append(c.errs, err)
	}
	defer time.AfterFunc(heardFor, cancel).Stop()
	for c.ended < len(c.users) {
		select {
		case <-c.ready: // it was late
		case e := <-c.ends:
			c.take(e)
		}
	}
	return errors.Join(c.errs...)
}

// hold returns when all are connected and have been idle for so long. Whoever ends
// before is told of.
func (c *crowd) hold(d time.Duration) {
	var late <-chan time.Time
	for open := 0; ; {
		if late == nil && open+c.ended == len(c.users) {
			c.say("%d players are connected; they are idle for %v", open, d)
			late = time.After(d)
		}
		select {
		case <-c.ready:
			open++
		case <-late:
			return
		case e := <-c.ends:
			if e.err == nil {
				e.err = errors.New("it has heard what nobody sent")
			}
			c.take(e)
			if c.ended == len(c.users) {
				return
			}
		}
	}
}

func (c *crowd) take(e ending) {
	c.ended++
	if e.err == nil {
		c.say("ok    %s", e.name)
		return
	}
	c.errs = append(c.errs, fmt.Errorf("%s: %w", e.name, e.err))
	c.say("FAIL  %s: %v", e.name, e.err)
}

func (s *site) one(ctx context.Context, p player, at dialer, user string, ready chan<- struct{}) error {
	token, err := clients.Token(s.stack.Access.Secret(), user, "")
	if err != nil {
		return err
	}
	return p.listen(ctx, at, token, func() {
		select {
		case ready <- struct{}{}:
		case <-ctx.Done():
		}
	})
}

func (s *site) notify(ctx context.Context, users []string) error {
	p := load.NewPoster(s.stack.API.URLs()[0], s.stack.Access.Key(), 10*time.Second)
	defer p.Close()
	list, _ := json.Marshal(users) // strings always marshal
	_, err := p.Notify(ctx, fmt.Appendf(nil, `{"users":%s,"type":"wake","data":1}`, list))
	return err
}

func webSocket(ctx context.Context, at dialer, token string, connected func()) error {
	c, err := client.Dial(ctx, client.Options{URL: "wss://" + at.addr + "/ws", Token: client.StaticToken(token), TLS: trusting, NetDial: at.dial})
	if err != nil {
		return err
	}
	defer c.Close()
	connected()
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		if m.Notification != nil {
			return nil
		}
	}
}

func request(ctx context.Context, method, url, token string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err == nil && token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, err
}

func events(ctx context.Context, at dialer, token string, connected func()) error {
	h := at.http()
	defer h.CloseIdleConnections()
	req, err := request(ctx, http.MethodGet, "https://"+at.addr+"/events", token, nil)
	if err != nil {
		return err
	}
	resp, err := h.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		switch {
		case strings.Contains(lines.Text(), `"t":"hello"`):
			connected()
		case strings.Contains(lines.Text(), `"t":"notify"`):
			return nil
		}
	}
	return fmt.Errorf("the stream has ended: %w", errors.Join(lines.Err(), io.EOF))
}

// polling is Socket.IO over HTTP long-polling, by hand.
func polling(ctx context.Context, at dialer, token string, connected func()) error {
	h := at.http()
	defer h.CloseIdleConnections()
	url := "https://" + at.addr + "/socket.io/?EIO=4&transport=polling"
	text, err := poll(ctx, h, http.MethodGet, url, "")
	if err != nil {
		return err
	}
	var open struct{ Sid string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "0")), &open); err != nil {
		return fmt.Errorf("the handshake is answered with %q: %w", text, err)
	}
	url += "&sid=" + open.Sid
	if _, err := poll(ctx, h, http.MethodPost, url, `40{"token":"`+token+`"}`); err != nil {
		return err
	}
	for {
		text, err := poll(ctx, h, http.MethodGet, url, "")
		if err != nil {
			return err
		}
		for packet := range strings.SplitSeq(text, "\x1e") {
			switch {
			case packet == "2":
				if _, err := poll(ctx, h, http.MethodPost, url, "3"); err != nil {
					return err
				}
			case strings.HasPrefix(packet, `42["hello"`):
				connected()
			case strings.HasPrefix(packet, `42["notify"`):
				return nil
			case packet == "1", strings.HasPrefix(packet, "44"):
				return fmt.Errorf("the session has ended: %s", packet)
			}
		}
	}
}

func poll(ctx context.Context, h *http.Client, method, url, body string) (string, error) {
	req, err := request(ctx, method, url, "", []byte(body))
	if err != nil {
		return "", err
	}
	resp, err := h.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s is answered with HTTP %d %s", method, resp.StatusCode, text)
	}
	return string(text), err
}
