package front

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

// topicAuth lets everybody join and publish everywhere. What follows a tilde in a token
// are the topics that the client is a member of.
type topicAuth struct{ fakeAuth }

func (a topicAuth) VerifyNow(token string) (auth.Identity, error) {
	token, member, _ := strings.Cut(token, "~")
	id, err := a.fakeAuth.VerifyNow(token)
	id.Topics = &auth.Topics{MayJoin: hub.TopicPatterns{"*"}, MayPublish: hub.TopicPatterns{"*"}}
	for name := range strings.SplitSeq(member, "~") {
		if name != "" {
			id.Topics.Member = append(id.Topics.Member, hub.Topic(name))
		}
	}
	return id, err
}

// fakeHistories are histories whose reads a test answers: a topic is a user of an inbox.
type fakeHistories struct{ *fakeInbox }

func (f fakeHistories) Read(ctx context.Context, topic hub.Topic, after string) (hub.Missed, error) {
	return f.fakeInbox.Read(ctx, topic.Address(), after)
}

// fakePublisher keeps what is published, once it may go on.
type fakePublisher struct {
	mu   sync.Mutex
	err  error
	gate chan struct{} // nil: it goes on at once
	held chan struct{} // closed once a message waits at the gate; nil: nobody asks
	all  []hub.Notification
}

func (f *fakePublisher) Publish(ctx context.Context, n *hub.Notification) error {
	f.mu.Lock()
	gate := f.gate
	if f.held != nil {
		close(f.held)
		f.held = nil
	}
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return hub.ErrUnavailable
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, *n)
	return f.err
}

// startTopics runs a worker whose clients do with topics what they like.
func startTopics(t *testing.T, change func(*Config)) (r *rig, kept fakeHistories, publisher *fakePublisher) {
	t.Helper()
	kept, publisher = fakeHistories{newFakeInbox()}, &fakePublisher{}
	r = startDeps(t, func(d *Deps) {
		d.Auth, d.Inbox, d.Histories, d.Publisher = topicAuth{}, kept.fakeInbox, kept, publisher
	}, change)
	return r, kept, publisher
}

// toTopics is an envelope of a notification for topics.
func toTopics(id string, topics ...hub.Topic) hub.Envelope {
	n := hub.Notification{ID: id, Data: []byte(`1`)}
	e := hub.Envelope{Kind: hub.KindNotify, ID: id, Shared: len(topics), Payload: n.Render()}
	if len(topics) > 1 {
		e.Mix = hub.MixTopics
	}
	for _, t := range topics {
		e.Users = append(e.Users, t.Address())
	}
	return e
}

// pong has everything that was sent to c before it be read.
func (c *peer) pong() {
	c.t.Helper()
	c.text(`{"t":"ping"}`)
	c.wantText(`{"t":"ok"}`)
}

// TestTheIndexHearsOfTopicsOnce has many members join and leave: the index is told of the
// first and of the last.
func TestTheIndexHearsOfTopicsOnce(t *testing.T) {
	r, _, _ := startTopics(t, nil)
	ann := r.join("ann~a~b~a")
	bob := r.join("bob~a")
	cleo := r.join("cleo")
	sets := func() int {
		r.presence.mu.Lock()
		defer r.presence.mu.Unlock()
		return r.presence.sets
	}
	if n := sets(); n != 5 { // three users, two topics
		t.Errorf("%d writes, want 5", n)
	}
	for range 10 {
		cleo.text(`{"t":"subscribe","topic":"a"}`)
		cleo.wantText(`{"t":"subscribed","topic":"a"}`)
		cleo.text(`{"t":"unsubscribe","topic":"a"}`)
		cleo.wantText(`{"t":"unsubscribed","topic":"a"}`)
	}
	_ = ann.Close()
	wait(t, "ann to go", func() bool { return r.presence.of("ann") == nil })
	if r.presence.of(hub.Topic("a").Address()) == nil || r.presence.of(hub.Topic("b").Address()) != nil {
		t.Error("the index does not say what the worker has")
	}
	if n := sets(); n != 7 {
		t.Errorf("%d writes, want 7", n)
	}
	r.deliver(toTopics("1", "a", "b"))
	bob.wantIDs("1")
	cleo.pong()
	_ = bob.Close()
	wait(t, "the topic to go", func() bool { return r.presence.of(hub.Topic("a").Address()) == nil })
	wait(t, "the gauges", func() bool {
		return r.metric("homing_front_topics") == 0 && r.metric("homing_front_topic_memberships") == 0
	})
}

