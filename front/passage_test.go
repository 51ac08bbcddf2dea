package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	gws "github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/handoff"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room/host"
)

// fakeRooms has the process of a room be its ticket, but for some tickets.
type fakeRooms struct{ hold chan struct{} }

// Join is not for these tests.
func (fakeRooms) Join(host.Line, hub.UserID, string, uint64) *host.Seat { return nil }

// Nor are these.
func (fakeRooms) Evacuate(time.Time)        {}
func (fakeRooms) Stay()                     {}
func (fakeRooms) Count() (rooms, seats int) { return 0, 0 }

func (f fakeRooms) Locate(ctx context.Context, ticket string) (hub.ProcessID, error) {
	switch ticket {
	case "ended":
		return "", nil
	case "broken":
		return "", errors.New("Redis is down")
	case "slow":
		select {
		case <-f.hold:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		return "", nil
	case "late": // is found when the client has gone
		<-f.hold
		return "", nil
	}
	return hub.ProcessID(ticket), nil
}

// roomRig is a worker that knows rooms.
type roomRig struct {
	*rig
	process hub.ProcessID
	rooms   fakeRooms
}

func startRooms(tb testing.TB, change func(*Config)) *roomRig {
	tb.Helper()
	r := &roomRig{process: hub.NewProcessID(), rooms: fakeRooms{make(chan struct{})}}
	r.rig = startDeps(tb, func(d *Deps) { d.Process, d.Rooms = r.process, r.rooms }, change)
	return r
}

// owner is the process that hello names.
func owner(hello map[string]any) hub.ProcessID {
	process, _, _ := strings.Cut(fmt.Sprint(hello["conn"]), ".")
	return hub.ProcessID(process)
}

func (r *roomRig) passed(result passed) float64 {
	return r.metric("homing_front_passed_connections_total", "result", string(result))
}

func (r *roomRig) wantPassed(result passed, n float64) {
	r.t.Helper()
	wait(r.t, "the result to be counted", func() bool { return r.passed(result) >= n })
	if all := r.metric("homing_front_passed_connections_total"); r.passed(result) != n || all != n {
		r.t.Errorf("%v are %s of %v, want %v", r.passed(result), result, all, n)
	}
}

func TestAClientComesToTheProcessOfItsRoom(t *testing.T) {
	a, b := startRooms(t, nil), startRooms(t, nil)
	c := a.dial("?token=ann@chess&room=" + string(b.process))
	if got := owner(c.json()); got != b.process {
		t.Fatalf("hello is of %s, want %s", got, b.process)
	}
	if a.presence.of("ann") != nil || len(b.presence.of("ann")) != 1 {
		t.Errorf("ann is at the first process %v, at the other %v", a.presence.of("ann"), b.presence.of("ann"))
	}
	c.text(`{"t":"ping","ref":1}`)
	if m := c.json(); m["t"] != "ok" {
		t.Errorf("got %v", m)
	}
	b.deliver(note(`1`, "ann"))
	if m := c.json(); m["t"] != "notify" {
		t.Errorf("got %v", m)
	}
	b.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann"}, Payload: []byte("bye")})
	c.wantClose(4003)
	a.wantPassed(passedOn, 1)
	if n := b.metric("homing_front_received_connections_total"); n != 1 {
		t.Errorf("%v received", n)
	}
	wait(t, "nothing to be left", func() bool {
		return a.metric("homing_front_connections")+b.metric("homing_front_connections")+a.metric("homing_front_pending_connections") == 0
	})
}

func TestWhatCannotBePassedIsServedHere(t *testing.T) {
	a := startRooms(t, nil)
	for ticket, result := range map[string]passed{
		string(a.process):          passedHere,
		string(hub.NewProcessID()): passedFar,
		"ended":                    passedUnknown,
		"broken":                   passedUnknown,
		"not-a-process-id":         passedFar,
	} {
		before := a.passed(result)
		c := a.dial("?token=ann&room=" + ticket)
		if got := owner(c.json()); got != a.process {
			t.Errorf("room %s: hello is of %s", ticket, got)
		}
		wait(t, "the result to be counted", func() bool { return a.passed(result) == before+1 })
		_ = c.Close()
	}
}

// TestAProcessThatTakesNobodyIsPassedNobody has it be in doubt, short of
// descriptors, and about to stop.
func TestAProcessThatTakesNobodyIsPassedNobody(t *testing.T) {
	a := startRooms(t, nil)
	doubtful, full, stopping := startRooms(t, nil), startRooms(t, func(c *Config) { c.MaxDescriptors = 1 }), startRooms(t, nil)
	doubtful.standing.set(hub.StandingDoubt)
	full.join("bob") // its only place
	stopping.join("bob")
	stopping.Drain()
	for i, to := range []*roomRig{doubtful, full, stopping} {
		if got := owner(a.dial("?token=ann&room=" + string(to.process)).json()); got != a.process {
			t.Errorf("%d: hello is of %s", i, got)
		}
	}
	a.wantPassed(passedRefused, 3)
}

func TestOtherRequestsAreNotHeld(t *testing.T) {
	a := startRooms(t, nil)
	for _, query := range []string{"?token=ann", "?token=ann&room="} {
		if got := owner(a.dial(query).json()); got != a.process {
			t.Errorf("%s: hello is of %s", query, got)
		}
	}
	plain := start(t, nil)
	if got := owner(plain.dial("?token=ann&room=slow").json()); got != "process-abc" {
		t.Errorf("without rooms: hello is of %s", got)
	}
	if n := a.metric("homing_front_passed_connections_total"); n != 0 {
		t.Errorf("%v counted", n)
	}
}

func TestWhatIsRefusedHereIsRefusedAfterTheSearch(t *testing.T) {
	a := startRooms(t, nil)
	for query, status := range map[string]int{"token=bad&room=ended": 401, "room=ended": 401, "token=ann&room=ended": 101} {
		conn := a.dialFrom("127.0.0.1")
		if got, _ := a.statusOn(conn, "GET /ws?"+query+" HTTP/1.1\r\n"+upgradeHead+"\r\n"); got != status {
			t.Errorf("%s: status %d, want %d", query, got, status)
		}
	}
}

// TestEarlyBytesAreNotLost has a client send with its request, while its room is
// searched, and after it was passed.
func TestEarlyBytesAreNotLost(t *testing.T) {
	b := startRooms(t, nil)
	for _, ticket := range []string{string(b.process), "ended", "slow"} {
		a := startRooms(t, nil)
		conn := a.dialFrom("127.0.0.1")
		request := "GET /ws?token=ann&room=" + ticket + " HTTP/1.1\r\n" + upgradeHead + "\r\n"
		frames := ""
		for i := range 3 {
			frames += frameText(fmt.Sprintf(`{"t":"ping","ref":%d}`, i))
		}
		cut := len(request) + len(frames)/2
		all := request + frames
		_, _ = io.WriteString(conn, all[:cut])
		time.Sleep(20 * time.Millisecond)
		_, _ = io.WriteString(conn, all[cut:])
		time.Sleep(20 * time.Millisecond)
		close(a.rooms.hold)
		br := bufio.NewReader(conn)
		if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
			t.Fatalf("%s: %v", ticket, err)
		}
		c := newClient(t, conn, br)
		if m := c.json(); m["t"] != "hello" {
			t.Errorf("%s: first %v", ticket, m)
		}
		for i := range 3 {
			if m := c.json(); m["ref"] != float64(i) {
				t.Errorf("%s: answer %d is %v", ticket, i, m)
			}
		}
	}
}

