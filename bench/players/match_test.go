package players_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/bench/players"
	"github.com/homing/homing/bench/stack"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

const (
	queues  = "queues: [{name: duel, class: pairs, teams: 2, team_size: 2, by_players: true}]\n"
	classes = "classes: [{name: pairs, seats: 4, hz: 20}]\n"

	patience = 20 * time.Second // for anything that must happen
	// moveLimit is how long nobody may read anything while a room moves. It is below
	// the time after which a dead worker's rooms go on elsewhere.
	moveLimit = 4 * time.Second
)

// TestAMatch has four players, two at either front, ask for a match and play it to
// its end. The room moves to the other front meanwhile. The game's backend hears of
// all that.
func TestAMatch(t *testing.T) {
	g := newGame(t)
	s, b := start(t, g.options(t))
	names := []string{"ann", "bob", "carl", "dora"}
	match := findMatch(t, s, b, names)
	crowd, err := players.Join(t.Context(), b, match.Room)
	if err != nil {
		t.Fatal(err)
	}
	defer crowd.Leave()
	was := look(t, b, match.Room.Room)
	if was.Class != "pairs" || was.Epoch != 1 || was.URL != match.URL || !reflect.DeepEqual(was.users("seated"), names) {
		t.Errorf("the room is %+v", was)
	}
	to := processAt(t, b, otherFront(s, match.URL))

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	talk := make(chan struct{})
	go func() {
		defer close(talk)
		crowd.Talk(ctx, 20)
	}()
	crowd.Drop(len(names)) // the first player's line
	await(t, "the player comes back", func() bool { return crowd.Judge().Rejoins == 1 })
	crowd.Gap()
	move(t, b, match.Room.Room, to)
	await(t, "everybody goes along", func() bool { return crowd.Judge().Rejoins == 1+len(names) })
	heard := crowd.Judge().Heard
	await(t, "the talk goes on", func() bool { return crowd.Judge().Heard > heard+100 })
	gap := crowd.Gap()
	t.Logf("while the room moved, nobody read nothing for longer than %v", gap.Round(time.Millisecond))
	if gap > moveLimit {
		t.Errorf("a player has read nothing for %v while the room moved", gap)
	}
	crowd.Drop(len(names))
	await(t, "the player comes back to where the room is now", func() bool { return crowd.Judge().Rejoins == 2+len(names) })
	stop()
	<-talk
	await(t, "everybody has heard all", func() bool { return crowd.Judge().Lost == 0 })
	if now := look(t, b, match.Room.Room); now.Process != to.Process || now.URL != to.URL || now.Epoch != 2 || !reflect.DeepEqual(now.users("seated"), names) {
		t.Errorf("the room is %+v, want it at %+v", now, to)
	}
	v := crowd.Judge()
	t.Logf("%+v", v)
	if v.Duplicated+v.Reordered+v.Backward+v.Unwhole+v.Refused+v.TwoOwners+v.Reseated+len(v.Ended) > 0 || v.TakenOver != 1 || v.Unheard > v.Said/4 {
		t.Errorf("the books say %+v", v)
	}

	finish(t, b, match.Room.Room)
	await(t, "everybody is told of the end", func() bool { return len(crowd.Judge().Ended) == len(names) })
	for _, end := range crowd.Judge().Ended {
		if !strings.HasSuffix(end, ": closed finished") {
			t.Errorf("the room has ended for %s", end)
		}
	}
	g.check(t, match, names, was.Process, to.Process)
}

// options have a system match the players of this test, and tell g.
func (g *game) options(t *testing.T) stack.Options {
	t.Helper()
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	queues := file("queues.yaml", queues)
	return stack.Options{
		APIs:      2,
		APIArgs:   []string{"--match-queues", queues, "--hook-url", g.url, "--hook-secret-file", file("hook.secret", g.secret+"\n")},
		FrontArgs: []string{"--match-queues", queues, "--room-classes", file("classes.yaml", classes), "--hooks"},
	}
}

// foundNote is what a player is told of its match.
type foundNote struct {
	Match, Queue, Room, URL, Ticket string
	Team                            int
	Players                         []string
}

// duel is a match, with its room and what lets each player in.
type duel struct {
	players.Room
	match string
	teams [2][]string
	asked time.Time
}

// since is how long ago it was asked for, and a second: events bear whole ones.
func (m *duel) since() time.Duration { return time.Since(m.asked) + time.Second }

// findMatch has players connect to all fronts in turn and ask for a match.
func findMatch(t *testing.T, s *stack.Stack, b *players.Backend, names []string) *duel {
	t.Helper()
	m := &duel{asked: time.Now()}
	var waiting []*client.Conn
	defer func() {
		for _, c := range waiting {
			_ = c.Close() // it has done its part
		}
	}()
	for i, name := range names {
		token, err := auth.Mint(b.Secret, auth.Identity{User: hub.UserID(name)}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.Dial(t.Context(), client.Options{URL: s.Fronts[i%len(s.Fronts)].URL(), Token: client.StaticToken(token)})
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, c)
	}
	for _, c := range waiting {
		if err := c.Send([]byte(`{"t":"match","queue":"duel","ref":7}`)); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range waiting {
		var note foundNote
		hear(t, c, "ok", nil)
		hear(t, c, "notify", &note)
		if i == 0 {
			m.Room.Room, m.URL, m.match = note.Room, note.URL, note.Match
		}
		slices.Sort(note.Players)
		if note.Room != m.Room.Room || note.URL != m.URL || note.Match != m.match || note.Queue != "duel" || !slices.Equal(note.Players, names) {
			t.Fatalf("%s was told %+v", names[i], note)
		}
		m.teams[note.Team] = append(m.teams[note.Team], names[i])
		m.Seats = append(m.Seats, players.Seat{User: names[i], Ticket: note.Ticket})
	}
	return m
}

// hear reads the next message of a player who waits for a match.
func hear(t *testing.T, c *client.Conn, kind string, note *foundNote) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := c.Receive(ctx)
	switch {
	case err != nil:
		t.Fatal(err)
	case m.Kind != kind || kind == "ok" && string(m.Raw) != `{"t":"ok","ref":7}`:
		t.Fatalf("a player is told %s, want %s", m.Raw, kind)
	case note == nil:
		return
	case m.Notification.Type != "match.found" || m.Notification.From != "homing":
		t.Fatalf("a player is told %s", m.Raw)
	}
	if err := strictly(m.Notification.Data, note); err != nil {
		t.Fatalf("match.found: %v: %s", err, m.Raw)
	}
}