// TestMembersHearOnce has connections meant in several ways by one envelope, and by one
// that is handed over.
func TestMembersHearOnce(t *testing.T) {
	r, _, _ := startTopics(t, nil)
	both := r.join("both~a~b")
	also := r.join("also~b")
	user := r.join("user")
	e := toTopics("1", "a", "b")
	e.Users, e.Mix = append([]hub.UserID{"user", "both", "away"}, e.Users...), hub.MixTopics|hub.MixUsers
	var outcome hub.Outcome
	done := make(chan struct{})
	r.Deliver(e.Append(nil), true, func(o hub.Outcome) { outcome = o; close(done) })
	<-done
	for _, c := range []*peer{both, also, user} {
		c.wantIDs("1")
		c.pong()
	}
	if got := fmt.Sprintf("%s %d %x %v", outcome.Missed, outcome.Shared, outcome.Statuses, outcome.Reached); got != "[away] 0 0303000303 [0 1]" {
		t.Errorf("outcome %s", got)
	}
	e.Age = time.Second
	late := r.join("late~a")
	r.deliver(e)
	late.wantIDs("1") // it joined when the others had been told
	for _, c := range []*peer{both, also, user, late} {
		c.pong()
	}
	only := toTopics("2", "b") // the part of another process, which is handed over here
	only.Mix, only.Users = hub.MixUsers, append([]hub.UserID{"also"}, only.Users...)
	r.deliver(only)
	also.wantIDs("2")
	both.wantIDs("2")
	rest := hub.Envelope{Kind: hub.KindNotify, ID: "2", Mix: hub.MixUsers, Age: time.Second, Users: []hub.UserID{"both", "user"}, Payload: only.Payload}
	r.deliver(rest)
	user.wantIDs("2")
	both.pong()

	first := hub.Envelope{Kind: hub.KindNotify, ID: "3", Mix: hub.MixUsers, Users: []hub.UserID{"both"}, Payload: only.Payload}
	r.deliver(first)
	both.wantIDs("2") // as its payload says
	again := toTopics("3", "b")
	again.Mix, again.Age = hub.MixUsers, time.Second
	r.deliver(again)
	also.wantIDs("3")
	both.pong()
}

// TestManyMembers has a delivery take several turns of the loop, while members come and go.
func TestManyMembers(t *testing.T) {
	r, _, _ := startTopics(t, func(c *Config) { c.AddressRate, c.AdmitRate, c.PingInterval = 0, 0, time.Hour })
	const members = 2*turnBudget + 100
	peers := make([]*peer, members)
	for i := range peers {
		peers[i] = r.join(fmt.Sprintf("u%d~a", i))
	}
	done := make(chan hub.Outcome, 1)
	e := toTopics("1", "a")
	r.Deliver(e.Append(nil), true, func(o hub.Outcome) { done <- o })
	for i := range 50 {
		peers[i*7].text(`{"t":"unsubscribe","topic":"a"}`)
	}
	o := <-done
	heard := 0
	for i, c := range peers {
		if i%7 == 0 && i/7 < 50 { // it left before or after it was told
			m := c.json()
			if m["t"] == "notify" {
				heard++
				m = c.json()
			}
			if m["t"] != "unsubscribed" {
				t.Fatalf("%v", m)
			}
		} else {
			c.wantIDs("1")
			heard++
		}
		c.pong()
	}
	if o.Reached[0] != heard {
		t.Errorf("%d connections reached, %d have heard", o.Reached[0], heard)
	}
}

