package front

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/hub"
)

// startRoomsTLS runs a worker that knows rooms and takes TLS only.
func startRoomsTLS(tb testing.TB, change func(*Config)) *roomRig {
	tb.Helper()
	dir := tb.TempDir()
	writeCert(tb, dir, "first.example")
	return startRooms(tb, func(c *Config) {
		c.Listen, c.TLSListen = "", "127.0.0.1:0"
		c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		if change != nil {
			change(c)
		}
	})
}

// pipe connects to the worker over TLS as user, into a room of the process to,
// and reads hello. With a request come more bytes.
func (r *roomRig) pipe(user string, to hub.ProcessID, more string, headers ...string) *peer {
	r.t.Helper()
	raw := r.dialFrom("127.0.0.1")
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, joining(user+"&room="+string(to), headers...)+more); err != nil {
		r.t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatalf("%v, %v", res, err)
	}
	c := newClient(r.t, conn, br)
	if hello := c.json(); owner(hello) != to {
		r.t.Fatalf("first message %v, want the hello of %s", hello, to)
	}
	return c
}

// idle waits until the workers have nothing left of any client.
func idle(tb testing.TB, all ...*roomRig) {
	tb.Helper()
	wait(tb, "nothing to be left", func() bool {
		left := 0.0
		for _, r := range all {
			left += r.metric("homing_front_connections") + r.metric("homing_front_piped_connections") + r.metric("homing_front_pending_connections")
		}
		return left == 0
	})
}

func TestAClientOverTLSComesToTheProcessOfItsRoom(t *testing.T) {
	a, b := startRoomsTLS(t, nil), startRooms(t, nil)
	c := a.pipe("ann", b.process, frameText(`{"t":"ping","ref":"early"}`))
	if m := c.json(); m["ref"] != "early" {
		t.Errorf("got %v", m)
	}
	if n := a.metric("homing_front_piped_connections"); n != 1 {
		t.Errorf("%v piped", n)
	}
	b.deliver(note(`1`, "ann"))
	if m := c.json(); m["t"] != "notify" {
		t.Errorf("got %v", m)
	}
	c.text(`{"t":"ping","ref":2}`)
	if m := c.json(); m["ref"] != 2.0 {
		t.Errorf("got %v", m)
	}
	b.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann"}, Payload: []byte("bye")})
	c.wantClose(4003) // and TLS says that it was the end
	_ = c.Close()
	idle(t, a, b)
	a.wantPassed(passedPiped, 1)
	if n := a.metric("homing_front_closes_total"); n != 0 {
		t.Errorf("%v closes counted of who was no session here", n)
	}
}

func TestAPipedClientsEndIsItsOwnersToo(t *testing.T) {
	a, b := startRoomsTLS(t, nil), startRooms(t, nil)
	for name, end := range map[string]func(c *peer){
		"with a word": func(c *peer) {
			c.write(gws.MaskFrame(gws.NewCloseFrame(gws.NewCloseFrameBody(1000, ""))))
			c.wantClose(1000)
		},
		"without": func(c *peer) { _ = c.Conn.(*tls.Conn).NetConn().Close() },
	} {
		before := b.metric("homing_front_closes_total", "code", "1000")
		c := a.pipe("ann", b.process, "")
		end(c)
		_ = c.Close()
		idle(t, a, b)
		if n := b.metric("homing_front_closes_total", "code", "1000") - before; (n == 1) != (name == "with a word") {
			t.Errorf("%s: %v closed with 1000", name, n)
		}
	}
}

// TestASlowPipedClientIsItsOwnersToJudge has a client not read: what it is sent
// must not pile up in the worker that it has connected to.
func TestASlowPipedClientIsItsOwnersToJudge(t *testing.T) {
	a, b := startRoomsTLS(t, func(c *Config) { c.SendBuffer = 4096 }), startRooms(t, smallOutbox)
	c := a.pipe("ann", b.process, "")
	if err := c.Conn.(*tls.Conn).NetConn().(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		b.deliver(classNote(hub.ClassMust, "", i, "ann"))
	}
	wait(t, "the owner to cut it", func() bool { return b.dropped("slow_consumer", "must") > 0 })
	if n := a.metric("homing_front_dropped_messages_total"); n != 0 {
		t.Errorf("%v messages dropped where no message is known", n)
	}
	for i := 0; ; i++ { // what it was sent is whole
		f := c.next()
		if f.Header.OpCode == gws.OpClose {
			if code, _ := gws.ParseCloseFrameData(f.Payload); code != 4008 {
				t.Errorf("closed with %d", code)
			}
			if i > 1000 {
				t.Errorf("%d messages of 1 KiB were on their way", i)
			}
			break
		}
		if !strings.Contains(string(f.Payload), `"id":"`+strconv.Itoa(i)+`"`) {
			t.Fatalf("message %d is %.60q", i, f.Payload)
		}
	}
	_ = c.Close()
	idle(t, a, b)
}

