package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/homing/homing/hub/fleet"
)

// User is whom probes connect as, unless they are given a token of their own. No player
// may have that name.
const User = "homing:probe"

// Subprotocols of the handshake: what is spoken, and the token.
const (
	subprotocol  = "homing.v1"
	bearerPrefix = "bearer."
)

const (
	// maxMessages and maxMessage bound what is read until the answer comes: a hello, and
	// whatever is sent to the probe's user meanwhile.
	maxMessages = 64
	maxMessage  = 64 << 10
	// maxRefusal bounds what is read of a refusal.
	maxRefusal = 4 << 10
	// labelScheme is the label of a node that says whether it speaks TLS.
	labelScheme = "scheme"
)

// dialer makes probes.
type dialer struct {
	path   string
	tls    bool
	origin string
	config *tls.Config
	token  func() (string, error)
}

// address is where a node's WebSocket is.
func (d *dialer) address(n *fleet.Node) *url.URL {
	u := &url.URL{Scheme: "ws", Host: n.Endpoint, Path: d.path}
	if d.tls {
		u.Scheme = "wss"
	}
	if s := n.Labels[labelScheme]; s == "ws" || s == "wss" {
		u.Scheme = s
	}
	if strings.Count(u.Host, ":") > 1 && !strings.HasPrefix(u.Host, "[") {
		u.Host = "[" + u.Host + "]" // an address of IPv6 without a port
	}
	return u
}

// refusal is an answer that is no WebSocket.
type refusal struct {
	status int
	code   string // of a problem document; empty: there is none
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("HTTP %d", r.status)
	if r.code != "" {
		text += " " + r.code
	}
	return text
}

// turnsAway lists codes with which a node that is well refuses clients.
var turnsAway = map[string]bool{"draining": true, "crowded": true}

// probe connects to a node, asks for an answer, and leaves.
func (d *dialer) probe(ctx context.Context, n *fleet.Node) (Outcome, string) {
	err := d.try(ctx, n)
	r, refused := errors.AsType[*refusal](err)
	switch {
	case err == nil:
		return Answered, ""
	case errors.Is(err, errToken):
		return Void, err.Error()
	case refused && (turnsAway[r.code] || r.status == http.StatusTooManyRequests):
		return TurnedAway, r.Error()
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return Failed, "no answer in time at " + n.Endpoint
	}
	return Failed, fmt.Sprintf("%s: %v", n.Endpoint, err)
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// errToken marks a token that cannot be had: no node is to blame.
var errToken = errors.New("no token")

func (d *dialer) try(ctx context.Context, n *fleet.Node) error {
	token, err := d.token()
	if err != nil {
		return fmt.Errorf("%w: %w", errToken, err)
	}
	refused := &refusal{}
	h := ws.Dialer{
		Protocols: []string{subprotocol, bearerPrefix + token},
		TLSConfig: d.config,
		OnStatusError: func(status int, _ []byte, resp io.Reader) {
			refused.status, refused.code = status, problemCode(resp)
		},
	}
	if d.origin != "" {
		h.Header = ws.HandshakeHeaderHTTP{"Origin": {d.origin}}
	}
	conn, early, _, err := h.Dial(ctx, d.address(n).String())
	if err != nil {
		if refused.status != 0 {
			return refused
		}
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var r io.Reader = conn
	if early != nil {
		defer ws.PutReader(early)
		r = early // it reads on from conn when what came early is over
	}
	return ask(conn, r)
}

// problemCode is the code of a problem document, if resp is a response with one. It
// reads no further: a connection that is kept alive does not end.
func problemCode(resp io.Reader) string {
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(resp, maxRefusal)), nil)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	var problem struct{ Code string }
	_ = json.NewDecoder(answer.Body).Decode(&problem) // no problem document has no code
	return problem.Code
}

// echo is what is asked, and echoRef what the answer has of it.
const (
	echo    = `{"t":"ping","ref":"probe"}`
	echoRef = "probe"
)

// ask has a message answered over a connection, and says goodbye.
func ask(w io.Writer, r io.Reader) error {
	asked := ws.WriteFrame(w, ws.MaskFrame(ws.NewTextFrame([]byte(echo)))) // if it fails, what the node has said may say why
	for range maxMessages {
		head, err := ws.ReadHeader(r)
		if err != nil {
			return fmt.Errorf("wait for the answer: %w", errors.Join(asked, err))
		}
		if head.Length > maxMessage {
			return fmt.Errorf("a message of %d bytes, and no answer", head.Length)
		}
		payload := make([]byte, head.Length)
		if _, err := io.ReadFull(r, payload); err != nil {
			return fmt.Errorf("wait for the answer: %w", err)
		}
		if head.OpCode == ws.OpClose {
			code, reason := ws.ParseCloseFrameData(payload)
			return fmt.Errorf("closed with %d %s", code, reason)
		}
		if head.OpCode == ws.OpText && isAnswer(payload) {
			// Without a goodbye it would count as one that was lost.
			_ = ws.WriteFrame(w, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))))
			return nil
		}
	}
	return fmt.Errorf("%d messages, and no answer", maxMessages)
}

func isAnswer(text []byte) bool {
	var m struct {
		T   string `json:"t"`
		Ref string `json:"ref"`
	}
	return json.Unmarshal(text, &m) == nil && m.T == "ok" && m.Ref == echoRef
}