// TestSubscribeCatchesUp has live messages wait until the history is told, in order, each
// once; of several topics, one after the other, and of the inbox too.
func TestSubscribeCatchesUp(t *testing.T) {
	r, kept, _ := startTopics(t, nil)
	c := r.join("ann")
	c.text(`{"t":"subscribe","topic":"a","after":"x","ref":1}`)
	c.text(`{"t":"subscribe","topic":"b","after":"","ref":2}`)
	c.text(`{"t":"subscribe","topic":"a","after":"x","ref":3}`)
	c.wantText(`{"t":"error","of":"subscribe","code":"already_subscribed","ref":3}`)
	read := kept.next(t)
	if read.user != hub.Topic("a").Address() || read.after != "x" {
		t.Fatalf("%s is read after %s", read.user, read.after)
	}
	for _, id := range []string{"a2", "a3"} {
		r.deliver(toTopics(id, "a"))
	}
	for _, id := range []string{"b1", "b2"} {
		r.deliver(toTopics(id, "b"))
	}
	c.pong()
	read.finds("a1", "a2")
	c.wantText(`{"t":"subscribed","topic":"a","recovered":true,"count":2,"last":"last","ref":1}`)
	c.wantIDs("a1", "a2")
	kept.next(t).finds("b1")
	c.wantText(`{"t":"subscribed","topic":"b","recovered":true,"count":1,"last":"last","ref":2}`)
	c.wantIDs("b1", "a3", "b2")
	r.deliver(toTopics("a2", "a")) // comes again
	r.deliver(toTopics("a4", "a"))
	c.wantIDs("a4")

	c.text(`{"t":"resume"}`)
	read = kept.next(t)
	r.deliver(toTopics("a5", "a"))
	c.pong()
	read.finds()
	c.wantText(resumedNothing)
	c.wantIDs("a5")
}

// TestKeptByTwoTopics has a client come back to two topics that keep the same message: it
// hears it once, and again when it asks for one of them anew.
func TestKeptByTwoTopics(t *testing.T) {
	r, kept, _ := startTopics(t, nil)
	c := r.join("ann")
	c.text(`{"t":"subscribe","topic":"a","after":"x"}`)
	c.text(`{"t":"subscribe","topic":"b","after":"x"}`)
	kept.next(t).finds("a1", "both")
	c.wantText(`{"t":"subscribed","topic":"a","recovered":true,"count":2,"last":"last"}`)
	c.wantIDs("a1", "both")
	r.deliver(toTopics("both", "a", "b")) // comes again, live
	r.deliver(toTopics("b2", "b"))
	c.pong()
	kept.next(t).finds("b1", "both", "b2")
	c.wantText(`{"t":"subscribed","topic":"b","recovered":true,"count":2,"last":"last"}`)
	c.wantIDs("b1", "b2")
	r.deliver(toTopics("3", "b"))
	c.wantIDs("3")
	c.text(`{"t":"unsubscribe","topic":"a"}`)
	c.wantText(`{"t":"unsubscribed","topic":"a"}`)
	c.text(`{"t":"subscribe","topic":"a","after":""}`)
	kept.next(t).finds("a1", "both")
	c.wantText(`{"t":"subscribed","topic":"a","recovered":true,"count":2,"last":"last"}`)
	c.wantIDs("a1", "both")
}

// TestLatestIsHandedOverLate has an older message of class latest be handed over after a
// newer one with its key: what waits is the newer one.
func TestLatestIsHandedOverLate(t *testing.T) {
	r, kept, _ := startTopics(t, nil)
	time.Sleep(1100 * time.Millisecond) // nothing was sent before the worker began
	c := r.join("ann")
	c.text(`{"t":"subscribe","topic":"a","after":""}`)
	read := kept.next(t)
	r.deliver(latestTo("new", 0, "a"))
	r.deliver(latestTo("old", time.Second, "a"))
	wait(t, "it gives way", func() bool { return r.dropped("replaced", "latest") == 1 })
	read.finds()
	c.wantText(`{"t":"subscribed","topic":"a","recovered":true,"count":0,"last":"last"}`)
	c.wantIDs("new")
	c.pong()
}

// latestTo is an envelope of class latest, which was accepted so long ago.
func latestTo(id string, age time.Duration, topics ...hub.Topic) hub.Envelope {
	e := toTopics(id, topics...)
	e.Class, e.Key, e.Age = hub.ClassLatest, "k", age
	return e
}

// TestThePlaceIsNotToldAgain has what a client names as its place be handed over once more.
func TestThePlaceIsNotToldAgain(t *testing.T) {
	r, kept, _ := startTopics(t, nil)
	c := r.join("ann")
	c.text(`{"t":"subscribe","topic":"a","after":"place"}`)
	kept.next(t).finds("a1")
	c.wantText(`{"t":"subscribed","topic":"a","recovered":true,"count":1,"last":"last"}`)
	c.wantIDs("a1")
	r.deliver(toTopics("place", "a"))
	r.deliver(toTopics("a2", "a"))
	c.wantIDs("a2")
}