func frameText(s string) string {
	var b strings.Builder
	_ = gws.WriteFrame(&b, gws.MaskFrame(gws.NewTextFrame([]byte(s))))
	return b.String()
}

// TestMoreThanIsKeptIsServedHere has a client send more than is kept, with its
// request and while its room is searched.
func TestMoreThanIsKeptIsServedHere(t *testing.T) {
	a := startRooms(t, func(c *Config) { c.HandshakeLimit = 1024 })
	frame := frameText(`{"t":"ping","ref":"` + strings.Repeat("x", 900) + `"}`)
	conn := a.dialFrom("127.0.0.1")
	if status, _ := a.statusOn(conn, joining("ann&room=ended")+frame); status != http.StatusSwitchingProtocols {
		t.Errorf("with the request: status %d", status)
	}
	a.wantPassed(passedLong, 1)
	conn = a.dialFrom("127.0.0.1")
	_, _ = io.WriteString(conn, joining("ann&room=late"))
	wait(t, "the search", func() bool { return a.passages.crew.busy.Load() == 1 })
	if status, _ := a.statusOn(conn, frame); status != http.StatusSwitchingProtocols {
		t.Errorf("while the room is searched: status %d", status)
	}
	close(a.rooms.hold)
	wait(t, "the search to end", func() bool { return a.passages.crew.busy.Load() == 0 })
}

