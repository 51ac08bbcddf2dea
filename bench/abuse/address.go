package abuse

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// upgrade asks for a WebSocket and proves nothing.
const upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// knock opens a connection and says something.
func (a *attack) knock(ctx context.Context, to string, say []byte) net.Conn {
	conn, err := a.dialer.DialContext(ctx, "tcp", to)
	if err != nil {
		a.fail(ctx, err)
		return nil
	}
	a.count("opened")
	if _, err := conn.Write(say); err != nil {
		a.fail(ctx, err)
	}
	return conn
}

func anonymous(ctx context.Context, a *attack) {
	a.repeat(ctx, 1600, func(ctx context.Context) {
		if conn := a.knock(ctx, a.Front, []byte(upgrade)); conn != nil {
			conn.Close()
		}
	})
}

func silent(ctx context.Context, a *attack) {
	open := &held{most: 2000}
	defer open.close()
	a.repeat(ctx, 250, func(ctx context.Context) {
		if conn := a.knock(ctx, a.Front, nil); conn != nil {
			open.add(conn)
		}
	})
}

func trickle(ctx context.Context, a *attack) {
	open := &held{most: 1000}
	defer open.close()
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			for _, c := range open.all() {
				_ = c.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = c.Write([]byte{upgrade[n%len(upgrade)]}) // one that was closed makes room for another
			}
			pause(ctx, time.Second)
		}
	}()
	a.repeat(ctx, 200, func(ctx context.Context) {
		if conn := a.knock(ctx, a.Front, []byte("G")); conn != nil {
			open.add(conn)
		}
	})
}

func hellos(ctx context.Context, a *attack) {
	hello, err := clientHello(ctx)
	if err != nil {
		a.fail(ctx, err)
		return
	}
	open := &held{most: 2000}
	defer open.close()
	a.repeat(ctx, 500, func(ctx context.Context) {
		if conn := a.knock(ctx, a.TLS, hello); conn != nil {
			open.add(conn)
		}
	})
}

// clientHello is what a TLS client says first.
func clientHello(ctx context.Context) ([]byte, error) {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		_ = tls.Client(there, &tls.Config{ServerName: "front.example.com", MinVersion: tls.VersionTLS13}).HandshakeContext(ctx) // nobody answers
		there.Close()
	}()
	record := make([]byte, 4096)
	n, err := here.Read(record)
	if err != nil {
		return nil, fmt.Errorf("say hello to nobody: %w", err)
	}
	return record[:n], nil
}

func keyless(ctx context.Context, a *attack) {
	body := strings.Repeat("x", 1<<20)
	a.repeat(ctx, 200, func(ctx context.Context) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.API+"/notify", strings.NewReader(body))
		if err != nil {
			a.fail(ctx, err)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := a.http.Do(req)
		if err != nil {
			a.fail(ctx, err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body) // only the status counts
		resp.Body.Close()
		a.count(status(resp.StatusCode))
	})
}