// TestCatchUpInVain has the history unreadable, and the client leave while it is read.
func TestCatchUpInVain(t *testing.T) {
	r, kept, _ := startTopics(t, nil)
	c := r.join("ann")
	c.text(`{"t":"subscribe","topic":"a","after":""}`)
	read := kept.next(t)
	r.deliver(note(`1`, "ann"))
	c.pong()
	read.answer <- fakeAnswer{err: errors.New("away")}
	c.wantText(`{"t":"error","of":"subscribe","code":"unavailable"}`)
	c.wantIDs("n1")
	r.deliver(toTopics("1", "a")) // it is no member
	c.pong()

	c.text(`{"t":"subscribe","topic":"a","after":""}`)
	read = kept.next(t)
	c.text(`{"t":"unsubscribe","topic":"a"}`)
	c.wantText(`{"t":"unsubscribed","topic":"a"}`)
	r.deliver(note(`1`, "ann"))
	c.wantIDs("n1")
	read.finds("a1")
	c.pong()

	c.text(`{"t":"subscribe","topic":"a","after":""}`)
	read = kept.next(t)
	_ = c.Close()
	wait(t, "ann to go", func() bool { return r.presence.of("ann") == nil })
	read.finds("a1")
	wait(t, "the replay's bytes to be given back", func() bool { return r.metric("homing_front_replay_bytes") == 0 })
}

// TestTheIndexIsAway has clients told that they are no members where the index could not be
// told, and those whose token names a topic not let in.
func TestTheIndexIsAwayForTopics(t *testing.T) {
	r, kept, _ := startTopics(t, func(c *Config) { c.RegisterTimeout = 300 * time.Millisecond })
	c := r.join("ann")
	r.presence.goAway()
	c.text(`{"t":"subscribe","topic":"a","after":"","ref":1}`)
	c.text(`{"t":"subscribe","topic":"a","after":"","ref":2}`)
	c.wantText(`{"t":"error","of":"subscribe","code":"already_subscribed","ref":2}`)
	r.deliver(note(`1`, "ann")) // waits for the catching up
	c.wantText(`{"t":"error","of":"subscribe","code":"unavailable","ref":1}`)
	c.wantIDs("n1")
	r.dial("?token=bob~a").wantClose(1013)
	r.presence.back(nil)
	c.text(`{"t":"subscribe","topic":"a","after":"","ref":4}`)
	kept.next(t).finds()
	c.wantText(`{"t":"subscribed","topic":"a","recovered":true,"count":0,"last":"last","ref":4}`)
	r.join("bob~a")
}

// TestMissedTopics has a topic without members be missed once, by who sent it, and one whose
// members are of other services not at all.
func TestMissedTopics(t *testing.T) {
	r, _, _ := startTopics(t, nil)
	r.join("ann@chess~a")
	outcome := func(e hub.Envelope) (o hub.Outcome) {
		done := make(chan hub.Outcome, 1)
		r.Deliver(e.Append(nil), false, func(o hub.Outcome) { done <- o })
		return <-done
	}
	e := toTopics("1", "a", "none")
	e.Services = []hub.Service{"go"}
	if o := outcome(e); fmt.Sprint(o.Missed) != "[ none]" || o.Shared != 1 {
		t.Errorf("%+v", o)
	}
	e.Age = time.Second
	if o := outcome(e); len(o.Missed) > 0 {
		t.Errorf("%q is missed of what is handed over", o.Missed)
	}
}

// TestLeaveInTheMiddle has a connection that is cut by what it is told when it leaves, while
// the index is told of its topic.
func TestLeaveInTheMiddle(t *testing.T) {
	r, _, _ := startTopics(t, func(c *Config) { c.OutboxMessages, c.SendBuffer = 4, 4096 })
	other := r.join("other")
	c := r.join("ann")
	r.presence.goAway()
	c.text(`{"t":"subscribe","topic":"a","after":""}`)
	c.pong()
	big := note(`"`+strings.Repeat("x", 200_000)+`"`, "ann")
	r.deliver(big) // held
	r.deliver(note(`1`, "other"))
	other.wantIDs("n1")
	if _, err := r.LeaveTopic(t.Context(), "a", []hub.UserID{"ann"}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // it is cut
		r.deliver(big)
	}
	r.deliver(note(`1`, "other"))
	other.wantIDs("n1")
	r.presence.back(nil)
}

// TestWhoWasAMemberStaysOne has the history unreadable for a client whose token names the
// topic.
func TestWhoWasAMemberStaysOne(t *testing.T) {
	r, kept, _ := startTopics(t, nil)
	c := r.join("ann~a")
	c.text(`{"t":"subscribe","topic":"a","after":""}`)
	kept.next(t).answer <- fakeAnswer{err: errors.New("away")}
	c.wantText(`{"t":"error","of":"subscribe","code":"unavailable"}`)
	r.deliver(toTopics("1", "a"))
	c.wantIDs("1")
}