func TestAClientThatLeavesMeanwhileIsForgotten(t *testing.T) {
	a := startRooms(t, nil)
	conn := a.dialFrom("127.0.0.1")
	_, _ = io.WriteString(conn, "GET /ws?token=ann&room=late HTTP/1.1\r\n"+upgradeHead+"\r\n")
	time.Sleep(20 * time.Millisecond)
	_ = conn.Close()
	wait(t, "the client to be gone", func() bool { return a.metric("homing_front_handshakes_total", "result", "abandoned") == 1 })
	close(a.rooms.hold)
	wait(t, "the search to end", func() bool { return a.passages.crew.busy.Load() == 0 })
}

func TestASearchThatTakesTooLongIsGivenUp(t *testing.T) {
	a := startRooms(t, func(c *Config) { c.HandshakeTimeout = time.Second })
	begin := time.Now()
	if got := owner(a.dial("?token=ann&room=slow").json()); got != a.process {
		t.Errorf("hello is of %s", got)
	}
	if d := time.Since(begin); d < 200*time.Millisecond || d > 900*time.Millisecond {
		t.Errorf("after %v, want a quarter of a second", d)
	}
	a.wantPassed(passedUnknown, 1)
}

func TestNoMoreThanTheBoundAreSearchedFor(t *testing.T) {
	a := startRooms(t, nil)
	a.passages.crew.busy.Add(maxPassages)
	if got := owner(a.dial("?token=ann&room=slow").json()); got != a.process {
		t.Errorf("hello is of %s", got)
	}
	a.wantPassed(passedBusy, 1)
	a.passages.crew.busy.Add(-maxPassages)
}

// TestAPassedConnectionIsNotPassedAgain has two processes each take the other for
// the owner.
func TestAPassedConnectionIsNotPassedAgain(t *testing.T) {
	a, b := startRooms(t, nil), startRooms(t, nil)
	fd, peer := socketPair(t)
	if !b.passages.take(handoff.Passed{FD: fd, Head: []byte("GET /ws?token=ann&room=" + string(a.process) + " HTTP/1.1\r\n" + upgradeHead + "\r\n")}) {
		t.Fatal("not taken")
	}
	c := newClient(t, peer, nil)
	c.skipReply()
	if got := owner(c.json()); got != b.process {
		t.Errorf("hello is of %s", got)
	}
}

// TestAddressesAreKeptAndCounted passes clients that come through proxies to a
// worker that takes two of an address.
func TestAddressesAreKeptAndCounted(t *testing.T) {
	b := startRooms(t, func(c *Config) { c.AddressConnections, c.ProxyProtocol = 2, true })
	byHeader, byProxy := startRooms(t, nil), startRooms(t, func(c *Config) { c.ProxyProtocol = true })
	for name, join := range map[string]func(client string) int{
		"X-Forwarded-For": func(client string) int {
			status, _ := byHeader.statusOn(byHeader.dialFrom("127.0.0.1"), joining("ann&room="+string(b.process), "X-Forwarded-For: "+client))
			return status
		},
		"PROXY": func(client string) int {
			conn := byProxy.dialFrom("127.0.0.1")
			_, _ = conn.Write(proxyHeaderFor(t, client))
			status, _ := byProxy.statusOn(conn, joining("ann&room="+string(b.process)))
			return status
		},
	} {
		first, other := "192.0.2.1", "192.0.2.2"
		if name == "PROXY" {
			first, other = "192.0.2.3", "192.0.2.4"
		}
		for i, want := range []int{101, 101, 429} {
			if status := join(first); status != want {
				t.Errorf("%s: connection %d has status %d, want %d", name, i, status, want)
			}
		}
		if status := join(other); status != 101 {
			t.Errorf("%s: of another address: status %d", name, status)
		}
	}
	byHeader.wantPassed(passedOn, 4)
	byProxy.wantPassed(passedOn, 4)
}

func TestPassesLeaveNoDescriptor(t *testing.T) {
	a, b := startRooms(t, unlimited), startRooms(t, unlimited)
	one := func() {
		c := a.dial("?token=ann&room=" + string(b.process))
		if got := owner(c.json()); got != b.process {
			t.Errorf("hello is of %s", got)
		}
		_ = c.Close()
	}
	one()
	idle := func() bool { return b.metric("homing_front_users") == 0 && a.passages.crew.busy.Load() == 0 }
	wait(t, "the first to be gone", idle)
	time.Sleep(200 * time.Millisecond)
	before := descriptors(t)
	for range 1000 {
		one()
	}
	wait(t, "all to be gone", func() bool { return idle() && descriptors(t) <= before })
	a.wantPassed(passedOn, 1001)
}