// roomNow is a part of what GET /rooms/{id} answers.
type roomNow struct {
	Class, Process, URL string
	Epoch               uint64
	Seats               []struct{ User, State string }
	Ended               string
	Result              json.RawMessage
}

// users are those whose seats are in a state.
func (r *roomNow) users(state string) (all []string) {
	for _, s := range r.Seats {
		if s.State == state {
			all = append(all, s.User)
		}
	}
	slices.Sort(all)
	return all
}

func look(t *testing.T, b *players.Backend, room string) (r roomNow) {
	t.Helper()
	if err := b.Do(t.Context(), http.MethodGet, "/rooms/"+room, nil, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// otherFront is where players reach the front that is not at url.
func otherFront(s *stack.Stack, url string) string {
	if s.Fronts[0].URL() == url {
		return s.Fronts[1].URL()
	}
	return s.Fronts[0].URL()
}

// processAt finds a worker of the front at url, by rooms that are opened until one is
// there: a front that has just started takes rooms a little later than players.
func processAt(t *testing.T, b *players.Backend, url string) (there roomNow) {
	t.Helper()
	await(t, "a room is opened at "+url, func() bool {
		r, err := b.Open(t.Context(), "relay", []string{"scout"})
		switch {
		case err != nil && strings.Contains(err.Error(), "rooms_full"):
			return false
		case err != nil:
			t.Fatal(err)
		}
		there = look(t, b, r.Room)
		end(t, b, r.Room)
		return r.URL == url
	})
	return there
}

func move(t *testing.T, b *players.Backend, room string, to roomNow) {
	t.Helper()
	var moved struct {
		Process, URL string
		Epoch        uint64
	}
	err := b.Do(t.Context(), http.MethodPost, "/rooms/"+room+"/move", map[string]string{"process": to.Process}, &moved)
	if err != nil || moved.Process != to.Process || moved.URL != to.URL || moved.Epoch != 2 {
		t.Fatalf("move to %s at %s: %+v, %v", to.Process, to.URL, moved, err)
	}
}

// finish ends the room twice: the second time changes nothing.
func finish(t *testing.T, b *players.Backend, room string) {
	t.Helper()
	for _, winner := range []string{"ann", "bob"} {
		var end struct{ Room, Ended string }
		body := map[string]any{"result": map[string]string{"winner": winner}}
		err := b.Do(t.Context(), http.MethodPost, "/rooms/"+room+"/finish", body, &end)
		if err != nil || end.Room != room || end.Ended != "finished" {
			t.Errorf("finish, %s wins: %+v, %v", winner, end, err)
		}
	}
	if r := look(t, b, room); r.Ended != "finished" || string(r.Result) != `{"winner":"ann"}` {
		t.Errorf("the room that has ended is %+v", r)
	}
}

// check says whether the backend has heard what docs/hooks.md promises of the match
// and its room, which has moved between two processes.
func (g *game) check(t *testing.T, m *duel, names []string, from, to string) {
	t.Helper()
	await(t, "the backend hears of the end", func() bool {
		all := g.of(m.Room.Room)
		return len(all) > 0 && all[len(all)-1].Type == "room.ended"
	})
	want := map[string]any{
		"room.created": map[string]any{"room": m.Room.Room, "class": "pairs", "users": names, "process": from},
		"match.found":  map[string]any{"match": m.match, "queue": "duel", "room": m.Room.Room, "players": names, "teams": m.teams},
		"room.moved":   map[string]any{"room": m.Room.Room, "from": from, "to": to, "epoch": 2},
		"room.ended":   map[string]any{"room": m.Room.Room, "class": "pairs", "reason": "finished", "result": map[string]any{"winner": "ann"}, "members": names},
	}
	heard, at := g.of(m.Room.Room), make(map[string]int)
	for i, e := range heard {
		at[e.Type] = i
		said := e.facts(t)
		if seconds, ok := said["seconds"].(float64); ok && seconds > 0 && seconds < m.since().Seconds() {
			delete(said, "seconds") // of room.ended, which wants no others
		}
		if got, want := encode(t, said), encode(t, want[e.Type]); got != want {
			t.Errorf("%s says %s, want %s", e.Type, got, want)
		}
		if age := time.Since(e.Timestamp); age < 0 || age > m.since() {
			t.Errorf("%s is of %v", e.Type, e.Timestamp)
		}
	}
	// The matcher and the room's worker publish for themselves.
	if len(heard) != len(want) || at["room.created"] > at["room.moved"] || at["match.found"] > at["room.moved"] || at["room.moved"] > at["room.ended"] {
		t.Errorf("the backend has heard, in this order: %+v", heard)
	}
	select {
	case <-g.again:
	default:
		t.Error("the event that the backend has refused has not come again")
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v) // maps in the order of their keys
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