// TestSubscribedMeansFound has two subscriptions, and a backend's join, wait for the index.
func TestSubscribedMeansFound(t *testing.T) {
	r, kept, _ := startTopics(t, nil)
	c := r.join("ann")
	r.presence.goAway()
	c.text(`{"t":"subscribe","topic":"a","ref":1}`)
	c.text(`{"t":"subscribe","topic":"a","after":"","ref":2}`)
	c.pong()
	joined := make(chan error, 1)
	go func() {
		_, err := r.JoinTopic(context.Background(), "a", []hub.UserID{"ann"})
		joined <- err
	}()
	select {
	case <-kept.reads:
		t.Error("the history is read too early")
	case err := <-joined:
		t.Errorf("joined too early: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	r.presence.back(nil)
	c.wantText(`{"t":"subscribed","topic":"a","ref":1}`)
	kept.next(t).finds("a1")
	c.wantText(`{"t":"subscribed","topic":"a","recovered":true,"count":1,"last":"last","ref":2}`)
	c.wantIDs("a1")
	if err := <-joined; err != nil {
		t.Error(err)
	}
}

// TestResumeWaitsForACatchUp has a client resume while it catches up with a topic: what is
// live stays in order, and the replays do not mix.
func TestResumeWaitsForACatchUp(t *testing.T) {
	r, kept, _ := startTopics(t, nil)
	c := r.join("ann")
	c.text(`{"t":"subscribe","topic":"a","after":""}`)
	read := kept.next(t)
	live := note(`1`, "ann")
	live.ID, live.Payload = "m1", stored("m1").Payload
	r.deliver(live)
	c.pong()
	c.text(`{"t":"resume"}`)
	c.pong()
	live.ID, live.Payload = "m2", stored("m2").Payload
	r.deliver(live)
	c.pong()
	read.finds("a1")
	c.wantText(`{"t":"subscribed","topic":"a","recovered":true,"count":1,"last":"last"}`)
	c.wantIDs("a1")
	kept.next(t).finds("i1")
	c.wantText(`{"t":"resumed","recovered":true,"count":1,"last":"last"}`)
	c.wantIDs("i1", "m1", "m2")
}

// TestHandOverIsForMembersOfThen has what is handed over pass those by who were connected
// and no members when it was sent.
func TestHandOverIsForMembersOfThen(t *testing.T) {
	r, _, _ := startTopics(t, nil)
	c := r.join("ann")
	time.Sleep(3500 * time.Millisecond) // the connection is older than what is handed over
	c.text(`{"t":"subscribe","topic":"a"}`)
	c.wantText(`{"t":"subscribed","topic":"a"}`)
	back := r.join("back~a")
	e := toTopics("1", "a")
	e.Age = 2 * time.Second
	r.deliver(e)
	back.wantIDs("1")
	c.pong()
}

// TestHandOverIsForThoseWhoComeBack has what is handed over reach those who connected
// before it was sent, and joined soon after that, at any time of the worker's seconds.
func TestHandOverIsForThoseWhoComeBack(t *testing.T) {
	r, _, _ := startTopics(t, nil)
	for i := range 5 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			time.Sleep(time.Duration(i) * 200 * time.Millisecond)
			c, topic := r.join(fmt.Sprint("user", i)), fmt.Sprint("topic", i)
			time.Sleep(1400 * time.Millisecond)
			c.text(`{"t":"subscribe","topic":"` + topic + `"}`)
			c.wantText(`{"t":"subscribed","topic":"` + topic + `"}`)
			e := toTopics("1", hub.Topic(topic))
			e.Age = 200 * time.Millisecond
			r.deliver(e)
			c.wantIDs("1")
		})
	}
}

// TestHandOverIsForMembersBefore has what is handed over reach those who had been connected
// for long and joined just before it was sent, at any time of the worker's seconds.
func TestHandOverIsForMembersBefore(t *testing.T) {
	r, _, _ := startTopics(t, nil)
	for i := range 5 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			c, topic := r.join(fmt.Sprint("user", i)), fmt.Sprint("topic", i)
			time.Sleep(3500*time.Millisecond + time.Duration(i)*200*time.Millisecond)
			c.text(`{"t":"subscribe","topic":"` + topic + `"}`)
			c.wantText(`{"t":"subscribed","topic":"` + topic + `"}`)
			time.Sleep(2200 * time.Millisecond)
			e := toTopics("1", hub.Topic(topic))
			e.Age = 1900 * time.Millisecond
			r.deliver(e)
			c.wantIDs("1")
		})
	}
}

