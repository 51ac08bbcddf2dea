package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/match"
	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// users returns the lines of one of deploy's files of users. The test's own
// administrator stands beside them, for whom the default user is off already.
func users(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/redis/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.ReplaceAll(string(text), "user default off\n", ""), "\n")
}

// guarded is Redis and Sentinels as deploy/redis sets them up: a shard for each
// role, and users with the rights that the documentation lists.
type guarded struct {
	*redisproc.Topology

	calls map[rights.Role]map[string]bool // the commands that were called there
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{calls: map[rights.Role]map[string]bool{}}
	o := redisproc.TopologyOptions{User: "admin", Password: "pw"}
	sentinels := users(t, "sentinel-users.conf")
	for _, role := range rights.Roles {
		g.calls[role] = map[string]bool{}
		o.Masters = append(o.Masters, redisproc.MasterSpec{Name: string(role), Replicas: 2, Config: users(t, "users.conf")})
		sentinels = append(sentinels, fmt.Sprintf("sentinel auth-user %s sentinel", role), fmt.Sprintf("sentinel auth-pass %s change-me", role))
	}
	o.Place = func(s *redisproc.ServerOptions) {
		if strings.HasPrefix(s.Name, "sentinel-") {
			s.Config = append(s.Config, sentinels...)
		}
	}
	g.Topology = redistest.Topology(t, o)
	return g
}

// config leads to the shard of each role with that role's user.
func (g *guarded) config(t *testing.T) redisx.Config {
	t.Helper()
	var sentinels []string
	for _, s := range g.Sentinels {
		sentinels = append(sentinels, s.Addr())
	}
	url := func(role rights.Role) []string {
		return []string{fmt.Sprintf("sentinel://homing-%s:change-me@%s/%s?sentinel_username=homing&sentinel_password=change-me", role, strings.Join(sentinels, ","), role)}
	}
	cfg := redistest.Config(t, "")
	cfg.Prefix = "homing"
	cfg.Data, cfg.PubSub, cfg.Inbox = url(rights.Data), url(rights.PubSub), url(rights.Inbox)
	return cfg
}

// servers returns all servers and Sentinels that run.
func (g *guarded) servers() []*redisproc.Server {
	all := slices.Clone(g.Sentinels)
	for _, group := range g.Groups {
		all = append(all, group.Servers()...)
	}
	return slices.DeleteFunc(all, func(s *redisproc.Server) bool {
		select {
		case <-s.Exited():
			return true
		default:
			return false
		}
	})
}

// count remembers which commands were called so far.
func (g *guarded) count(t *testing.T) {
	t.Helper()
	for _, group := range g.Groups {
		for _, s := range group.Servers() {
			c := s.Client()
			info, err := c.Info(t.Context(), "commandstats").Result()
			_ = c.Close()
			if err != nil {
				continue // it was killed
			}
			for line := range strings.Lines(info) {
				if name, ok := strings.CutPrefix(line, "cmdstat_"); ok {
					name, _, _ = strings.Cut(name, ":")
					g.calls[rights.Role(group.Name)][name] = true
				}
			}
		}
	}
}

// refusals returns what any server has refused to anybody.
func (g *guarded) refusals(ctx context.Context) (all []string) {
	for _, s := range g.servers() {
		c := s.Client()
		log, err := c.ACLLog(ctx, 100).Result()
		_ = c.Close()
		if err != nil {
			all = append(all, s.Name()+": "+err.Error())
		}
		for _, e := range log {
			all = append(all, fmt.Sprintf("%s: %s may not %s", s.Name(), e.Username, e.Object))
		}
	}
	return all
}

// send sends a request to the first API server until it is accepted, as one
// does while a master is being replaced.
func (s *stack) send(t *testing.T, method, path, body string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, method, s.apis[0]+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		reply, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		switch {
		case res.StatusCode/100 == 2:
			return string(reply)
		case res.StatusCode != http.StatusServiceUnavailable && res.StatusCode != http.StatusGatewayTimeout || !canWait(ctx):
			t.Fatalf("%s %s: %s %s", method, path, res.Status, reply)
		}
	}
}

// canWait waits a moment and reports whether there is time left.
func canWait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(50 * time.Millisecond):
		return true
	}
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// exercise does everything that the API and a client offer. round tells apart
// what is sent.
func (s *stack) exercise(t *testing.T, here *player, round string) {
	t.Helper()
	body := fmt.Sprintf(`{"users":["ann","absent"],"id":"%s","class":"must","store":"1h","data":{"sender":"%[1]s","n":1}}`, round)
	s.send(t, http.MethodPost, "/notify", body)
	s.send(t, http.MethodPost, "/notify", body) // the reply that was remembered
	eventually(t, "ann has "+round, func() bool { return here.has(round) > 0 })
	here.lose()
	s.send(t, http.MethodPost, "/broadcast", fmt.Sprintf(`{"data":{"sender":"all-%s","n":1}}`, round))
	s.send(t, http.MethodPost, "/notify", fmt.Sprintf(`{"users":["ann"],"class":"must","store":"1h","data":{"sender":"back-%s","n":1}}`, round))
	eventually(t, "ann is back and has what was sent meanwhile", func() bool { return here.has("back-"+round) > 0 })
	if got := s.send(t, http.MethodGet, "/users/ann", ""); !strings.Contains(got, `"online":true`) {
		t.Errorf("ann is here: %s", got)
	}
	s.send(t, http.MethodPost, "/users/query", `{"users":["ann","absent"]}`)
	s.exerciseRooms(t, round)
}

