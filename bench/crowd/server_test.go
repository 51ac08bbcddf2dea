package crowd

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
)

// positions is a game in which everybody sees where everybody is.
type positions struct{ room.Plain }

func (positions) Message(t *room.Table, m room.Member, data []byte) {
	t.Set(room.Everyone(), string(m.User), data)
}

// Tick has every tick have a frame, also when nobody has moved.
func (positions) Tick(t *room.Table) {
	data := []byte("1")
	if t.Tick()%2 == 0 {
		data = []byte("2")
	}
	t.Set(room.Everyone(), "even", data)
}

// hall is a server with one room of hub/room, as the front has them.
type hall struct {
	t     *testing.T
	http  *httptest.Server
	began time.Time
	done  chan struct{}
	wg    sync.WaitGroup

	// What the test changes.
	mu     sync.Mutex
	pause  time.Duration // the next tick comes so much later
	refuse string        // what join is answered with, instead
	moved  int           // joins that are answered with where the room is: here
	bad    []byte        // sent to everybody in front of the next frame
	room   *room.Room
	conns  map[int]net.Conn // by seat
}

func startHall(t *testing.T, hz, seats int, binaryRoom bool) *hall {
	t.Helper()
	c := room.DefaultClass()
	c.Name, c.Hz, c.Seats, c.Binary, c.New = "positions", hz, seats, binaryRoom, func() room.Logic { return positions{} }
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	h := &hall{t: t, began: time.Now(), done: make(chan struct{}), conns: make(map[int]net.Conn)}
	h.room = room.New("r", &c, 1, h, 0)
	h.http = httptest.NewServer(http.HandlerFunc(h.connection))
	h.wg.Go(h.run)
	t.Cleanup(func() {
		close(h.done)
		h.mu.Lock()
		for _, c := range h.conns {
			c.Close()
		}
		h.mu.Unlock()
		h.wg.Wait()
		h.http.Close()
	})
	return h
}

func (h *hall) now() time.Duration { return time.Since(h.began) }

// run ticks.
func (h *hall) run() {
	for {
		h.mu.Lock()
		wait := h.room.Due() - h.now() + h.pause
		h.pause = 0
		h.mu.Unlock()
		select {
		case <-time.After(wait):
		case <-h.done:
			return
		}
		h.mu.Lock()
		h.room.Tick(h.now())
		h.mu.Unlock()
	}
}

// Frame implements room.Outlet; h.mu is held.
func (h *hall) Frame(seat int, frame []byte) {
	op := ws.OpText
	if frame[0] != '{' {
		op = ws.OpBinary
	}
	if h.bad != nil {
		_ = wsutil.WriteServerMessage(h.conns[seat], ws.OpText, h.bad)
	}
	_ = wsutil.WriteServerMessage(h.conns[seat], op, frame) // a player that has gone needs none
}

func (h *hall) Left(int, room.Member, room.LeaveReason, string) {}
func (h *hall) Ended(room.EndReason, []byte)                    {}

func (h *hall) connection(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/ws" {
		http.NotFound(w, r)
		return
	}
	u := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "homing.v1" }}
	conn, _, _, err := u.Upgrade(r, w)
	if err != nil {
		h.t.Error(err)
		return
	}
	h.wg.Go(func() { h.serve(conn, hub.UserID(r.URL.Query().Get("token"))) })
}

func (h *hall) serve(conn net.Conn, user hub.UserID) {
	defer conn.Close()
	_ = wsutil.WriteServerText(conn, []byte(`{"t":"hello","id":"x"}`))
	seat, generation := h.join(conn, user)
	for seat >= 0 {
		data, op, err := wsutil.ReadClientData(conn)
		if err != nil {
			break
		}
		h.say(conn, seat, generation, data, op)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.room.Gone(seat, generation, h.now())
}

func (h *hall) join(conn net.Conn, user hub.UserID) (seat int, generation uint64) {
	text, err := wsutil.ReadClientText(conn)
	if err != nil || !strings.Contains(string(text), `"t":"join"`) {
		return -1, 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.moved--; h.moved >= 0 {
		_ = wsutil.WriteServerText(conn, fmt.Appendf(nil, `{"t":"moved","room":"r","url":"ws://%s/ws","ticket":"a+b %d"}`, h.http.Listener.Addr(), h.moved))
		return -1, 0
	}
	if h.refuse != "" {
		_ = wsutil.WriteServerText(conn, []byte(h.refuse))
		return -1, 0
	}
	if _, err := h.room.Reserve(user, h.now()); err != nil {
		h.t.Error(err)
		return -1, 0
	}
	seat, generation, err = h.room.Join(user, 0)
	if err != nil {
		h.t.Error(err)
		return -1, 0
	}
	h.conns[seat] = conn
	_ = wsutil.WriteServerText(conn, []byte(`{"t":"joined","room":"r"}`))
	return seat, generation
}

func (h *hall) say(conn net.Conn, seat int, generation uint64, data []byte, op ws.OpCode) {
	if op == ws.OpText {
		var said struct{ Data json.RawMessage }
		if err := json.Unmarshal(data, &said); err != nil {
			h.t.Error(err)
			return
		}
		data = said.Data
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.room.Message(seat, generation, data, h.now()) != nil {
		_ = wsutil.WriteServerText(conn, []byte(`{"t":"error","of":"say","code":"too_much"}`))
	}
}

// stall has the next tick come later.
func (h *hall) stall(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pause = d
}

// stats are the room's own.
func (h *hall) stats() room.Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.room.Stats()
}

// seats are n of the room, from one on.
func (h *hall) seats(n int) []Seat {
	all := make([]Seat, n)
	for i := range all {
		all[i] = Seat{
			Addr: netip.MustParseAddrPort(strings.TrimPrefix(h.http.URL, "http://")),
			Path: "/ws?token=player" + string(rune('a'+i)), Login: `{"t":"join","ticket":"t","ref":1}`,
			Room: 1, Number: i, From: i,
		}
	}
	return all
}

// TestMarksDiffer: a player finds itself among those of its room.
func TestMarksDiffer(t *testing.T) {
	seen := make(map[uint16]int)
	for seat := range room.MaxSeats {
		m := markOf(seat)
		if other, twice := seen[m]; twice || m == 0 {
			t.Fatalf("seats %d and %d have mark %d", seat, other, m)
		}
		seen[m] = seat
		if p := positionOf(1<<20+5, m); p.x != 5 || p.mark() != m {
			t.Errorf("position %+v", p)
		}
	}
}

// binaryState is a frame of a binary room with one event and two states.
func binaryState(own position) []byte {
	at := func(p position) []byte {
		return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, p.x), p.y)
	}
	part := func(dst, b []byte) []byte { return append(binary.AppendUvarint(dst, uint64(len(b))), b...) }
	b := binary.AppendUvarint(nil, 700)
	b = append(b, 2, 1, 9)
	b = part(part(b, []byte("ann")), []byte("hi"))
	b = append(b, 3)
	b = append(part(b, []byte("even")), 1)
	b = part(b, []byte("1"))
	b = append(part(b, []byte("gone")), 0)
	b = part(b, nil)
	b = append(part(b, []byte("bob")), 1)
	return part(b, at(own))
}