// TestMarksOfSecondsWithoutATick has the loop be late.
func TestMarksOfSecondsWithoutATick(t *testing.T) {
	x := topics{joined: 1}
	x.mark(3)
	x.joined = 2
	x.mark(3)
	x.mark(6)
	x.joined = 3
	x.mark(7)
	if got := [7]uint64(x.marks[1:8]); got != [7]uint64{1, 1, 1, 2, 2, 2, 3} {
		t.Errorf("marks %v", got)
	}
	x.mark(7 + 100*markSeconds)
	for i, n := range x.marks {
		if n != 3 {
			t.Errorf("after a long time mark %d is %d", i, n)
		}
	}
}

// TestTopicsOfAStream has an event stream be a member, by its token and by a backend.
func TestTopicsOfAStream(t *testing.T) {
	r, _, _ := startTopics(t, nil)
	s := r.stream("?token=ann~a")
	if e, _ := s.next(); e.name != "hello" {
		t.Fatalf("%+v", e)
	}
	if fates, err := r.JoinTopic(t.Context(), "b", []hub.UserID{"ann"}); err != nil || fates[0] != hub.TopicDone {
		t.Fatalf("%v, %v", fates, err)
	}
	if e, _ := s.next(); e.name != "topic" || e.data != `{"t":"subscribed","topic":"b"}` {
		t.Errorf("%+v", e)
	}
	r.deliver(toTopics("1", "a", "b"))
	if e, _ := s.next(); e.name != "" || !strings.Contains(e.data, `"id":"1"`) {
		t.Errorf("%+v", e)
	}
	if _, err := r.LeaveTopic(t.Context(), "a", []hub.UserID{"ann", "bob"}); err != nil {
		t.Error(err)
	}
	if e, _ := s.next(); e.name != "topic" || e.data != `{"t":"unsubscribed","topic":"a"}` {
		t.Errorf("%+v", e)
	}
}

// TestAStreamSubscribes has event streams ask for topics with their request, and be told
// of each what a WebSocket would be.
func TestAStreamSubscribes(t *testing.T) {
	r, kept, _ := startTopics(t, func(c *Config) { c.InboxRate, c.InboxBurst = 1, 500 })
	s := r.stream("?token=ann~mine&topic=a&topic=mine&topic=b%20b&topic=a&topic=" + strings.Repeat("x", 200) + "&topic=&topic=%ff")
	if e, _ := s.next(); e.name != "hello" {
		t.Fatalf("%+v", e)
	}
	want := []string{
		`problem {"t":"error","of":"subscribe","code":"bad_topic","ref":""}`,
		`problem {"t":"error","of":"subscribe","code":"bad_topic","ref":""}`,
		`problem {"t":"error","of":"subscribe","code":"bad_topic","ref":"b b"}`,
		`problem {"t":"error","of":"subscribe","code":"bad_topic","ref":"` + strings.Repeat("x", hub.MaxTopic) + `"}`,
		`topic {"t":"subscribed","topic":"a","ref":"a"}`,
		`topic {"t":"subscribed","topic":"mine","ref":"mine"}`,
	}
	var got []string
	for range want { // the index may answer later
		e, _ := s.next()
		got = append(got, e.name+" "+e.data)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("answered %s", got)
	}
	r.deliver(toTopics("1", "a"))
	if e, _ := s.next(); !strings.Contains(e.data, `"id":"1"`) {
		t.Errorf("%+v", e)
	}

	many := "?token=bob&lastEventId=x"
	for i := range hub.MaxTopics {
		many += fmt.Sprint("&topic=t", i)
	}
	s = r.stream(many)
	if e, _ := s.next(); e.name != "hello" {
		t.Fatalf("%+v", e)
	}
	read := kept.next(t) // its inbox, which comes first
	codes := map[string]int{}
	for range hub.MaxTopics {
		e, _ := s.next()
		codes[e.name+strings.TrimPrefix(e.data[:min(len(e.data), 55)], `{"t":"error","of":"subscribe","code":`)[:10]]++
	}
	if codes[`problem"rate_limi`] == 0 || len(codes) != 2 {
		t.Errorf("%v", codes)
	}
	r.deliver(toTopics("2", "t0"))
	read.finds("m1")
	for _, want := range []string{`"t":"resumed"`, `"id":"m1"`, `id`, `"id":"2"`} {
		if e, _ := s.next(); !strings.Contains(e.data+" id", want) {
			t.Errorf("%+v, want %s", e, want)
		}
	}

	res, body := r.raw("GET /events?token=cleo" + strings.Repeat("&topic=a", hub.MaxTopics+1) + " HTTP/1.1\r\nHost: x\r\n\r\n")
	if res.StatusCode != 400 || !strings.Contains(body, "65 topics") {
		t.Errorf("too many topics: %d %s", res.StatusCode, body)
	}
}

