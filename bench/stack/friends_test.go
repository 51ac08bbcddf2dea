package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook/webhook"
)

// town is a stack whose users have friends, and a backend that takes its events.
type town struct {
	*Stack
	t      *testing.T
	mu     sync.Mutex
	events []event
	ids    map[string]bool
}

type event struct {
	Type string
	Data struct {
		User     string
		Services []string
	}
}

// newTown starts fronts of one worker each.
func newTown(t *testing.T, fronts int, flags ...string) *town {
	t.Helper()
	w := &town{t: t, ids: make(map[string]bool)}
	backend := httptest.NewServer(http.HandlerFunc(w.take))
	t.Cleanup(backend.Close)
	secret := filepath.Join(t.TempDir(), "hook.secret")
	if err := os.WriteFile(secret, []byte(webhook.NewSecret()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	both := []string{"--friends", "--presence"}
	s, err := Start(t.Context(), Options{
		Binary: build(t), Fronts: fronts,
		APIArgs:   append([]string{"--hook-url", backend.URL, "--hook-secret-file", secret}, both...),
		FrontArgs: append(append([]string{"--hooks", "--presence-linger", "1s", "--front-drain-window", "300ms"}, both...), flags...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(false); err != nil {
			t.Error(err)
		}
	})
	w.Stack = s
	return w
}

// take is the backend.
func (w *town) take(res http.ResponseWriter, r *http.Request) {
	var e event
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		res.WriteHeader(http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if id := r.Header.Get("Webhook-Id"); !w.ids[id] {
		w.ids[id] = true
		w.events = append(w.events, e)
	}
}

// story is what the backend heard of a user: + and -.
func (w *town) story(user string) (s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		switch {
		case e.Data.User != user:
		case e.Type == "user.online":
			s += "+"
		case e.Type == "user.offline":
			s += "-"
		}
	}
	return s
}

// hears waits until the backend has heard that of user.
func (w *town) hears(user, want string) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := w.story(user)
		if got == want {
			return
		}
		if len(got) > len(want) || time.Now().After(deadline) {
			w.t.Fatalf("the backend heard %q of %s, want %q", got, user, want)
		}
	}
}

func (w *town) token(user string, friends []hub.UserID) string {
	w.t.Helper()
	token, err := auth.Mint(w.Access.Secret(), auth.Identity{User: hub.UserID(user), Service: "chess", Friends: friends}, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// player is one client.
type player struct {
	net.Conn
	t        *testing.T
	name     string
	messages chan map[string]any // closed when the connection ends
	told     map[any]any         // of each friend, whether it is online as it was told last
}

// join connects a user to a front and reads hello. Without friends the token names
// none.
func (w *town) join(front int, user string, friends ...hub.UserID) *player {
	w.t.Helper()
	p, err := w.dial(front, user, friends)
	if err != nil {
		w.t.Fatalf("%s: %v", user, err)
	}
	if m := p.next(); m["t"] != "hello" {
		w.t.Fatalf("%s read %v before hello", user, m)
	}
	return p
}

func (w *town) dial(front int, user string, friends []hub.UserID) (*player, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	conn, br, _, err := ws.Dial(ctx, w.Fronts[front].URL()+"?token="+w.token(user, friends))
	if err != nil {
		return nil, err
	}
	p := &player{Conn: conn, t: w.t, name: user, messages: make(chan map[string]any, 1024), told: map[any]any{}}
	w.t.Cleanup(func() { _ = conn.Close() })
	var from io.Reader = conn
	if br != nil {
		from = io.MultiReader(br, conn)
	}
	go p.read(from)
	return p, nil
}

func (p *player) read(from io.Reader) {
	defer close(p.messages)
	for {
		text, op, err := wsutil.ReadData(struct {
			io.Reader
			io.Writer
		}{from, p.Conn}, ws.StateClientSide)
		if err != nil {
			return
		}
		var m map[string]any
		if op == ws.OpText && json.Unmarshal(text, &m) == nil {
			p.messages <- m
		}
	}
}

// next is the next message, nil when the connection has ended. A word of a friend may be
// repeated, as long as it is not known that all have heard it: a repeat is no news.
func (p *player) next() map[string]any {
	p.t.Helper()
	for {
		select {
		case m := <-p.messages:
			if m["t"] != "presence" || p.isNews(m) {
				return m
			}
		case <-time.After(40 * time.Second):
			p.t.Fatalf("%s waits for a message", p.name)
		}
	}
}

// isNews notes what a word says, and reports whether it differs from what was told before.
func (p *player) isNews(m map[string]any) (news bool) {
	users, several := m["users"].([]any)
	if !several {
		users = []any{m["user"]}
	}
	for _, u := range users {
		before, told := p.told[u]
		news = news || !told || before != m["online"]
		p.told[u] = m["online"]
	}
	return news
}

// reads fails unless the next message is this JSON.
func (p *player) reads(want string) {
	p.t.Helper()
	var w map[string]any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		p.t.Fatal(err)
	}
	if diff := cmp.Diff(w, p.next()); diff != "" {
		p.t.Fatalf("%s reads (-want +got):\n%s", p.name, diff)
	}
}

// heardNothing has a notification be the next that the player reads.
func (w *town) heardNothing(p *player) {
	w.t.Helper()
	w.call(http.MethodPost, "/notify", `{"users":["`+p.name+`"],"data":1}`, http.StatusOK)
	if m := p.next(); m["t"] != "notify" {
		w.t.Fatalf("%s read %v", p.name, m)
	}
}

// call makes a request of the API and returns the reply.
func (w *town) call(method, path, body string, status int) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.API.URLs()[0]+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.Access.Key())
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	reply, _ := io.ReadAll(res.Body)
	http.DefaultClient.CloseIdleConnections()
	if res.StatusCode != status {
		w.t.Fatalf("%s %s: %d %s, want %d", method, path, res.StatusCode, reply, status)
	}
	return string(reply)
}

