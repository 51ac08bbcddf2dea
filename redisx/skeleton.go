package redisx

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrUnavailable marks a failure to reach Redis: trying again later may work.
	ErrUnavailable = errors.New("redis unavailable")
	// ErrNoMaster marks that a shard has no reachable master now. Errors that
	// wrap it wrap ErrUnavailable too.
	ErrNoMaster = errors.New("no reachable master")
)

type Redis struct{ Data, PubSub, Inbox *Role }

func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Redis, error) {
	return nil, errors.ErrUnsupported
}

func (r *Redis) Run(ctx context.Context) error       { return errors.ErrUnsupported }
func (r *Redis) WaitReady(ctx context.Context) error { return errors.ErrUnsupported }

type Role struct{}

func (ro *Role) Shards() []*Shard        { return nil }
func (ro *Role) Shard(key string) *Shard { return nil }

type Shard struct{}

type Node struct {
	Addr     string
	Role     string
	Healthy  bool
	LagBytes int64
	Lag      time.Duration
}

func (s *Shard) Name() string                   { return "" }
func (s *Shard) Master() (*redis.Client, error) { return nil, ErrNoMaster }
func (s *Shard) Read(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	return ErrNoMaster
}
func (s *Shard) Write(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	return ErrNoMaster
}
func (s *Shard) Epoch() uint64            { return 0 }
func (s *Shard) Changed() <-chan struct{} { return nil }
func (s *Shard) Stable() time.Duration    { return 0 }
func (s *Shard) Nodes() []Node            { return nil }

type Handler func(shard int, channel string, payload []byte)

type Subscriber struct{}

func NewSubscriber(role *Role, channels []string, h Handler, log *slog.Logger, reg prometheus.Registerer) *Subscriber {
	return &Subscriber{}
}
func (s *Subscriber) Run(ctx context.Context) error       { return errors.ErrUnsupported }
func (s *Subscriber) Ready() bool                         { return false }
func (s *Subscriber) WaitReady(ctx context.Context) error { return errors.ErrUnsupported }
func (s *Subscriber) Nodes() []string                     { return nil }
