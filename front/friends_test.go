package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/presence"
)

// fakeFriends are lists and answers in memory.
type fakeFriends struct {
	mu     sync.Mutex
	lists  map[hub.UserID][]hub.UserID
	online []presence.Friend
	err    error
	news   []string
	meets  int
	heard  []string
	hold   chan struct{} // Meet waits for it; nil: it does not
}

func (f *fakeFriends) Stored(_ context.Context, user hub.UserID) ([]hub.UserID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lists[user], nil
}

func (f *fakeFriends) Meet(ctx context.Context, all []*presence.Meeting) {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range all {
		f.meets++
		if m.Err = f.err; m.Err != nil {
			continue
		}
		for _, x := range m.Tell {
			list := slices.DeleteFunc(slices.Clone(m.Friends), func(u hub.UserID) bool { return x.To != nil && !x.To[u] })
			f.news = append(f.news, fmt.Sprint(x.User, " ", x.Online, " ", list))
		}
		m.Online = slices.DeleteFunc(slices.Clone(f.online), func(o presence.Friend) bool { return !slices.Contains(m.Friends, o.User) })
	}
}

func (f *fakeFriends) Heard(user hub.UserID, online bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, fmt.Sprint(user, " ", online))
}

func (f *fakeFriends) hasHeard(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.heard, what)
}

func (f *fakeFriends) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.news)
}

func (f *fakeFriends) met() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.meets
}

// set changes f.
func (f *fakeFriends) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func withFriends(t *testing.T, f *fakeFriends) *rig {
	t.Helper()
	return startDeps(t, func(d *Deps) { d.Friends = f }, nil)
}

// news is a notice that user has come or gone at a time.
func news(user hub.UserID, online bool, at int64, to ...hub.UserID) presence.Message {
	return presence.Message{News: []presence.Word{{News: presence.News{User: user, Online: online, At: time.UnixMicro(at)}, To: to}}}
}

func gone(at int64, users ...hub.UserID) (m presence.Message) {
	for _, u := range users {
		m.Gone = append(m.Gone, presence.Gone{User: u, At: time.UnixMicro(at)})
	}
	return m
}

// told gives the worker a notice, and waits until it was dealt with.
func (r *rig) told(m presence.Message) {
	r.t.Helper()
	done := make(chan struct{})
	if !r.Told(m, func() { close(done) }) {
		r.t.Fatal("there is no room for a notice")
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		r.t.Fatal("a notice was not dealt with")
	}
}

// came has the index say that user came, or went.
func (r *rig) came(user hub.UserID) {
	r.Moved(index.Moves{Came: []index.Arrival{{User: user, Services: []hub.Service{"chess"}, At: time.UnixMicro(1)}}})
}

// word is the next message that is no ping.
func (c *peer) word() (m map[string]any) {
	c.t.Helper()
	f := c.next()
	for f.Header.OpCode == gws.OpPing {
		f = c.next()
	}
	if err := json.Unmarshal(f.Payload, &m); err != nil {
		c.t.Fatalf("message %q: %v", f.Payload, err)
	}
	return m
}

func (c *peer) wants(want string) {
	c.t.Helper()
	got := c.word()
	var w map[string]any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		c.t.Fatal(err)
	}
	if diff := cmp.Diff(w, got); diff != "" {
		c.t.Fatalf("message (-want +got):\n%s", diff)
	}
}

const nobodyOnline = `{"t":"friends","online":[]}`

