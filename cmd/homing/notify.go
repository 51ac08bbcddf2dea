package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// notifyCmd is a game backend in one line, for trying things and for scripts.
type notifyCmd struct {
	Users    []string      `arg:"" name:"user" help:"Users to reach."`
	Data     string        `help:"What they are told, as JSON." default:"{\"text\":\"hello\"}"`
	Type     string        `help:"The kind of event." default:"hello"`
	From     string        `help:"The service that speaks."`
	Services []string      `help:"Reach only connections of these services."`
	Class    string        `help:"What happens when a connection is slow: must, latest or droppable." enum:"must,latest,droppable" default:"must"`
	Key      string        `help:"With class latest: replace a waiting message with the same key."`
	ID       string        `help:"Idempotency key; empty: the server makes an id."`
	API      string        `name:"api" help:"Base URL of an API server." default:"http://127.0.0.1:8080"`
	APIKey   string        `name:"api-key" help:"API key; not needed for homing dev."`
	Timeout  time.Duration `help:"How long to wait for the reply." default:"5s"`
}

// Help is shown below the flags.
func (*notifyCmd) Help() string {
	return `Example, with "homing dev" running:

  homing notify alice bob --type gift --data '{"gift":"sword"}'`
}

func (c *notifyCmd) Run(ctx context.Context, s streams) error {
	if !json.Valid([]byte(c.Data)) {
		return fmt.Errorf("--data: %q: not JSON; text needs quotes of its own: --data '\"hello\"'", c.Data)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := c.request(ctx)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no answer from --api %s: %w", c.API, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the reply of --api %s: %w", c.API, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("--api %s answered %s: %s", c.API, resp.Status, bytes.TrimSpace(body))
	}
	_, err = fmt.Fprintln(s.out, string(bytes.TrimSpace(body)))
	return err
}

func (c *notifyCmd) request(ctx context.Context) (*http.Request, error) {
	body := map[string]any{"users": c.Users, "data": json.RawMessage(c.Data), "class": c.Class}
	for field, v := range map[string]string{"type": c.Type, "from": c.From, "key": c.Key, "id": c.ID} {
		if v != "" {
			body[field] = v
		}
	}
	if len(c.Services) > 0 {
		body["services"] = c.Services
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the notification: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.API, "/")+"/notify", bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("--api: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+c.APIKey)
	}
	return req, nil
}