// TestFriends goes through a user's day on two fronts.
func TestFriends(t *testing.T) {
	w := newTown(t, 2)
	ann := w.join(0, "ann", "bob", "cy")
	ann.reads(`{"t":"friends","online":[]}`)
	bob := w.join(1, "bob", "ann")
	bob.reads(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
	ann.reads(`{"t":"presence","user":"bob","online":true,"services":["chess"]}`)

	second := w.join(0, "bob", "ann") // a second device is told, and tells nobody
	second.reads(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
	w.heardNothing(ann)

	_ = bob.Close() // the other device is left
	_ = second.Close()
	bob = w.join(1, "bob", "ann") // back within the linger, elsewhere than last
	bob.reads(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
	third := w.join(0, "bob", "ann")
	third.reads(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
	_ = third.Close()
	cy := w.join(1, "cy", "ann") // who comes while all that lingers
	cy.reads(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
	ann.reads(`{"t":"presence","user":"cy","online":true,"services":["chess"]}`)

	_ = bob.Close()
	ann.reads(`{"t":"presence","user":"bob","online":false}`)
	w.hears("bob", "+-")
	w.hears("ann", "+")
	w.hears("cy", "+")
	if got := w.call(http.MethodGet, "/users/bob", "", http.StatusOK); !strings.Contains(got, `"online":false`) {
		t.Errorf("GET /users/bob: %s", got)
	}
}

// TestFriendsOfAToken looks at lists that are odd.
func TestFriendsOfAToken(t *testing.T) {
	w := newTown(t, 1)
	many := make([]hub.UserID, hub.MaxFriends+1)
	for i := range many {
		many[i] = hub.UserID("f" + strconv.Itoa(i))
	}
	if _, err := w.dial(0, "ann", many); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a token with %d friends: %v", len(many), err)
	}
	for _, odd := range [][]hub.UserID{{"ann"}, {"bob", "bob"}, {"a b"}} {
		if _, err := w.dial(0, "ann", odd); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("a token with the friends %q: %v", odd, err)
		}
	}
	ann := w.join(0, "ann", many[:hub.MaxFriends]...)
	ann.reads(`{"t":"friends","online":[]}`)
	// ann names f0, who does not name ann: f0 hears of ann, and is not told at first
	// that ann is there.
	f0 := w.join(0, "f0")
	dee := w.join(0, "dee", "f0", "ann")
	dee.reads(`{"t":"friends","online":[{"user":"f0","services":["chess"]},{"user":"ann","services":["chess"]}]}`)
	f0.reads(`{"t":"presence","user":"dee","online":true,"services":["chess"]}`)
	ann.reads(`{"t":"presence","user":"dee","online":true,"services":["chess"]}`)
	// f0 named nobody, so nobody was told of it.
	w.heardNothing(ann)
}

// TestStoredFriends has lists come by the API.
func TestStoredFriends(t *testing.T) {
	w := newTown(t, 1)
	if got := w.call(http.MethodGet, "/users/ann/friends", "", http.StatusOK); got != `{"user":"ann","friends":[]}`+"\n" && got != `{"user":"ann","friends":[]}` {
		t.Errorf("before: %s", got)
	}
	w.call(http.MethodPut, "/users/ann/friends", `{"friends":["bob"]}`, http.StatusOK)
	w.call(http.MethodPut, "/users/bob/friends", `{"friends":["ann"]}`, http.StatusOK)
	ann := w.join(0, "ann")
	ann.reads(`{"t":"friends","online":[]}`)
	bob := w.join(0, "bob")
	bob.reads(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
	ann.reads(`{"t":"presence","user":"bob","online":true,"services":["chess"]}`)
	_ = bob.Close()
	ann.reads(`{"t":"presence","user":"bob","online":false}`)
	w.call(http.MethodDelete, "/users/bob/friends", "", http.StatusOK)
	_ = w.join(0, "bob")
	w.hears("bob", "+-+")
	w.heardNothing(ann)
	many := strings.Repeat(`"x",`, 300)
	if got := w.call(http.MethodPut, "/users/ann/friends", `{"friends":[`+many+`"y"]}`, http.StatusBadRequest); !strings.Contains(got, "at most 300") {
		t.Errorf("301 friends: %s", got)
	}
	w.call(http.MethodPut, "/users/ann/friends", `{"friends":["ann"]}`, http.StatusBadRequest)
	w.call(http.MethodPut, "/users/ann/friends", `{}`, http.StatusBadRequest)
	ttl, err := w.redis().TTL(t.Context(), w.Keys().Friends("ann")).Result()
	if err != nil || ttl <= 0 || ttl > 720*time.Hour {
		t.Errorf("the list is kept for %v, %v", ttl, err)
	}
}

func (w *town) redis() *redis.Client {
	w.t.Helper()
	server, err := w.Redis.Master(w.t.Context(), w.Redis.masters()[0])
	if err != nil {
		w.t.Fatal(err)
	}
	c := server.Client()
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestKilledWorkerIsToldOnce kills a worker with many users, of whom some come back
// to another front.
func TestKilledWorkerIsToldOnce(t *testing.T) {
	const users, back = 60, 20
	w := newTown(t, 2)
	var all []hub.UserID
	for i := range users {
		all = append(all, hub.UserID(fmt.Sprintf("u%02d", i)))
	}
	ann := w.join(0, "ann", all...)
	ann.reads(`{"t":"friends","online":[]}`)
	eve := w.join(0, "eve", all[0], all[users-1])
	eve.reads(`{"t":"friends","online":[]}`)
	for _, u := range all {
		w.join(1, string(u), "ann")
		if m := ann.next(); m["user"] != string(u) || m["online"] != true {
			t.Fatalf("ann reads %v", m)
		}
	}
	pids, err := w.Fronts[1].Workers()
	if err != nil || len(pids) != 1 {
		t.Fatal(pids, err)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, u := range all[:back] {
		w.join(0, string(u), "ann")
	}
	m := ann.next()
	var gone []string
	for _, u := range m["users"].([]any) {
		gone = append(gone, u.(string))
	}
	slices.Sort(gone)
	var want []string
	for _, u := range all[back:] {
		want = append(want, string(u))
	}
	if diff := cmp.Diff(want, gone); diff != "" || m["online"] != false || m["t"] != "presence" {
		t.Errorf("ann reads %v: (-want +got):\n%s", m, diff)
	}
	eve.reads(`{"t":"presence","users":["` + string(all[users-1]) + `"],"online":false}`)
	for i, u := range all {
		if i < back {
			w.hears(string(u), "+")
		} else {
			w.hears(string(u), "+-")
		}
	}
	w.heardNothing(ann)
	w.heardNothing(eve)
	// One who comes back after that has come.
	w.join(0, string(all[back]), "ann")
	ann.reads(`{"t":"presence","user":"` + string(all[back]) + `","online":true,"services":["chess"]}`)
}

// TestUsersOfAKilledWorkerGoOnce kills a worker with a thousand users: the backend
// hears once of each that it has gone, but for those who are back.
func TestUsersOfAKilledWorkerGoOnce(t *testing.T) {
	const users, back = 1000, 100
	w := newTown(t, 2)
	name := func(i int) string { return fmt.Sprintf("u%04d", i) }
	for i := range users {
		w.join(1, name(i))
	}
	pids, err := w.Fronts[1].Workers()
	if err != nil || len(pids) != 1 {
		t.Fatal(pids, err)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for i := range back {
		w.join(0, name(i))
	}
	for i := range users {
		if i < back {
			w.hears(name(i), "+")
		} else {
			w.hears(name(i), "+-")
		}
	}
	for i := range back { // after all that
		w.hears(name(i), "+")
	}
}

// TestReplacedWorkerIsNotSeen replaces a front's workers while their users come back
// to the other front. One does not.
func TestReplacedWorkerIsNotSeen(t *testing.T) {
	w := newTown(t, 2)
	ann := w.join(0, "ann", "bob", "cy")
	ann.reads(`{"t":"friends","online":[]}`)
	bob, cy := w.join(1, "bob", "ann"), w.join(1, "cy", "ann")
	for range 2 {
		if m := ann.next(); m["online"] != true {
			t.Fatalf("ann reads %v", m)
		}
	}
	if err := w.Fronts[1].ReplaceWorkers(); err != nil {
		t.Fatal(err)
	}
	for m := bob.next(); m != nil; m = bob.next() { // until the old worker has ended the connection
	}
	w.join(0, "bob", "ann").reads(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
	for m := cy.next(); m != nil; m = cy.next() {
	}
	ann.reads(`{"t":"presence","user":"cy","online":false}`)
	w.hears("cy", "+-")
	w.hears("bob", "+")
	w.heardNothing(ann)
}

// TestCommandsOfALogin counts what a login of a player with 300 friends, of whom 150
// are online, asks of Redis.
func TestCommandsOfALogin(t *testing.T) {
	w := newTown(t, 2)
	var all []hub.UserID
	for i := range hub.MaxFriends {
		all = append(all, hub.UserID(fmt.Sprintf("f%03d", i)))
	}
	var ones []*player
	for i, u := range all[:150] {
		ones = append(ones, w.join(i%2, string(u), "ann"))
	}
	for _, p := range ones {
		p.reads(`{"t":"friends","online":[]}`)
	}
	c := w.redis()
	count := func() map[string]int { return commandStats(t, c) }
	before := count()
	ann := w.join(0, "ann", all...)
	if m := ann.next(); len(m["online"].([]any)) != 150 {
		t.Errorf("ann reads %v", m)
	}
	for _, p := range ones {
		p.reads(`{"t":"presence","user":"ann","online":true,"services":["chess"]}`)
	}
	after := count()
	for _, name := range []string{"evalsha", "mget", "mset", "get", "publish"} {
		t.Logf("%s: %d more", name, after[name]-before[name])
	}
	if n := after["mget"] - before["mget"]; n < 2 || n > 12 {
		t.Errorf("%d MGETs, want one for the friends, one in the script, and those of leases meanwhile", n)
	}
}

// commandStats is how often each command was called.
func commandStats(t *testing.T, c *redis.Client) map[string]int {
	t.Helper()
	info, err := c.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	stats := make(map[string]int)
	for line := range strings.Lines(info) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		n, _, _ := strings.Cut(rest, ",")
		stats[name], _ = strconv.Atoi(n)
	}
	return stats
}

// TestWhoLingersIsAFriendOnline has a user come back without a word to a friend that has
// come meanwhile.
func TestWhoLingersIsAFriendOnline(t *testing.T) {
	w := newTown(t, 2, "--presence-linger", "5s")
	bob := w.join(1, "bob", "ann")
	bob.reads(`{"t":"friends","online":[]}`)
	w.hears("bob", "+")
	_ = bob.Close()
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(w.redis().Get(t.Context(), w.Keys().User("bob")).Val(), "=~"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("bob does not linger")
		}
	}
	ann := w.join(0, "ann", "bob")
	ann.reads(`{"t":"friends","online":[{"user":"bob","services":[]}]}`)
	bob = w.join(1, "bob", "ann")
	bob.reads(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
	w.heardNothing(ann)
	_ = bob.Close()
	ann.reads(`{"t":"presence","user":"bob","online":false}`)
}

// TestListsChangeWhileConnected makes two users friends who are online, and no friends.
func TestListsChangeWhileConnected(t *testing.T) {
	w := newTown(t, 2)
	ann, bob := w.join(0, "ann"), w.join(1, "bob")
	w.hears("ann", "+")
	w.hears("bob", "+")
	w.call(http.MethodPut, "/users/ann/friends", `{"friends":["bob"]}`, http.StatusOK)
	ann.reads(`{"t":"friends","online":[{"user":"bob","services":["chess"]}]}`)
	bob.reads(`{"t":"presence","user":"ann","online":true,"services":["chess"]}`)
	w.call(http.MethodPut, "/users/bob/friends", `{"friends":["ann"]}`, http.StatusOK)
	bob.reads(`{"t":"friends","online":[{"user":"ann","services":["chess"]}]}`)
	ann.reads(`{"t":"presence","user":"bob","online":true,"services":["chess"]}`)
	w.call(http.MethodDelete, "/users/ann/friends", "", http.StatusOK)
	ann.reads(`{"t":"friends","online":[]}`)
	bob.reads(`{"t":"presence","user":"ann","online":false}`)
	_ = ann.Close() // of whom nobody is to hear any more
	w.hears("ann", "+-")
	w.heardNothing(bob)
}