func TestOneLookUpServesHelloAndFriends(t *testing.T) {
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{"ann": {"bob"}}, online: []presence.Friend{{User: "bob", Services: []hub.Service{"go"}}}}
	r := withFriends(t, f)
	r.presence.goAway()
	c := r.dial("?token=ann")
	wait(t, "the registration", func() bool { return r.presence.count() == 1 })
	r.came("ann") // before whoever waits for the registration is told
	for range 3 {
		r.circlesOf() // the loop has taken it
	}
	c.quiet(50 * time.Millisecond)
	r.presence.back(nil)
	if m := c.json(); m["t"] != "hello" {
		t.Fatalf("first message %v", m)
	}
	c.wants(`{"t":"friends","online":[{"user":"bob","services":["go"]}]}`)
	wait(t, "the friends to be told", func() bool { return len(f.told()) == 1 })
	if got := f.told()[0]; got != "ann true [bob]" || f.met() != 1 {
		t.Errorf("told %q in %d look-ups", got, f.met())
	}
	r.join("ann").wants(`{"t":"friends","online":[{"user":"bob","services":["go"]}]}`)
	if len(f.told()) != 1 {
		t.Errorf("the second device was told of: %q", f.told())
	}
}

// TestWordOfFriendsComesInOrder has a friend come while the list of who is online is
// being looked up.
func TestWordOfFriendsComesInOrder(t *testing.T) {
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{"ann": {"bob"}}, hold: make(chan struct{})}
	r := withFriends(t, f)
	c := r.join("ann")
	r.told(news("bob", false, 1, "ann"))
	r.told(news("bob", true, 2, "ann")) // the last word counts
	close(f.hold)
	c.wants(nobodyOnline)
	c.wants(`{"t":"presence","user":"bob","online":true,"services":[]}`)
	late := news("bob", true, 1, "ann") // it was held up on its way
	late.News[0].Services = []hub.Service{"late"}
	r.told(late)
	r.told(gone(1, "bob"))
	r.told(news("bob", false, 3, "ann"))
	c.wants(`{"t":"presence","user":"bob","online":false}`)
}

func TestHeldWordsOfFriendsAreBounded(t *testing.T) {
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{"ann": {"bob"}}, hold: make(chan struct{})}
	r := withFriends(t, f)
	c := r.join("ann")
	for i := range hub.MaxFriends + 1 {
		r.told(news(hub.UserID(fmt.Sprint("f", i)), true, 1, "ann"))
	}
	f.set(func() { f.online = []presence.Friend{{User: "bob"}} })
	close(f.hold)
	c.wants(`{"t":"friends","online":[{"user":"bob","services":[]}]}`) // it is looked up again
	if n := f.met(); n != 2 {
		t.Errorf("%d look-ups, want a second one after so many words", n)
	}
	r.told(news("bob", false, 2, "ann"))
	c.wants(`{"t":"presence","user":"bob","online":false}`)
}

func TestFailedLookUpOfFriendsIsTriedAgain(t *testing.T) {
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{"ann": {"bob"}}, err: errors.New("away")}
	r := withFriends(t, f)
	c := r.join("ann")
	r.came("ann")
	wait(t, "the second try", func() bool { return f.met() >= 2 })
	f.set(func() { f.err = nil })
	c.wants(nobodyOnline)
	wait(t, "the friends to be told", func() bool { return len(f.told()) == 1 })
}

func TestNoticesWaitInDoubt(t *testing.T) {
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{"ann": {"bob"}}}
	r := withFriends(t, f)
	c := r.join("ann")
	c.wants(nobodyOnline)
	r.turn(hub.StandingDoubt)
	done := make(chan struct{})
	r.Told(news("bob", true, 1, "ann"), func() { close(done) })
	c.quiet(300 * time.Millisecond)
	// Until it is good again no more wait than may.
	many := make([]hub.UserID, hub.MaxUsers)
	for i := range many {
		many[i] = hub.UserID(fmt.Sprint("x", i))
	}
	taken := 0
	for r.Told(gone(1, many...), func() {}) {
		if taken++; taken > maxNoticeNames/hub.MaxUsers {
			t.Fatalf("%d notices were taken", taken)
		}
	}
	if n := r.metric("homing_front_refused_envelopes_total"); n != 1 || taken == 0 {
		t.Errorf("%v refused, %d taken", n, taken)
	}
	r.turn(hub.StandingGood)
	c.wants(`{"t":"presence","user":"bob","online":true,"services":[]}`)
	<-done
	wait(t, "room again", func() bool { return r.Told(gone(1, many...), func() {}) })
}

