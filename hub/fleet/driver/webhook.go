package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/hook/webhook"
)

const (
	// firstPause is between the first two requests of an order; it doubles up to
	// mostPause.
	firstPause = 500 * time.Millisecond
	mostPause  = 15 * time.Second
	// webhookPatience is how long an order is tried, in all. Orders of a controller are
	// made again when they have not come about.
	webhookPatience = 5 * time.Minute
)

// Webhook is a driver that posts orders to a service of the operator's, signed as hooks
// are. A request that fails is repeated with the same webhook-id, by which the service
// tells repeats. 2xx: the order is carried out, or will be.
type Webhook struct {
	endpoint *webhook.Endpoint
	log      *slog.Logger
	first    time.Duration
	patience time.Duration
}

// NewWebhook returns the driver; c must be valid and have a URL. Close it.
func NewWebhook(c webhook.Config, log *slog.Logger) (*Webhook, error) {
	endpoint, err := webhook.New(c, log)
	if err != nil {
		return nil, err
	}
	return &Webhook{endpoint, log, firstPause, webhookPatience}, nil
}

// Close closes idle connections.
func (d *Webhook) Close() { d.endpoint.Close() }

// Name is "webhook".
func (*Webhook) Name() string { return "webhook" }

// Grow posts the order with the type fleet.grow.
func (d *Webhook) Grow(ctx context.Context, o Order) error {
	return d.post(ctx, "fleet.grow", message{Action: actionGrow, Order: o})
}

// Remove posts the order with the type fleet.remove.
func (d *Webhook) Remove(ctx context.Context, o Order, node fleet.Node) error {
	return d.post(ctx, "fleet.remove", message{Action: actionRemove, Order: o, Node: &node})
}

var (
	errGone     = errors.New("the service wants no orders any more")
	errPatience = errors.New("given up")
)

// post tries until the service has taken the order, wants none any more, or ctx ends.
func (d *Webhook) post(ctx context.Context, kind string, m message) error {
	body, err := json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      message   `json:"data"`
	}{kind, time.Now().UTC(), m})
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.patience, errPatience)
	defer cancel()
	var last error // that the service, and not the end of ctx, was the reason of
	for tries := 1; ; tries++ {
		answer := d.endpoint.Post(ctx, orderID(&m), body)
		if last == nil || ctx.Err() == nil {
			last = answer.Err
		}
		switch answer.Verdict {
		case hook.Delivered:
			return nil
		case hook.Gone:
			return fmt.Errorf("webhook: %w: %w", errGone, answer.Err)
		case hook.Failed:
		}
		d.log.Warn("driver: the service does not take an order", "order", m.ID, "tries", tries, "err", answer.Err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("webhook: %w after %d tries: %w", context.Cause(ctx), tries, last)
		case <-time.After(max(answer.After, d.pause(tries))):
		}
	}
}

// pause is how long to wait after so many failures, by chance up to half of it less.
func (d *Webhook) pause(tries int) time.Duration {
	p := min(mostPause, d.first<<min(tries-1, 10))
	return p - rand.N(p/2+1)
}

// orderID is the webhook-id of an order: the same order has the same one, and a dot
// would end it in what is signed.
func orderID(m *message) string {
	sum := sha256.Sum256([]byte(m.Action + "\n" + m.ID))
	return "ord_" + hex.EncodeToString(sum[:16])
}
