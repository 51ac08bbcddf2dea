package room

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// mover keeps a position for each member.
type mover struct {
	Plain

	keys [MaxSeats]string
}

func (x *mover) Message(t *Table, m Member, data []byte) {
	if x.keys[m.Seat] == "" {
		x.keys[m.Seat] = "p" + strconv.Itoa(m.Seat)
	}
	t.Set(Everyone(), x.keys[m.Seat], data)
}

type nowhere struct{}

func (nowhere) Frame(int, []byte)                     {}
func (nowhere) Left(int, Member, LeaveReason, string) {}
func (nowhere) Ended(EndReason, []byte)               {}

// BenchmarkTick is what one tick costs a room whose members all move: a message of
// each, and a frame for each. The sockets are not in it.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{4, 20} {
		for name, logic := range map[string]func() Logic{"positions": func() Logic { return &mover{} }, "relay": nil} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				c := DefaultClass()
				c.Name, c.Seats, c.New, c.RoomBytes = "bench", n, logic, 1e9
				r := New("r", &c, 1, nowhere{}, 0)
				generations := make([]uint64, n)
				for i := range n {
					user := hub.UserID(fmt.Sprint("user", i))
					_, _ = r.Reserve(user, 0)
					_, generations[i], _ = r.Join(user, 0)
				}
				now := time.Duration(0)
				b.ReportAllocs()
				for b.Loop() {
					for i, g := range generations {
						if err := r.Message(i, g, []byte(`{"x":123.45,"y":678.9,"a":1.5}`), now); err != nil {
							b.Fatal(err)
						}
					}
					now += c.period()
					r.Tick(now)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/member")
			})
		}
	}
}
