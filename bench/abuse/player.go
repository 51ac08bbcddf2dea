package abuse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// Enter connects as a player and returns once hello was read.
func Enter(ctx context.Context, dialer net.Dialer, front, token string) (net.Conn, error) {
	d := ws.Dialer{
		NetDial:   dialer.DialContext,
		Protocols: []string{"homing.v1", "bearer." + token},
		Timeout:   patience,
	}
	conn, buffered, _, err := d.Dial(ctx, "ws://"+front+"/ws")
	if err != nil {
		return nil, fmt.Errorf("connect a player: %w", err)
	}
	var from io.Reader = conn
	if buffered != nil { // hello came with the answer
		from = io.MultiReader(buffered, conn)
	}
	if err := greeted(conn, from); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func greeted(conn net.Conn, from io.Reader) error {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("wait for hello: %w", err)
	}
	op, payload, err := readFrame(from)
	if err != nil {
		return fmt.Errorf("wait for hello: %w", err)
	}
	if op != ws.OpText {
		code, reason := ws.ParseCloseFrameData(payload)
		return fmt.Errorf("wait for hello: %w", wsutil.ClosedError{Code: code, Reason: reason})
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("wait for hello: %w", err)
	}
	return nil
}

// readFrame reads one frame; the longest is that of a notification.
func readFrame(from io.Reader) (op ws.OpCode, payload []byte, err error) {
	const longest = 1 << 20
	h, err := ws.ReadHeader(from)
	if err == nil && h.Length > longest {
		err = ws.ErrHeaderLengthUnexpected
	}
	if err == nil {
		payload = make([]byte, h.Length)
		_, err = io.ReadFull(from, payload)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read a frame: %w", err)
	}
	return h.OpCode, payload, nil
}

// enter is Enter as the attack's player; what it met is counted.
func (a *attack) enter(ctx context.Context) net.Conn {
	conn, err := Enter(ctx, a.dialer, a.Front, a.Token)
	var refused ws.StatusError
	var closed wsutil.ClosedError
	switch {
	case err == nil:
		a.count("let in")
		return conn
	case errors.As(err, &refused):
		a.count(status(int(refused)))
	case errors.As(err, &closed):
		a.count(fmt.Sprintf("closed %d", closed.Code))
	default:
		a.fail(ctx, err)
	}
	return nil
}

// text is a masked frame, ready to be sent as often as wanted.
func text(payload string) []byte {
	frame, err := ws.CompileFrame(ws.MaskFrameInPlace(ws.NewTextFrame([]byte(payload))))
	if err != nil {
		panic(err) // into memory nothing fails
	}
	return frame
}

// spam sends a frame so many times a second, on one connection after another:
// when it is closed it comes again.
func (a *attack) spam(ctx context.Context, frame []byte, perSecond float64) {
	for ctx.Err() == nil {
		conn := a.enter(ctx)
		if conn == nil {
			pause(ctx, 100*time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		go a.listen(ctx, conn)
		a.send(ctx, conn, frame, perSecond)
		stop()
		conn.Close()
	}
}

func (a *attack) send(ctx context.Context, conn net.Conn, frame []byte, perSecond float64) {
	start := time.Now()
	for n := 1; ctx.Err() == nil; n++ {
		if _, err := conn.Write(frame); err != nil {
			return
		}
		a.count("messages sent")
		pause(ctx, time.Until(start.Add(time.Duration(float64(n)/perSecond*float64(time.Second)))))
	}
}

// listen reads and forgets, and notes how the connection is closed.
func (a *attack) listen(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	for {
		op, payload, err := readFrame(conn)
		switch {
		case err != nil:
			a.fail(ctx, err)
			return
		case op == ws.OpClose:
			code, _ := ws.ParseCloseFrameData(payload)
			a.count(fmt.Sprintf("closed %d", code))
			return
		}
	}
}

// fillInbox stores as much for the player as is kept.
func fillInbox(ctx context.Context, a *attack) error {
	const kept, size = 200, 1100
	for i := range kept {
		body := map[string]any{"users": []string{a.User}, "data": strings.Repeat("x", size), "store": "1h", "id": fmt.Sprint("abuse-", a.User, "-", i)}
		code, err := a.post(ctx, "/notify", body)
		if err == nil && code == http.StatusTooManyRequests {
			pause(ctx, time.Second)
			continue
		}
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("fill the player's inbox: HTTP %d, %w", code, err)
		}
	}
	return nil
}

func acks(ctx context.Context, a *attack) {
	const most = 256
	var ids []string
	for i := range most {
		ids = append(ids, fmt.Sprint("no-such-", i))
	}
	list, _ := json.Marshal(ids) // strings always marshal
	a.spam(ctx, text(`{"t":"ack","ref":1,"ids":`+string(list)+`}`), 100)
}

func bigMessages(ctx context.Context, a *attack) {
	a.spam(ctx, text(`{"t":"ack","ids":["`+strings.Repeat(`","`, 21_800)+`"]}`), 95)
}

func pings(ctx context.Context, a *attack) {
	a.spam(ctx, text(`{"t":"ping","ref":"`+strings.Repeat("x", 100)+`"}`), 100)
}

func replays(ctx context.Context, a *attack) {
	unread := &held{most: 256}
	defer unread.close()
	ask := text(`{"t":"resume","ref":1}`)
	a.repeat(ctx, 50, func(ctx context.Context) {
		conn := a.enter(ctx)
		if conn == nil {
			return
		}
		if _, err := conn.Write(ask); err != nil {
			a.fail(ctx, err)
		}
		unread.add(conn)
	})
}

func connections(ctx context.Context, a *attack) {
	open := &held{most: 2000}
	defer open.close()
	a.repeat(ctx, 200, func(ctx context.Context) {
		if conn := a.enter(ctx); conn != nil {
			open.add(conn)
		}
	})
}

func churn(ctx context.Context, a *attack) {
	a.repeat(ctx, 200, func(ctx context.Context) {
		if conn := a.enter(ctx); conn != nil {
			conn.Close()
		}
	})
}
