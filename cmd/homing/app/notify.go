package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/homing/homing/hub"
)

// notifyCmd is a game backend in one line, for trying things and for scripts.
type notifyCmd struct {
	Users     []string      `arg:"" name:"user" help:"Users to reach; none with --broadcast." optional:""`
	Broadcast bool          `help:"Reach everybody who is online."`
	Data      string        `help:"What they are told, as JSON." default:"{\"text\":\"hello\"}"`
	Type      string        `help:"The kind of event." default:"hello"`
	From      string        `help:"The service that speaks."`
	Services  []string      `help:"Reach only connections of these services."`
	Class     string        `help:"What happens when a connection is slow: must, latest or droppable." enum:"must,latest,droppable" default:"must"`
	Key       string        `help:"With class latest: replace a waiting message with the same key."`
	Store     time.Duration `help:"Keep it this long for users who are away; 0: not at all." placeholder:"24h"`
	Wait      time.Duration `help:"Wait this long, at most 5s, to be told what became of it; 0: not at all." placeholder:"300ms"`
	PerUser   bool          `help:"With --wait: say so for every user."`
	ID        string        `help:"Idempotency key; empty: the server makes an id."`
	API       string        `name:"api" help:"Base URL of an API server." default:"http://127.0.0.1:8080"`
	APIKey    string        `name:"api-key" help:"API key; not needed for homing dev."`
	Timeout   time.Duration `help:"How long to wait for the reply, beyond --wait." default:"5s"`
}

// Help is shown below the flags.
func (*notifyCmd) Help() string {
	return `The reply is printed as it came, and in words to standard error.

Examples, with "homing dev" running:

  homing notify alice bob --type gift --data '{"gift":"sword"}'
  homing notify alice --store 24h --wait 300ms
  homing notify --broadcast --data '"The tournament begins."'`
}

// Validate refuses what does not go together.
func (c *notifyCmd) Validate() error {
	switch {
	case c.Broadcast && len(c.Users) > 0:
		return errors.New("--broadcast: reaches everybody: name no users")
	case c.Broadcast && (c.Store != 0 || c.Wait != 0 || c.PerUser):
		return errors.New("--broadcast: takes neither --store nor --wait nor --per-user")
	case !c.Broadcast && len(c.Users) == 0:
		return errors.New("name the users to reach, or give --broadcast")
	case c.PerUser && c.Wait == 0:
		return errors.New("--per-user: needs --wait")
	case c.Store < 0:
		return fmt.Errorf("--store: %v: want 0 or more", c.Store)
	case c.Wait < 0 || c.Wait > hub.MaxWait:
		return fmt.Errorf("--wait: %v: want 0 to %v", c.Wait, hub.MaxWait)
	}
	return nil
}

func (c *notifyCmd) Run(ctx context.Context, s streams) error {
	if !json.Valid([]byte(c.Data)) {
		return fmt.Errorf("--data: %q: not JSON; text needs quotes of its own: --data '\"hello\"'", c.Data)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout+c.Wait)
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
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return fmt.Errorf("read the reply of --api %s: %w", c.API, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("--api %s answered %s: %s", c.API, resp.Status, bytes.TrimSpace(body))
	}
	if _, err = fmt.Fprintln(s.out, string(bytes.TrimSpace(body))); err != nil {
		return err
	}
	return c.explain(s.err, body, resp.Header.Get("Idempotency-Replayed") == "true")
}

// explain says in words what the reply says.
func (c *notifyCmd) explain(w io.Writer, reply []byte, replayed bool) error {
	var sum hub.Summary
	if err := json.Unmarshal(reply, &sum); err != nil {
		return fmt.Errorf("read the reply of --api %s: %w", c.API, err)
	}
	var b strings.Builder
	if replayed {
		b.WriteString("Nothing was sent: this id was used a moment ago, and this is the reply it got.\n")
	}
	if c.Broadcast {
		fmt.Fprintf(&b, "Sent to %d connections at %d processes.\n", sum.Online, sum.Processes)
	} else {
		fmt.Fprintf(&b, "%d of %d users online, at %d processes.\n", sum.Online, sum.Targets, sum.Processes)
	}
	if sum.Unavailable > 0 {
		fmt.Fprintf(&b, "%d could not be looked up or reached now.\n", sum.Unavailable)
	}
	if c.Store > 0 {
		fmt.Fprintf(&b, "Kept for %v, for who is away or loses the connection.\n", c.Store)
	}
	if sum.Report != nil {
		b.WriteString(inWords(sum.Report))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// inWords lists what became of the users.
func inWords(r *hub.Report) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{r.Written, "written"},
		{r.Queued, "waiting for slow connections"},
		{r.DroppedSlow, "dropped, too slow"},
		{r.Stored, "stored"},
		{r.Offline, "offline"},
		{r.Moved, "told where they moved to"},
		{r.Unavailable, "unavailable"},
		{r.Unknown, "not known in time"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return "Users: " + strings.Join(parts, ", ") + ".\n"
}

func (c *notifyCmd) request(ctx context.Context) (*http.Request, error) {
	b, err := json.Marshal(c.body())
	if err != nil {
		return nil, fmt.Errorf("encode the notification: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.API, "/")+c.path(), bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("--api: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+c.APIKey)
	}
	return req, nil
}

func (c *notifyCmd) path() string {
	switch {
	case c.Broadcast:
		return "/broadcast"
	case c.PerUser:
		return "/notify?per_user=1"
	}
	return "/notify"
}

func (c *notifyCmd) body() map[string]any {
	body := map[string]any{"data": json.RawMessage(c.Data), "class": c.Class}
	for field, v := range map[string]string{"type": c.Type, "from": c.From, "key": c.Key, "id": c.ID} {
		if v != "" {
			body[field] = v
		}
	}
	for field, v := range map[string]time.Duration{"store": c.Store, "wait": c.Wait} {
		if v > 0 {
			body[field] = v.String()
		}
	}
	if len(c.Services) > 0 {
		body["services"] = c.Services
	}
	if !c.Broadcast {
		body["users"] = c.Users
	}
	return body
}
