package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/centrifugal/centrifuge"
	"github.com/golang-jwt/jwt/v5"
)

// readBuffer is what the documentation gives for many idle connections; the
// default keeps the 4 KiB of the HTTP server for each.
const readBuffer = 512 // bytes

// front serves players' WebSockets. A player proves who they are in the
// connect command, and is subscribed to their own channel by it.
func front(node *centrifuge.Node, o options) (http.Handler, error) {
	secret, err := os.ReadFile(o.secretFile)
	if err != nil {
		return nil, fmt.Errorf("read the players' secret: %w", err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}))
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		var claims jwt.RegisteredClaims
		_, err := parser.ParseWithClaims(e.Token, &claims, func(*jwt.Token) (any, error) { return secret, nil })
		if err != nil || claims.Subject == "" {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}
		return centrifuge.ConnectReply{
			Credentials: &centrifuge.Credentials{UserID: claims.Subject},
			// Without options: no presence, no history, no recovery.
			Subscriptions: map[string]centrifuge.SubscribeOptions{channel(claims.Subject): {}},
		}, nil
	})
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		ReadBufferSize:     readBuffer,
		UseWriteBufferPool: true, // no write buffer per connection
		CheckOrigin:        func(*http.Request) bool { return true },
	}))
	return mux, nil
}
