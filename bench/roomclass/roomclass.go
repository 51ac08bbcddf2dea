// Package roomclass has the kinds of game rooms that measurements are made in:
// every member says where it is, and everybody is told so once a tick.
package roomclass

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/homing/homing/hub/room"
)

// Prefix begins the names of all of them.
const Prefix = "bench-"

var pattern = regexp.MustCompile(`^bench-(\d{1,3})-(\d{1,2})(-binary)?(-immediate)?$`)

// Name is the name of the class with so many seats and ticks a second. In a binary
// one a position is bytes, else JSON. In an immediate one members are told each
// message at once.
func Name(seats, hz int, binary, immediate bool) string {
	name := Prefix + strconv.Itoa(seats) + "-" + strconv.Itoa(hz)
	if binary {
		name += "-binary"
	}
	if immediate {
		name += "-immediate"
	}
	return name
}

// plenty bounds what members say to no less than a measurement wants of them, a
// second.
const plenty = 1 << 30

// Parse returns the class of a name that Name has made.
func Parse(name string) (*room.Class, error) {
	m := pattern.FindStringSubmatch(name)
	if m == nil {
		return nil, fmt.Errorf("class %q: want %sSEATS-HZ, with -binary and -immediate after it or without", name, Prefix)
	}
	c := room.DefaultClass()
	c.Name, c.Binary, c.Immediate = name, m[3] != "", m[4] != ""
	c.Seats, _ = strconv.Atoi(m[1]) // digits, by the pattern
	c.Hz, _ = strconv.Atoi(m[2])
	c.MemberRate, c.MemberBytes, c.RoomBytes = plenty, plenty, plenty
	c.New = func() room.Logic { return positions{} }
	return &c, c.Validate()
}

// positions keeps where every member is, as it says.
type positions struct{ room.Plain }

// Message implements room.Logic.
func (positions) Message(t *room.Table, m room.Member, data []byte) {
	t.Set(room.Everyone(), string(m.User), data)
}

// Leave implements room.Logic.
func (positions) Leave(t *room.Table, m room.Member, _ room.LeaveReason) { t.Delete(string(m.User)) }

// Tick implements room.Logic. Every tick has something to tell, so that a frame
// that is missing was lost.
func (positions) Tick(t *room.Table) { t.Set(room.Everyone(), tickKey, []byte("0")) }

// tickKey is the state that changes with every tick.
const tickKey = "t"
