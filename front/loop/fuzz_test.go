package loop

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub/drop"
)

// FuzzConnection does to one connection what the data says, in turn with its
// client's reads and the loop's turns: whatever was taken of a message is read
// whole and in order, or told as given up, and nothing follows the end.
func FuzzConnection(f *testing.F) {
	f.Add([]byte("\x00\x10\x21\x32\x08\x08\x06\x09"))
	f.Add([]byte("\x04\x00\xf0\x13\x42\x05\x08\x06\x06\x06\x08\x09"))
	f.Add([]byte("\xf0\xf0\xf0\xf0\xf1\xf1\xf2\xf2\xf2\x06\x0b\x08\x06\xf0\x09"))
	f.Add([]byte("\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\x0a"))
	f.Fuzz(func(t *testing.T, plan []byte) {
		if len(plan) > 300 {
			return
		}
		e := newExperiment(t)
		defer e.end()
		for _, b := range plan {
			e.do(b&15, int(b>>4))
		}
		e.verify()
	})
}

// experiment is one connection, and what has been done to it.
type experiment struct {
	*rig

	c      *Conn[text]
	client int // its descriptor
	input  []byte
	sent   Lost // messages that Send has not refused as Gone, by class
	serial uint32
	ended  bool // End was called
	cut    bool // and its last bytes were given up
}

func newExperiment(t *testing.T) *experiment {
	e := &experiment{rig: prepare(t, func(cfg *Config, _ *lines) { cfg.QueueBytes, cfg.QueueMessages = 4<<10, 8 })}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	e.client = pair[1]
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1024); err != nil {
		t.Fatal(err)
	}
	e.Adopt(pair[0], false)
	e.step()
	if e.c = e.only(); e.c == nil {
		t.Fatal("the connection is not adopted")
	}
	return e
}

func (e *experiment) step() {
	e.t.Helper()
	if err := e.Step(e.h); err != nil {
		e.t.Fatal(err)
	}
}

func (e *experiment) end() {
	_ = epoll.Close(e.client)
	if err := e.Close(); err != nil {
		e.t.Error(err)
	}
}

// do does one of 16 things; n, up to 15, says how much.
func (e *experiment) do(what byte, n int) {
	switch what {
	case 0, 1, 2, 3:
		e.send(Class(what), n)
	case 4:
		e.Cork(e.c)
	case 5:
		if e.c.is(corked) {
			e.Uncork(e.c, &Message{Data: e.frame(Control, 0)})
		}
	case 6:
		e.readSome(n * 64)
	case 7:
		_, _ = unix.Write(e.client, []byte("x"))
	case 8:
		e.step()
	case 9:
		e.End(e.c, e.frame(Classes, n), n%2 == 1)
		e.ended = true
	case 10:
		if n > 8 { // else hardly anything is left to be seen
			e.Drop(e.c, drop.Closed)
		}
	case 11:
		e.Abandon(e.c, drop.Closed)
		e.cut = e.ended
	}
}

// frame is a message with its length, its class and its number.
func (e *experiment) frame(class Class, n int) []byte {
	e.serial++
	b := binary.BigEndian.AppendUint16(nil, uint16(7+n*n*8))
	b = binary.BigEndian.AppendUint32(append(b, byte(class)), e.serial)
	return append(b, make([]byte, n*n*8)...)
}

func (e *experiment) send(class Class, n int) {
	m := Message{Data: e.frame(class, n), Class: class}
	if class == Latest {
		m.Key = []byte{byte(n % 3)}
	}
	if status := e.Send(e.c, &m); status != Gone {
		if e.ended {
			e.t.Errorf("status %d after End", status)
		}
		e.sent[class]++
	}
}

// readSome has the client read; it reports false at the end.
func (e *experiment) readSome(n int) bool {
	buf := make([]byte, n)
	n, err := unix.Read(e.client, buf)
	if err == nil && len(buf) > 0 && n == 0 {
		return false
	}
	e.input = append(e.input, buf[:max(n, 0)]...)
	return true
}

// verify ends the connection, if nothing has, and compares what the client has
// read with what it was sent.
func (e *experiment) verify() {
	e.t.Helper()
	dropped := e.c.Gone()
	if !e.ended && !dropped {
		e.do(9, 0)
	}
	for turns := 0; e.readSome(4 << 10); turns++ {
		e.step()
		if turns > 1000 {
			e.t.Fatal("the end does not come")
		}
	}
	whole, last := e.parse()
	if !dropped && !e.cut && last != Classes {
		e.t.Error("the last bytes are missing")
	}
	for class := Must; class < Classes; class++ {
		lost := 0
		for _, of := range e.h.lost {
			lost += of[class]
		}
		if whole[class]+lost != e.sent[class] {
			e.t.Errorf("class %d: %d sent, %d read and %d given up", class, e.sent[class], whole[class], lost)
		}
	}
}

// parse counts the whole messages that the client has read, and returns the
// class of the last one. Messages of a class come in the order in which they were
// sent.
func (e *experiment) parse() (whole [Classes + 1]int, last Class) {
	e.t.Helper()
	var newest [Classes + 1]uint32
	b := e.input
	for len(b) >= 7 {
		n := int(binary.BigEndian.Uint16(b))
		if n > len(b) {
			break
		}
		class, serial := Class(b[2]), binary.BigEndian.Uint32(b[3:])
		if serial <= newest[class] && class != Control { // Uncork puts one in front
			e.t.Errorf("class %d: %d after %d", class, serial, newest[class])
		}
		if last == Classes {
			e.t.Error("something follows the end")
		}
		newest[class], last = serial, class
		whole[class]++
		b = b[n:]
	}
	if len(b) > 0 && !e.c.Gone() {
		e.t.Errorf("%d bytes are left of what was read", len(b))
	}
	return whole, last
}