// TestAStreamMayNotSubscribe where its token does not say so.
func TestAStreamMayNotSubscribe(t *testing.T) {
	r := start(t, nil)
	s := r.stream("?token=ann&topic=a")
	for _, want := range []string{"hello ", `problem {"t":"error","of":"subscribe","code":"not_allowed","ref":"a"}`} {
		if e, _ := s.next(); !strings.HasPrefix(e.name+" "+e.data, want) {
			t.Errorf("%+v, want %s", e, want)
		}
	}
}

// TestTopicsAreListedInTurns has more topics, and more members of one, than the loop looks
// at in one turn be listed, while others come and go.
func TestTopicsAreListedInTurns(t *testing.T) {
	r, _, _ := startTopics(t, nil)
	const clients, each = 45, 60
	want := map[hub.Topic]int{"all": clients}
	var stay []*peer
	for i := range clients {
		token := fmt.Sprint("u", i, "~all")
		for k := range each {
			name := hub.Topic(fmt.Sprintf("t%02d-%02d", i, k))
			token, want[name] = token+"~"+string(name), 1
		}
		stay = append(stay, r.join(token))
	}
	if len(want) < 2*askTopics {
		t.Fatal("one turn is enough")
	}
	done, churned := make(chan struct{}), make(chan struct{})
	churning := r.join("churn")
	go func() {
		defer close(churned)
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			name := fmt.Sprint("churn", i%7)
			churning.text(`{"t":"subscribe","topic":"` + name + `"}`)
			churning.wantText(`{"t":"subscribed","topic":"` + name + `"}`)
			churning.text(`{"t":"unsubscribe","topic":"` + name + `"}`)
			churning.wantText(`{"t":"unsubscribed","topic":"` + name + `"}`)
		}
	}()
	for range 5 {
		got := map[hub.Topic]int{}
		for after := hub.Topic(""); ; {
			page, err := r.Topics(t.Context(), "", after, 400)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page {
				if c.Topic <= after {
					t.Fatalf("%s after %s", c.Topic, after)
				}
				if after = c.Topic; !strings.HasPrefix(string(after), "churn") {
					got[after] = c.Connections
				}
			}
			if len(page) < 400 {
				break
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%d topics are listed, want %d", len(got), len(want))
		}
	}
	close(done)
	<-churned
	for _, c := range stay[1:] {
		_ = c.Close()
	}
	wait(t, "the others to go", func() bool {
		page, err := r.Topics(t.Context(), "t", "", 1000)
		return err == nil && len(page) == each
	})
	members, err := r.TopicMembers(t.Context(), "all")
	if err != nil || fmt.Sprint(members) != "[u0]" {
		t.Errorf("members %v, %v", members, err)
	}
}

func TestTopicsOfAConnectionAreBounded(t *testing.T) {
	r, _, _ := startTopics(t, nil)
	c := r.join("ann")
	for i := range hub.MaxTopics {
		c.text(fmt.Sprintf(`{"t":"subscribe","topic":"t%d"}`, i))
		c.wantText(fmt.Sprintf(`{"t":"subscribed","topic":"t%d"}`, i))
	}
	c.text(`{"t":"subscribe","topic":"t64"}`)
	c.wantText(`{"t":"error","of":"subscribe","code":"too_many_topics"}`)
	fates, err := r.JoinTopic(t.Context(), "t64", []hub.UserID{"ann", "bob"})
	if err != nil || fmt.Sprint(fates) != fmt.Sprint([]hub.TopicFate{hub.TopicFull, hub.TopicAway}) {
		t.Errorf("%v, %v", fates, err)
	}
	if n := r.metric("homing_front_topic_subscribes_total", "result", "too_many_topics"); n != 1 {
		t.Errorf("%v refusals counted", n)
	}
}

