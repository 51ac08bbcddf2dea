package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const patience = 10 * time.Second

// client is one player, on a peer's own protocol.
type client struct {
	conn   net.Conn
	speak  dialect
	unread []string // messages that came in one frame with one that was read
}

// dialect is the little that the tests need of a protocol.
type dialect struct {
	query   string
	connect func(token string) []string     // what to say, each after a message read
	welcome func(msg string) error          // the answer to the last of these
	payload func(msg string) (string, bool) // of a notification
	ping    map[string]string               // and its answer
}

var dialects = map[string]dialect{
	"socketio": {
		query:   "?EIO=4&transport=websocket",
		connect: func(token string) []string { return []string{"", fmt.Sprintf(`40{"token":%q}`, token)} },
		welcome: func(msg string) error { return want(msg, `40{"sid":`) },
		payload: func(msg string) (string, bool) {
			text, ok := strings.CutPrefix(msg, `42["notify",`)
			return strings.TrimSuffix(text, "]"), ok
		},
		ping: map[string]string{"2": "3"},
	},
	"centrifuge": {
		connect: func(token string) []string { return []string{fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, token)} },
		welcome: func(msg string) error { return want(msg, `{"id":1,"connect":{`) },
		payload: func(msg string) (string, bool) {
			var push struct {
				Push struct {
					Pub struct{ Data json.RawMessage }
				}
			}
			err := json.Unmarshal([]byte(msg), &push)
			return string(push.Push.Pub.Data), err == nil && len(push.Push.Pub.Data) > 0
		},
		ping: map[string]string{"{}": "{}"},
	},
}

func want(msg, prefix string) error {
	if !strings.HasPrefix(msg, prefix) {
		return fmt.Errorf("refused: %s", msg)
	}
	return nil
}

func dial(t *testing.T, s *System, front, user string) *client {
	t.Helper()
	c, err := connect(t.Context(), s, front, token(t, user, s.Secret(), time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	return c
}

// connect returns when the front has welcomed the player.
func connect(ctx context.Context, s *System, front, token string) (*client, error) {
	c := &client{speak: dialects[s.Dialect()]}
	conn, buffered, _, err := ws.Dial(ctx, front+c.speak.query)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	if buffered != nil { // the server spoke with its answer
		c.conn = readConn{conn, buffered}
	}
	if err := c.enter(token); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// readConn is a connection whose first bytes have been read.
type readConn struct {
	net.Conn
	from io.Reader
}

func (c readConn) Read(p []byte) (int, error) { return c.from.Read(p) }

func (c *client) enter(token string) error {
	var msg string
	for _, line := range c.speak.connect(token) {
		if line != "" {
			if err := wsutil.WriteClientText(c.conn, []byte(line)); err != nil {
				return err
			}
		}
		var err error
		if msg, err = c.read(); err != nil {
			return err
		}
	}
	return c.speak.welcome(msg)
}

// read returns the next message that is no ping. A peer may put several into
// one frame, a line each.
func (c *client) read() (string, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	for {
		if len(c.unread) == 0 {
			raw, err := wsutil.ReadServerText(c.conn)
			if err != nil {
				return "", err
			}
			c.unread = strings.Split(string(raw), "\n")
		}
		msg := c.unread[0]
		c.unread = c.unread[1:]
		answer, ping := c.speak.ping[msg]
		if !ping {
			return msg, nil
		}
		if err := wsutil.WriteClientText(c.conn, []byte(answer)); err != nil {
			return "", err
		}
	}
}

// message is a notification as the tests send it.
type message struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Data struct {
		N int `json:"n"`
	} `json:"data"`
}

// readUntil returns all notifications up to the one with the id last.
func (c *client) readUntil(t *testing.T, last string) (got []message) {
	t.Helper()
	for len(got) == 0 || got[len(got)-1].ID != last {
		m, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m)
	}
	return got
}

func (c *client) next() (m message, err error) {
	text, err := c.read()
	if err != nil {
		return m, err
	}
	payload, ok := c.speak.payload(text)
	if !ok {
		return m, errors.New("unexpected: " + text)
	}
	return m, json.Unmarshal([]byte(payload), &m)
}
