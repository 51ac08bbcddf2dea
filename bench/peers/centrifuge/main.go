// Command peer is a minimal server on the centrifuge library, for Homing's
// benchmarks: "peer front" holds players' connections, "peer api" answers
// POST /notify. They meet in Redis.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/centrifugal/centrifuge"
)

const (
	redisTimeout = 10 * time.Second
	stopTimeout  = 10 * time.Second
)

// options are those of both roles.
type options struct {
	port       int
	redis      string // host:port
	secretFile string // front: the secret that signs players' tokens
	keyFile    string // api: the key that callers give
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("want a role: front or api")
	}
	var o options
	flags := flag.NewFlagSet("peer "+args[0], flag.ContinueOnError)
	flags.IntVar(&o.port, "port", 0, "port to listen on")
	flags.StringVar(&o.redis, "redis", "127.0.0.1:6379", "Redis, host:port")
	flags.StringVar(&o.secretFile, "secret-file", "", "front: file with the secret of players' tokens")
	flags.StringVar(&o.keyFile, "key-file", "", "api: file with the key that callers give")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	handlers := map[string]func(*centrifuge.Node, options) (http.Handler, error){"front": front, "api": api}
	handler := handlers[args[0]]
	if handler == nil {
		return fmt.Errorf("role %q: want front or api", args[0])
	}
	return serve(o, handler)
}

// serve runs a node and its HTTP server until the process is asked to end.
func serve(o options, handler func(*centrifuge.Node, options) (http.Handler, error)) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	node, err := newNode(o.redis)
	if err != nil {
		return err
	}
	h, err := handler(node, o)
	if err != nil {
		return err
	}
	if err := node.Run(); err != nil {
		return fmt.Errorf("run the node: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	server := &http.Server{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)), Handler: mux, ReadHeaderTimeout: 10 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return fmt.Errorf("listen: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return errors.Join(server.Close(), node.Shutdown(ctx))
}

// newNode returns a node on Redis that does not run yet.
func newNode(redis string) (*centrifuge.Node, error) {
	node, err := centrifuge.New(centrifuge.Config{
		LogLevel:   centrifuge.LogLevelError,
		LogHandler: func(e centrifuge.LogEntry) { fmt.Fprintln(os.Stderr, e.Message, e.Fields) },
	})
	if err != nil {
		return nil, fmt.Errorf("make a node: %w", err)
	}
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{
		Address: redis, ConnectTimeout: redisTimeout, IOTimeout: redisTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to Redis: %w", err)
	}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{
		Prefix: "peer", Shards: []*centrifuge.RedisShard{shard},
	})
	if err != nil {
		return nil, fmt.Errorf("make a broker on Redis: %w", err)
	}
	node.SetBroker(broker)
	return node, nil
}

// channel is the personal channel of a user.
func channel(user string) string { return "u:" + user }