// TestPublish has what one connection publishes stay in order, and refusals say why.
func TestPublish(t *testing.T) {
	r, _, publisher := startTopics(t, func(c *Config) { c.PublishRate, c.PublishBurst, c.PublishQueue = 1, 20, publishLanes })
	c := r.join("ann@chess")
	gate, held := make(chan struct{}), make(chan struct{})
	publisher.mu.Lock()
	publisher.gate, publisher.held = gate, held
	publisher.mu.Unlock()
	for i := range 3 {
		c.text(fmt.Sprintf(`{"t":"publish","topic":"a","type":"chat","data":%d,"ref":%d}`, i, i))
		if i == 0 {
			<-held // before that it waits itself
		}
	}
	c.wantText(`{"t":"error","of":"publish","code":"unavailable","ref":2}`) // one is under way, one waits
	close(gate)
	for range 2 {
		if m := c.json(); m["t"] != "published" || m["id"] == nil {
			t.Errorf("%v", m)
		}
	}
	publisher.mu.Lock()
	for i, n := range publisher.all {
		if n.Sender != "ann" || n.From != "chess" || n.Type != "chat" || fmt.Sprint(n.Topics) != "[a]" || string(n.Data) != fmt.Sprint(i) {
			t.Errorf("%+v", n)
		}
	}
	publisher.mu.Unlock()
	for err, code := range map[error]string{
		hub.ErrUnavailable: "unavailable", &hub.RoomError{Pot: hub.PotInbox}: "no_room", hub.Invalid("data", "bad"): "bad_json",
	} {
		publisher.mu.Lock()
		publisher.err = err
		publisher.mu.Unlock()
		c.text(`{"t":"publish","topic":"a","data":1}`)
		c.wantText(`{"t":"error","of":"publish","code":"` + code + `"}`)
	}
	limited := false
	for range 30 {
		c.text(`{"t":"publish","topic":"a","data":1}`)
		limited = limited || c.json()["code"] == "rate_limited"
	}
	if !limited || r.metric("homing_front_topic_publishes_total", "result", "rate_limited") == 0 {
		t.Error("a client may publish as much as it likes")
	}
}

// TestPublishAgain has a message that is sent twice under the client's id have one id for
// all who hear it, and no other user's or topic's message the same.
func TestPublishAgain(t *testing.T) {
	r, _, publisher := startTopics(t, nil)
	ann, bob := r.join("ann"), r.join("bob")
	say := func(c *peer, topic string) {
		c.text(`{"t":"publish","topic":"` + topic + `","id":"m1","data":1}`)
		if m := c.json(); m["t"] != "published" || m["id"] == nil {
			t.Errorf("%v", m)
		}
	}
	say(ann, "a")
	say(ann, "a")
	say(ann, "b")
	say(bob, "a")
	publisher.mu.Lock()
	defer publisher.mu.Unlock()
	ids := make(map[string]int)
	for i, n := range publisher.all {
		ids[n.ID]++
		if (n.ID == publisher.all[0].ID) != (i < 2) {
			t.Errorf("message %d has the id %q", i, n.ID)
		}
	}
	if len(ids) != 3 {
		t.Errorf("%v, want 3 ids", ids)
	}
	for _, id := range []string{`7`, `"` + strings.Repeat("x", 65) + `"`} {
		ann.text(`{"t":"publish","topic":"a","id":` + id + `,"data":1}`)
		ann.wantText(`{"t":"error","of":"publish","code":"bad_json"}`)
	}
	ann.text(`{"t":"publish","topic":"a","ids":["a","b"],"data":1}`)
	ann.wantText(`{"t":"error","of":"publish","code":"bad_json"}`)
}

// TestWithoutTopics has a worker refuse what it has not.
func TestWithoutTopics(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	c.text(`{"t":"publish","topic":"a","data":1}`)
	c.wantText(`{"t":"error","code":"unknown_type"}`)
	c.text(`{"t":"subscribe","topic":"a","after":""}`)
	c.wantText(`{"t":"error","of":"subscribe","code":"no_history"}`)
	c.text(`{"t":"subscribe","topic":"a"}`)
	c.wantText(`{"t":"error","of":"subscribe","code":"not_allowed"}`)
	c.text(`{"t":"subscribe","topic":7}`)
	c.wantText(`{"t":"error","of":"subscribe","code":"bad_topic"}`)
}