// TestEveryWatcherHearsOfTheGoneOnce names many to more connections than a turn tells.
func TestEveryWatcherHearsOfTheGoneOnce(t *testing.T) {
	const watchers = 3 * friendBudget / listCost
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{}}
	var many []hub.UserID
	for i := range hub.MaxFriends {
		many = append(many, hub.UserID(fmt.Sprint("f", i)))
	}
	for i := range watchers {
		f.lists[hub.UserID(fmt.Sprint("w", i))] = many
	}
	f.lists["other"] = []hub.UserID{"bob"}
	r := startDeps(t, func(d *Deps) { d.Friends = f }, func(c *Config) { c.AdmitRate, c.AddressRate = 0, 0 })
	var all []*peer
	for i := range watchers {
		c := r.join(fmt.Sprint("w", i))
		c.wants(nobodyOnline)
		all = append(all, c)
	}
	other := r.join("other")
	other.wants(nobodyOnline)
	r.told(news("f7", true, 9)) // it has come since
	r.told(gone(5, append(slices.Clone(many), "stranger")...))
	for _, c := range all {
		m := c.word()
		users, _ := m["users"].([]any)
		if m["t"] != "presence" || m["online"] != false || len(users) != hub.MaxFriends-1 || slices.Contains(users, any("f7")) {
			t.Fatalf("a watcher reads %v", m)
		}
	}
	r.deliver(note("1", "other", "w0"))
	if m := other.word(); m["t"] != "notify" {
		t.Errorf("who has lost nobody reads %v", m)
	}
	if m := all[0].word(); m["t"] != "notify" {
		t.Errorf("a watcher reads %v after it", m)
	}
}

// circlesOf is how many circles the worker keeps.
func (r *rig) circlesOf() int {
	n := make(chan int, 1)
	r.Post(func() { n <- len(r.friends.circles) })
	return <-n
}

func TestCirclesEndWithTheirUsers(t *testing.T) {
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{"ann": {"bob"}, "cy": {"bob"}}}
	r := withFriends(t, f)
	c, d, e := r.join("ann"), r.join("cy"), r.join("none")
	c.wants(nobodyOnline)
	d.wants(nobodyOnline)
	_, _, _ = c.Close(), d.Close(), e.Close()
	wait(t, "them to leave", func() bool { return r.presence.count() == 0 })
	if n := r.circlesOf(); n != 3 {
		t.Fatalf("%d circles while they linger", n)
	}
	r.Moved(index.Moves{Went: []index.Departure{{User: "ann"}, {User: "none"}}, Left: []hub.UserID{"cy"}})
	wait(t, "no circle", func() bool { return r.circlesOf() == 0 })
	if got := f.told(); len(got) != 1 || got[0] != "ann false [bob]" {
		t.Errorf("told %q", got)
	}
}

// TestWhoGoesWithTheWorkerIsToldOf ends a worker.
func TestWhoGoesWithTheWorkerIsToldOf(t *testing.T) {
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{"ann": {"bob"}, "cy": {"bob"}}}
	r := withFriends(t, f)
	r.join("ann").wants(nobodyOnline)
	r.join("cy").wants(nobodyOnline)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.Moved(index.Moves{Went: []index.Departure{{User: "ann"}, {User: "nobody"}}, Left: []hub.UserID{"cy"}})
	r.TellGone(t.Context())
	if got := strings.Join(f.told(), "; "); got != "ann false [bob]" {
		t.Errorf("told %q", got)
	}
	if !f.hasHeard("ann false") || !f.hasHeard("nobody false") {
		t.Errorf("heard: %q", f.heard)
	}
}

