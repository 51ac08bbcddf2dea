// Own-game is Homing with a game of one's own in it: the same program, options and
// commands as homing, and rooms of the class "race", in which who clicks first so
// many times wins.
package main

import (
	"os"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/cmd/homing/app"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
)

const goal = 10 // clicks

func main() {
	race := room.DefaultClass()
	race.Name, race.Seats = "race", 4
	race.New = func() room.Logic { return &logic{Clicks: map[hub.UserID]int{}} }
	os.Exit(app.Main(&race))
}

// logic is one race. What Plain does is good enough for the rest.
type logic struct {
	room.Plain

	Clicks map[hub.UserID]int
}

// Join tells a player's clicks to all.
func (l *logic) Join(t *room.Table, m room.Member, _ bool) { l.tell(t, m) }

// Leave forgets a player.
func (l *logic) Leave(t *room.Table, m room.Member, _ room.LeaveReason) {
	delete(l.Clicks, m.User)
	t.Delete(string(m.User))
}

// Message is a click, whatever it says.
func (l *logic) Message(t *room.Table, m room.Member, _ []byte) {
	l.Clicks[m.User]++
	l.tell(t, m)
	if l.Clicks[m.User] == goal {
		winner, _ := json.Marshal(m.User)
		t.Finish(winner)
	}
}

func (l *logic) tell(t *room.Table, m room.Member) {
	t.Set(room.Everyone(), string(m.User), []byte(strconv.Itoa(l.Clicks[m.User])))
}

// Snapshot lets a running race move to another process.
func (l *logic) Snapshot() ([]byte, error) { return json.Marshal(l.Clicks, json.Deterministic(true)) }

// Restore goes on from a snapshot there.
func (l *logic) Restore(_ *room.Table, b []byte) error { return json.Unmarshal(b, &l.Clicks) }