// TestACrowdComesToItsRoomAtOnce has everybody of a room that has moved come back
// in the same moment.
func TestACrowdComesToItsRoomAtOnce(t *testing.T) {
	a, b := startRooms(t, unlimited), startRooms(t, unlimited)
	const crowd = 600
	var conns [crowd]net.Conn
	for i := range conns {
		conns[i] = a.dialFrom("127.0.0.1")
	}
	for i, conn := range conns {
		_, _ = io.WriteString(conn, joining(fmt.Sprintf("user-%d&room=%s", i, b.process)))
	}
	for i, conn := range conns {
		if status, _ := a.answerOn(conn); status != http.StatusSwitchingProtocols {
			t.Fatalf("client %d: status %d", i, status)
		}
	}
	a.wantPassed(passedOn, crowd)
	wait(t, "all to be there", func() bool { return b.presence.count() == crowd })
}

func unlimited(c *Config) { c.AdmitRate, c.AddressRate, c.ByteRate, c.AddressPending = 0, 0, 0, 0 }

func descriptors(tb testing.TB) int {
	tb.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(all)
}

// envOwner makes the test binary a worker by that process id, which prints a line
// and serves until its standard input ends.
const envOwner = "HOMING_TEST_OWNER"

func ownerMain() {
	var cfg Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		panic(err)
	}
	cfg.Listen = "127.0.0.1:0"
	listeners, err := Listen(&cfg)
	if err != nil {
		panic(err)
	}
	w, err := NewWorker(cfg, listeners, Deps{
		Process: hub.ProcessID(os.Getenv(envOwner)), Auth: fakeAuth{}, Rooms: fakeRooms{},
		Presence: &fakePresence{users: map[hub.UserID][]hub.ServiceCount{}},
		Log:      slog.New(slog.DiscardHandler), Registry: newRegistry(),
	})
	if err != nil {
		panic(err)
	}
	go func() { _ = w.Run(context.Background()) }()
	fmt.Println("serves")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startOwner starts a worker in a process of its own, which end kills.
func startOwner(t *testing.T) (id hub.ProcessID, process *os.Process, end func()) {
	t.Helper()
	id = hub.NewProcessID()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envOwner+"="+string(id))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the owner does not start: %v", err)
	}
	return id, cmd.Process, end
}

// TestAnOwnerThatStandsStillKeepsNobodyOut passes a client to another process,
// which is stopped then, and goes on, and is killed.
func TestAnOwnerThatStandsStillKeepsNobodyOut(t *testing.T) {
	a := startRooms(t, func(c *Config) { c.HandshakeTimeout = 2 * time.Second })
	id, process, end := startOwner(t)
	join := func() (*peer, hub.ProcessID, time.Duration) {
		begin := time.Now()
		c := a.dial("?token=ann&room=" + string(id))
		return c, owner(c.json()), time.Since(begin)
	}
	first, got, _ := join()
	if got != id {
		t.Fatalf("hello is of %s, want %s", got, id)
	}
	signal(t, process, unix.SIGSTOP, "T")
	if _, got, d := join(); got != a.process || d > time.Second {
		t.Errorf("stopped: hello is of %s after %v", got, d)
	}
	if a.passed(passedSilent) != 1 {
		t.Errorf("%v silent", a.passed(passedSilent))
	}
	signal(t, process, unix.SIGCONT, "RS")
	if _, got, _ := join(); got != id {
		t.Errorf("awake: hello is of %s, want %s", got, id)
	}
	first.text(`{"t":"ping","ref":1}`)
	if m := first.json(); m["t"] != "ok" {
		t.Errorf("got %v", m)
	}
	end()
	if _, err := first.frame(); err == nil {
		t.Error("who was there reads on")
	}
	if _, got, _ := join(); got != a.process {
		t.Errorf("killed: hello is of %s", got)
	}
	if a.passed(passedFar) != 1 {
		t.Errorf("%v elsewhere", a.passed(passedFar))
	}
}

// signal sends s to a process and waits until the kernel says that it is in one
// of some states (proc(5)).
func signal(t *testing.T, p *os.Process, s unix.Signal, states string) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatal(err)
	}
	wait(t, s.String(), func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		return strings.Contains(states, rest[:1])
	})
}
