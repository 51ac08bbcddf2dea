// Command goagent is the agent of client/go: see client/conformance/README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	client "github.com/homing/homing/client/go"
)

// can is what client/go takes part in. Its rooms are those of client.Player, a
// connection of their own.
var can = []string{"status", "date", "hold", "topics", "publish", "friends"}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "goagent:", err)
		os.Exit(1)
	}
}

// agent is one client and what it is told.
type agent struct {
	out    *json.Encoder
	cancel context.CancelFunc
	client *client.Client
	ctx    context.Context
	ended  chan struct{} // closed when the client's Run has returned; nil: it was not started

	asking sync.WaitGroup

	mu   sync.Mutex // guards out and what follows
	hold map[string]chan struct{}
	as   map[string]string // what a topic's subscription is called, until it is answered
}

// command is a line of the input.
type command struct {
	Do     string   `json:"do"`
	URL    string   `json:"url"`
	Tokens []string `json:"tokens"`
	Place  string   `json:"place"`
	Hold   []string `json:"hold"`
	ID     string   `json:"id"`

	Topic   string          `json:"topic"`
	Type    string          `json:"type"`
	History bool            `json:"history"`
	As      string          `json:"as"`
	Data    json.RawMessage `json:"data"`
}

func run(in io.Reader, out io.Writer) error {
	a := &agent{out: json.NewEncoder(out), hold: make(map[string]chan struct{}), as: make(map[string]string)}
	a.say(map[string]any{"event": "ready", "client": "go", "can": can})
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("read a command: %w", err)
		}
		if err := a.do(&c); err != nil {
			return err
		}
	}
	a.close()
	if a.ended != nil {
		<-a.ended
	}
	a.asking.Wait()
	return lines.Err()
}

func (a *agent) do(c *command) error {
	switch c.Do {
	case "start":
		a.start(c)
	case "handled":
		a.mu.Lock()
		held := a.hold[c.ID]
		a.mu.Unlock()
		held <- struct{}{}
	case "close":
		a.close()
	case "subscribe":
		a.mu.Lock()
		a.as[c.Topic] = c.As
		a.mu.Unlock()
		a.client.Subscribe(c.Topic, client.Subscription{History: c.History})
	case "unsubscribe":
		a.client.Unsubscribe(c.Topic)
	case "publish":
		a.publish(c)
	default:
		return fmt.Errorf("told to %s", c.Do)
	}
	return nil
}

func (a *agent) close() {
	if a.cancel != nil {
		a.cancel()
	}
}

func (a *agent) say(event map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.out.Encode(event) // nobody listens any more
}

func (a *agent) start(c *command) {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel, a.ended = cancel, make(chan struct{})
	for _, id := range c.Hold {
		a.hold[id] = make(chan struct{})
	}
	given := 0
	opts := client.Options{URL: c.URL, After: c.Place, Token: func(context.Context) (string, error) {
		given++
		return c.Tokens[min(given, len(c.Tokens))-1], nil
	}}
	a.state("connecting", nil)
	a.ctx, a.client = ctx, client.New(opts, a.handler(ctx))
	go func() {
		defer close(a.ended)
		a.state("closed", a.client.Run(ctx))
	}()
}

// publish does not wait for the answer.
func (a *agent) publish(c *command) {
	a.asking.Go(func() {
		id, err := a.client.Publish(a.ctx, c.Topic, c.Type, c.Data)
		if refused, ok := errors.AsType[*client.ServerError](err); ok {
			a.say(map[string]any{"event": "refused", "as": c.As, "code": refused.Code})
		} else if err == nil {
			a.say(map[string]any{"event": "published", "as": c.As, "id": id})
		}
	})
}

// asked is what a topic's subscription is called, the first time.
func (a *agent) asked(topic string) (as string, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	as, first = a.as[topic]
	delete(a.as, topic)
	return as, first
}

func (a *agent) handler(ctx context.Context) client.Handler {
	return client.Handler{
		Up: func(h client.Hello) {
			if h.Resume {
				a.state("recovering", nil)
			} else {
				a.state("open", nil)
			}
		},
		Resumed:  func(r client.Resumed) { a.say(map[string]any{"event": "resumed", "recovered": r.Recovered}) },
		CaughtUp: func() { a.state("open", nil) },
		Subscribed: func(s client.Subscribed) {
			if as, first := a.asked(s.Topic); first {
				a.say(map[string]any{"event": "subscribed", "as": as, "topic": s.Topic, "recovered": s.Recovered})
			}
		},
		Ended: func(topic, code string) {
			if as, first := a.asked(topic); first {
				a.say(map[string]any{"event": "refused", "as": as, "code": code})
			}
		},
		Friends: func(online client.Friends) {
			a.say(map[string]any{"event": "friends", "online": names(online)})
		},
		Notify: func(n client.Notification) {
			a.say(map[string]any{
				"event": "notify", "id": n.ID, "type": n.Type, "from": n.From, "user": n.User, "topics": n.Topics, "data": n.Data,
			})
			if held := a.hold[n.ID]; held != nil {
				select {
				case <-held:
				case <-ctx.Done():
				}
			}
		},
		Down: func(err error, _ time.Duration) {
			a.state("waiting", err)
		},
	}
}

// state says a state, and what led to it.
func (a *agent) state(state string, why error) {
	m := map[string]any{"event": "state", "state": state}
	if code := client.CloseCode(why); code != 0 {
		m["code"] = code
	}
	if r, ok := errors.AsType[*client.RefusedError](why); ok {
		m["status"] = r.Status
	}
	a.say(m)
}

// names are the friends, in order.
func names(online client.Friends) []string {
	all := slices.AppendSeq(make([]string, 0, len(online)), maps.Keys(online))
	slices.Sort(all)
	return all
}
