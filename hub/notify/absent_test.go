package notify

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
	"github.com/homing/homing/hub/relay"
)

// absentees is an Absent of the test's own.
type absentees struct {
	noted []string
	err   error
}

func (a *absentees) Note(_ context.Context, id string, users []hub.UserID) error {
	a.noted = append(a.noted, fmt.Sprint(id, users))
	return a.err
}

func (a *absentees) NoteSoon(id string, users []hub.UserID) {
	_ = a.Note(context.Background(), id, users)
}

// keepsAll are topics that keep everything.
type keepsAll struct{}

func (keepsAll) Rule(hub.Topic) hub.Keep { return hub.Keep{Count: 1} }

func (keepsAll) Keep(context.Context, []hub.Topic, *hub.Stored, hub.Keep) error { return nil }

// sentBack is a notification that a worker sends back, for a user and a topic.
func sentBack(t *testing.T, id string, age time.Duration) (v hub.Delivery, body []byte) {
	t.Helper()
	n := lasting(id, "ann")
	e := hub.Envelope{
		Kind: hub.KindMissed, ID: id, Users: []hub.UserID{"ann", hub.Topic("guild").Address()}, Shared: 1, Payload: n.Render(), Age: age,
	}
	body = e.Append(nil)
	v, err := hub.ParseEnvelope(body)
	if err != nil {
		t.Fatal(err)
	}
	return v, body
}

// TestWhoWasMissedIsNoted: who was thought online, as soon as the process that was asked
// does not have it, if it is stored, and once.
func TestWhoWasMissedIsNoted(t *testing.T) {
	a := &absentees{}
	w := newWorld(t)
	_, x := New(Deps{Absent: a, Log: quiet, Relay: w.dispatcher.Relay, Index: w.dispatcher.Index, Census: w.dispatcher.Census})
	v, body := sentBack(t, "n1", 0)
	if !x.take(&v, body, time.Now()) {
		t.Fatal("not taken")
	}
	if got := fmt.Sprint(a.noted); got != "[n1[ann]]" {
		t.Errorf("noted %s", got)
	}
	x.loseOf(<-x.missed, drop.NotBack)
	v, body = sentBack(t, "n1", time.Second) // again, where it was handed over to
	x.take(&v, body, time.Now())
	passing := &handover{envelope: hub.Envelope{Kind: hub.KindNotify, ID: "n2", Users: []hub.UserID{"ann"}, Payload: []byte(`{}`)}}
	x.loseOf(passing, drop.NotBack)
	if got := fmt.Sprint(a.noted); got != "[n1[ann]]" {
		t.Errorf("noted %s", got)
	}
	v, body = sentBack(t, "n3", 0) // which nobody takes back within the window
	body[1] = byte(hub.KindNotify)
	x.GivenUp([]relay.Abandoned{{Body: body, Sent: time.Now()}})
	if got := fmt.Sprint(a.noted); got != "[n1[ann] n3[ann]]" {
		t.Errorf("noted %s", got)
	}
}

// TestWhatIsTooMuchStays: what is sent back and has no room stays with the worker, topics
// too, as a whole; nothing is lost by that.
func TestWhatIsTooMuchStays(t *testing.T) {
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	_, x := New(Deps{Log: quiet, Relay: w.dispatcher.Relay, Index: w.dispatcher.Index, Census: w.dispatcher.Census, Registry: reg})
	v, body := sentBack(t, "n1", 0)
	x.count.Store(maxHandovers - 1) // there is room for the user, and not for the topic
	if x.take(&v, body, time.Now()) || len(x.missed) != 0 || x.count.Load() != maxHandovers-1 || x.bytes.Load() != 0 {
		t.Errorf("taken; %d wait, %d are counted with %d bytes", len(x.missed), x.count.Load(), x.bytes.Load())
	}
	lost := func() float64 {
		return testutil.ToFloat64(x.metrics.unreachedTopics.WithLabelValues(drop.TooMany.String()))
	}
	if lost() != 0 {
		t.Errorf("%v topics are counted as lost", lost())
	}
	x.count.Store(0)
	if !x.take(&v, body, time.Now()) || len(x.missed) != 2 || x.count.Load() != 2 {
		t.Errorf("%d wait", len(x.missed))
	}
}

// TestTopicsOfTheDeadBeyondTheBound: they go once to where they have members; when nobody
// can say where that is they are lost, and counted.
func TestTopicsOfTheDeadBeyondTheBound(t *testing.T) {
	w := newWorld(t)
	one := newProcess(t, w.redis, w.keys)
	one.hold(t, "", hub.Topic("guild").Address())
	reg := prometheus.NewRegistry()
	_, x := New(Deps{Log: quiet, Relay: w.dispatcher.Relay, Index: w.dispatcher.Index, Census: w.dispatcher.Census, Registry: reg})
	v, body := sentBack(t, "n1", 0)
	x.count.Store(maxHandovers)
	users, topics := takeOver(&v, body, time.Now())
	if x.adopt(until(t), users, time.Now()) || x.adopt(until(t), topics, time.Now()) {
		t.Fatal("taken up beyond the bound")
	}
	d, got := one.next(t)
	if string(d.ID) != "n1" || d.Age <= 0 || fmt.Sprint(got) != fmt.Sprint([]hub.UserID{hub.Topic("guild").Address()}) {
		t.Errorf("handed over %s aged %v to %v", d.ID, d.Age, got)
	}
	count := func() string {
		return fmt.Sprint(
			testutil.ToFloat64(x.metrics.topicsOnce), testutil.ToFloat64(x.metrics.unreached.WithLabelValues(drop.TooMany.String())),
			testutil.ToFloat64(x.metrics.unreachedTopics.WithLabelValues(drop.TooMany.String())),
		)
	}
	if got := count(); got != "1 1 0" {
		t.Errorf("once, lost users and lost topics: %s", got)
	}
	x.lookAfter = time.Now().Add(time.Hour) // Redis does not answer
	if x.adopt(until(t), topics, time.Now()) || count() != "1 1 1" {
		t.Errorf("once, lost users and lost topics: %s", count())
	}
}

// TestWhoIsAwayIsNoted: of what is stored, the users who are nowhere; of anything else
// nobody.
func TestWhoIsAwayIsNoted(t *testing.T) {
	w := newWorld(t)
	one := newProcess(t, w.redis, w.keys)
	one.hold(t, "chess", "here")
	a := &absentees{}
	w.dispatcher.Storage, w.dispatcher.Absent = newInbox(t, w), a
	w.dispatcher.Histories = keepsAll{}
	passing, kept := lasting("n3", "here", "away"), lasting("n4", "away") // a topic keeps the last
	passing.Store, kept.Store, kept.Topics = 0, 0, []hub.Topic{"guild"}
	for _, n := range []*hub.Notification{lasting("n1", "here", "away", "away", "gone"), lasting("n2", "here"), passing, kept} {
		if _, err := w.dispatcher.Notify(until(t), n); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(a.noted); got != "[n1[away gone]]" {
		t.Errorf("noted %s", got)
	}
	a.err = hub.ErrUnavailable
	if _, err := w.dispatcher.Notify(until(t), lasting("n5", "here", "away")); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("what could not be noted: %v", err)
	}
}