// exerciseRooms opens a room that is saved, finds it and ends it.
func (s *stack) exerciseRooms(t *testing.T, round string) {
	t.Helper()
	s.send(t, http.MethodPost, "/rooms", `{"id":"`+round+`","class":"kept","users":["ann"]}`)
	if got := s.send(t, http.MethodGet, "/rooms?class=kept", ""); !strings.Contains(got, `"room":"`+round+`"`) {
		t.Errorf("the room %s is open: %s", round, got)
	}
	eventually(t, "the room ticks", func() bool {
		return !strings.Contains(s.send(t, http.MethodGet, "/rooms/"+round, ""), `"ticks":0`)
	})
	s.send(t, http.MethodDelete, "/rooms/"+round, "")
	if got := s.send(t, http.MethodGet, "/rooms/"+round, ""); !strings.Contains(got, `"ended":"closed"`) {
		t.Errorf("the room %s has ended: %s", round, got)
	}
}

// oneRoom is a room for every match.
type oneRoom struct{}

func (oneRoom) Open(_ context.Context, o *match.Opening) (*match.Opened, error) {
	out := &match.Opened{Room: "r", URL: "ws://front/ws", Tickets: map[hub.UserID]string{}}
	for _, u := range o.Users() {
		out.Tickets[u] = "seat"
	}
	return out, nil
}

func (r oneRoom) Fill(ctx context.Context, _ string, _ uint64, o *match.Opening) (*match.Opened, error) {
	return r.Open(ctx, o)
}

func (oneRoom) Close(context.Context, string) error { return nil }

// matchmake has two players find each other.
func matchmake(t *testing.T, cfg redisx.Config, round string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	r := redistest.Open(t, cfg)
	tickets := match.NewTickets(match.Deps{
		Queues: []*match.Queue{{Name: "duel", Teams: 2, TeamSize: 1, Steps: []match.Step{{}}, Expire: time.Minute}},
		Data:   r.Data, Keys: hub.NewKeys(cfg.Prefix), Log: log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = match.NewMatcher(tickets, oneRoom{}, nil, match.DefaultTiming(), log).Run(ctx)
	}()
	defer func() { cancel(); <-done }()
	for _, u := range []hub.UserID{"ann", "bob"} {
		x := &match.Ticket{ID: "duel:" + round + string(u), Players: []hub.UserID{u}}
		eventually(t, "the ticket is taken", func() bool {
			_, _, err := tickets.Put(ctx, "duel", x, false)
			return err == nil
		})
	}
	eventually(t, "they are matched, and the books say so", func() bool {
		s, err := tickets.Get(ctx, "duel:"+round+"ann")
		c, err2 := tickets.Counts(ctx, "duel")
		_, err3 := tickets.Stats(ctx)
		return errors.Join(err, err2, err3) == nil && s.Status == match.Matched && c.Created == c.Sum()
	})
}

// TestWithTheRightsThatAreListed runs the hub with users that have the rights
// that the documentation lists and no others, at the servers of each role and
// at Sentinels, through a failover of each role. Nothing is refused to anybody,
// and every right is used.
func TestWithTheRightsThatAreListed(t *testing.T) {
	g := newGuarded(t)
	t.Cleanup(func() { // when the hub has stopped and its workers have signed off
		for _, refused := range g.refusals(context.Background()) {
			t.Error(refused)
		}
	})
	s := &stack{rooms: filepath.Join(t.TempDir(), "classes.yaml")}
	if err := os.WriteFile(s.rooms, []byte("classes:\n  - {name: kept, checkpoint: 1s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, g.config(t), 1, "")
	here := s.newPlayer(t, "ann")
	eventually(t, "ann is here", func() bool { return here.up.Load() > 0 })
	s.exercise(t, here, "before")
	matchmake(t, g.config(t), "before")
	absent := s.newPlayer(t, "absent")
	eventually(t, "what was stored comes", func() bool { return absent.has("before") > 0 })
	g.count(t)
	for _, group := range g.Groups {
		group.Master.Crash()
	}
	for _, role := range rights.Roles {
		eventually(t, "another master of "+string(role), func() bool {
			now, err := g.Current(t.Context(), string(role))
			return err == nil && now.Name() != string(role)+"-0"
		})
	}
	s.exercise(t, here, "after")
	matchmake(t, g.config(t), "after")
	g.count(t)
	for _, role := range rights.Roles {
		for _, name := range rights.Commands(role) {
			if !g.calls[role][name] && name != "select" && name != "script|load" { // another database; scripts that were forgotten
				t.Errorf("%s: %s is listed and was not used, only %v", role, name, slices.Sorted(maps.Keys(g.calls[role])))
			}
		}
	}
}
