package notify

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/relay"
)

// answering is a process that answers every notification with one status for
// each user named in fates, written for the others.
func (w *world) answering(t *testing.T, fates map[string]hub.Status) *process {
	t.Helper()
	p := newHolder(t, w.redis, w.keys)
	newRelay(t, w.redis, w.keys, p.id, func(m *relay.Message) bool {
		d, err := hub.ParseEnvelope(m.Body)
		if err != nil {
			t.Error(err)
		}
		var statuses []byte
		for u := range d.Users {
			s, named := fates[string(u)]
			if !named {
				s = hub.StatusWritten
			}
			statuses = append(statuses, byte(s))
		}
		m.Done(statuses)
		return true
	})
	return p
}

func TestReportCountsEveryTargetOnce(t *testing.T) {
	w := newWorld(t)
	one := w.answering(t, map[string]hub.Status{"queued": hub.StatusQueued, "slow": hub.StatusDropped, "gone": hub.StatusMissed, "moved": hub.StatusMissed, "twice": hub.StatusMissed})
	two := w.answering(t, nil)
	dead := w.mute(t)
	one.hold(t, "", "written", "queued", "slow", "twice", "gone", "moved")
	two.hold(t, "", "other", "twice")
	dead.hold(t, "", "unheard")
	n := &hub.Notification{
		ID: "n1", Data: []byte(`1`), Wait: 300 * time.Millisecond, PerUser: true,
		Users: []hub.UserID{"written", "queued", "slow", "twice", "gone", "moved", "other", "unheard", "absent", "written"},
	}
	time.AfterFunc(100*time.Millisecond, func() { two.registrar.Set("moved", []hub.ServiceCount{{Count: 1}}, nil) })
	started := time.Now()
	sum, err := w.dispatcher.Notify(until(t), n)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took > 2*time.Second {
		t.Errorf("took %v with a wait of %v", took, n.Wait)
	}
	want := &hub.Report{
		Written: 3, Queued: 1, DroppedSlow: 1, Offline: 2, Moved: 1, Unknown: 1,
		PerUser: map[hub.UserID]hub.Fate{
			"written": "written", "queued": "queued", "slow": "dropped_slow", "twice": "written",
			"gone": "offline", "moved": "moved", "other": "written", "unheard": "unknown", "absent": "offline",
		},
	}
	if d := cmp.Diff(want, sum.Report); d != "" {
		t.Errorf("report (-want +got):\n%s", d)
	}
	if sum.Targets != 9 {
		t.Errorf("%d targets, want 9", sum.Targets)
	}
}

func TestReportComesAsSoonAsAllHaveAnswered(t *testing.T) {
	w := newWorld(t)
	w.answering(t, nil).hold(t, "", "alice")
	n := &hub.Notification{ID: "n1", Data: []byte(`1`), Wait: 10 * time.Second, Users: []hub.UserID{"alice"}}
	started := time.Now()
	sum, err := w.dispatcher.Notify(until(t), n)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took > n.Wait/2 {
		t.Errorf("took %v", took)
	}
	if d := cmp.Diff(&hub.Report{Written: 1}, sum.Report); d != "" {
		t.Errorf("report (-want +got):\n%s", d)
	}
}
