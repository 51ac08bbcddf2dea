package docs_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
)

// heard is a room's Outlet that keeps the frames of all seats.
type heard struct{ frames [][]byte }

func (h *heard) Frame(_ int, frame []byte) { h.frames = append(h.frames, frame) }

func (h *heard) Left(int, room.Member, room.LeaveReason, string) {}

func (h *heard) Ended(room.EndReason, []byte) {}

// TestFramesAreAsDescribed plays in a room and holds what its members read to
// asyncapi.yaml.
func TestFramesAreAsDescribed(t *testing.T) {
	a := loadAsyncAPI(t)
	class := room.DefaultClass()
	class.Name, class.New = "lobby", func() room.Logic { return room.Latest{} }
	var h heard
	r := room.New("r-7", &class, 1, &h, 0)
	now := time.Duration(0)
	tick := func() {
		now += time.Second
		r.Tick(now)
	}
	say := func(user string, data string) (seat int, generation uint64) {
		t.Helper()
		if _, err := r.Reserve(hub.UserID(user), now); err != nil {
			t.Fatal(err)
		}
		seat, generation, err := r.Join(hub.UserID(user), 0)
		if err == nil {
			err = r.Message(seat, generation, []byte(data), now)
		}
		if err != nil {
			t.Fatal(err)
		}
		return seat, generation
	}
	seat, generation := say("ann", `{"at":[1,2]}`)
	tick()
	say("bob", `null`)
	if _, err := r.Signal("news", []byte(`"hello"`)); err != nil {
		t.Fatal(err)
	}
	tick()
	r.Leave(seat, generation)
	tick()
	kinds := map[string]bool{}
	for _, frame := range h.frames {
		if err := a.check("frame", json.RawMessage(frame)); err != nil {
			t.Errorf("%s: %v", frame, err)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(frame, &fields); err != nil {
			t.Fatal(err)
		}
		for name := range fields {
			kinds[name] = true
		}
	}
	for _, name := range []string{"recovered", "events", "state"} {
		if !kinds[name] {
			t.Errorf("no frame has had %s", name)
		}
	}
	for _, wrong := range []string{`{"t":"frame"}`, `{"t":"frame","tick":1,"events":[{"from":"ann","data":1}]}`, `{"t":"frame","tick":1,"events":[]}`} {
		if a.check("frame", json.RawMessage(wrong)) == nil {
			t.Errorf("%s passes", wrong)
		}
	}
}