func TestAPipeCarriesMuchInOrder(t *testing.T) {
	a, b := startRoomsTLS(t, nil), startRooms(t, func(c *Config) { c.OutboxBytes, c.OutboxMessages = 4<<20, 5000 })
	c := a.pipe("ann", b.process, "")
	const n = 2000
	for i := range n {
		b.deliver(classNote(hub.ClassMust, "", i, "ann"))
	}
	for i := range n {
		if id := c.json()["id"]; id != strconv.Itoa(i) {
			t.Fatalf("message %v in the place of %d", id, i)
		}
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestAnOwnerThatStandsStillIsSentNoMore has a client flood a process that does
// not read: what it sends must not pile up in the worker between them.
func TestAnOwnerThatStandsStillIsSentNoMore(t *testing.T) {
	a := startRoomsTLS(t, func(c *Config) { c.WriteTimeout = time.Minute; c.MessageRate = 0 })
	id, process, _ := startOwner(t)
	c := a.pipe("ann", id, "")
	signal(t, process, unix.SIGSTOP, "T")
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	frame := []byte(frameText(`{"t":"ping","ref":"` + strings.Repeat("x", 60000) + `"}`))
	for {
		if _, err := c.Write(frame); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			break
		}
	}
	if n := a.metric("homing_front_received_bytes_total"); n > 512<<10 {
		t.Errorf("%v bytes were read", n)
	}
	signal(t, process, unix.SIGCONT, "RS")
	if code, reason := c.closed(); code != 1008 {
		t.Errorf("closed with %d %q, want 1008: it has sent too much", code, reason)
	}
	_ = c.Close()
	idle(t, a)
}

func TestAPipeOutlivesTheHandshakeTimeout(t *testing.T) {
	a, b := startRoomsTLS(t, func(c *Config) { c.HandshakeTimeout = 400 * time.Millisecond }), startRooms(t, nil)
	c := a.pipe("ann", b.process, "")
	time.Sleep(time.Second)
	c.text(`{"t":"ping","ref":1}`)
	if m := c.json(); m["ref"] != 1.0 {
		t.Errorf("got %v", m)
	}
}

func TestAPipedClientHasItsAddress(t *testing.T) {
	a, b := startRoomsTLS(t, nil), startRooms(t, func(c *Config) { c.AddressConnections = 1 })
	a.pipe("ann", b.process, "", "X-Forwarded-For: 192.0.2.1")
	conn := tls.Client(a.dialFrom("127.0.0.1"), &tls.Config{InsecureSkipVerify: true})
	if status, _ := a.statusOn(conn, joining("ann&room="+string(b.process), "X-Forwarded-For: 192.0.2.1")); status != 429 {
		t.Errorf("a second one: status %d", status)
	}
	a.pipe("ann", b.process, "", "X-Forwarded-For: 192.0.2.2")
}

func TestAWorkerThatStopsEndsItsPipes(t *testing.T) {
	a, b := startRoomsTLS(t, func(c *Config) { c.DrainTimeout = 20 * time.Second }), startRooms(t, nil)
	c := a.pipe("ann", b.process, "")
	begin := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- a.stop() }()
	if f, err := c.frame(); !errors.Is(err, io.EOF) {
		t.Errorf("frame %q, error %v, want the end", f.Payload, err)
	}
	_ = c.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("stopped after %v", d)
	}
	idle(t, b)
}

func TestPipesLeaveNoDescriptor(t *testing.T) {
	a, b := startRoomsTLS(t, unlimited), startRooms(t, unlimited)
	one := func() { _ = a.pipe("ann", b.process, "").Close() }
	one()
	idle(t, a, b)
	before := descriptors(t)
	for range 100 {
		one()
	}
	idle(t, a, b)
	wait(t, "all descriptors to be closed", func() bool { return a.passages.crew.busy.Load() == 0 && descriptors(t) <= before })
}