// TestNewListsAreTold changes the friends of a user who is online: by another token, and
// by the API where no token names any.
func TestNewListsAreTold(t *testing.T) {
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{"ann": {"bob", "cy"}}}
	r := withFriends(t, f)
	c := r.join("ann")
	c.wants(nobodyOnline)
	r.came("ann")
	wait(t, "it is told", func() bool { return f.hasHeard("ann true") })
	f.set(func() {
		f.lists["ann"] = []hub.UserID{"cy", "dee"}
		f.online = []presence.Friend{{User: "bob"}, {User: "dee"}}
	})
	r.told(presence.Message{Changed: []hub.UserID{"ann", "nobody"}})
	c.wants(`{"t":"friends","online":[{"user":"dee","services":[]}]}`)
	want := []string{"ann true [bob cy]", "ann true [dee]", "ann false [bob]"}
	if diff := cmp.Diff(want, slices.Compact(sortedTail(f.told()))); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	f.set(func() { f.lists["ann"] = nil })
	r.told(presence.Message{Changed: []hub.UserID{"ann"}})
	c.wants(nobodyOnline)
	r.Moved(index.Moves{Went: []index.Departure{{User: "ann"}}})
	wait(t, "its end is known", func() bool { return f.hasHeard("ann false") })
	inAnyOrder := func(s string) bool { return s == "ann false [cy dee]" || s == "ann false [dee cy]" }
	if got := f.told(); len(got) != 5 || !slices.ContainsFunc(got[3:], inAnyOrder) {
		t.Errorf("told %q, want no more of one without friends", got)
	}
}

// sortedTail is list with all but the first sorted, the latest first.
func sortedTail(list []string) []string {
	slices.SortFunc(list[1:], func(a, b string) int { return strings.Compare(b, a) })
	return list
}

// TestWhoLostWordsHearsAnew has other processes say that words to this one were lost.
func TestWhoLostWordsHearsAnew(t *testing.T) {
	const users = 3 * rereadPerTick
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{}}
	r := startDeps(t, func(d *Deps) { d.Friends = f }, func(c *Config) { c.AdmitRate, c.AddressRate = 0, 0 })
	var all []*peer
	for i := range users {
		f.set(func() { f.lists[hub.UserID(fmt.Sprint("w", i))] = []hub.UserID{"bob"} })
		c := r.join(fmt.Sprint("w", i))
		c.wants(nobodyOnline)
		all = append(all, c)
	}
	f.set(func() { f.online = []presence.Friend{{User: "bob"}} })
	r.told(presence.Message{Reread: true})
	for _, c := range all {
		c.wants(`{"t":"friends","online":[{"user":"bob","services":[]}]}`)
	}
}

// TestNobodyIsToldByAWorkerInDoubt has one that was stopped go on: others may have told
// the end of its users meanwhile.
func TestNobodyIsToldByAWorkerInDoubt(t *testing.T) {
	f := &fakeFriends{lists: map[hub.UserID][]hub.UserID{"ann": {"bob"}}}
	r := withFriends(t, f)
	c := r.join("ann")
	c.wants(nobodyOnline)
	r.turn(hub.StandingDoubt)
	before := f.met()
	r.came("ann")
	time.Sleep(100 * time.Millisecond)
	if got := f.told(); len(got) > 0 || f.met() != before {
		t.Errorf("told %q", got)
	}
	r.turn(hub.StandingGood)
	wait(t, "the friends to be told", func() bool { return len(f.told()) == 1 })
}

func TestRecentMovesAreBounded(t *testing.T) {
	var r recentMoves
	at := time.UnixMicro(7)
	for i := range 3 * recentMost {
		r.newer(hub.UserID(fmt.Sprint(i)), at)
	}
	if n := len(r.now) + len(r.before); n > 2*recentMost {
		t.Errorf("%d are remembered", n)
	}
	last := hub.UserID(fmt.Sprint(3*recentMost - 1))
	if r.newer(last, at.Add(-time.Microsecond)) || !r.newer(last, at.Add(time.Microsecond)) {
		t.Error("what came before is not told apart from what came after")
	}
	for now := loop.Tick(0); now <= 3*recentFor; now++ {
		r.age(now)
	}
	if len(r.now)+len(r.before) > 0 {
		t.Error("nothing is forgotten")
	}
}

func TestWithoutFriendsNothingIsKept(t *testing.T) {
	r := start(t, nil)
	r.join("ann")
	if r.friends != nil {
		t.Error("there are circles")
	}
}
