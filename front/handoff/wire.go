package handoff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/hub"
)

const (
	// version is the first word of a receiver. Workers of two versions of Homing
	// live side by side while a machine is updated.
	version byte = 1
	// taken is its second word.
	taken byte = 'T'

	// MaxHead is how many bytes may have been read of a connection that is passed.
	MaxHead = 64 << 10
	// answerTime is how long one side waits for the other's next word.
	answerTime = 2 * time.Second
)

// Passed is a connection on its way from one process to another.
type Passed struct {
	FD     int        // a non-blocking stream socket
	Head   []byte     // what was read of it; at most MaxHead
	Client netip.Addr // whose connection it is; the zero Addr when that is not known
}

// The errors that callers tell apart.
var (
	// ErrNotHere says that no such process takes connections on this machine.
	ErrNotHere = errors.New("no such process on this machine")
	// ErrRefused says that the process takes no connections now, or is of another
	// version.
	ErrRefused = errors.New("the process takes no connections")
	// ErrSilent says that the process did not answer in time.
	ErrSilent = errors.New("the process does not answer")
	// ErrForeign says that the other side is another user's.
	ErrForeign = errors.New("the process is another user's")
)

// address names the socket of a process.
func address(uid int, process hub.ProcessID) string {
	return fmt.Sprintf("@homing-%d-%s", uid, process)
}

// checkUser returns ErrForeign unless the other side of conn is the user's.
func checkUser(conn *net.UnixConn, uid int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("reach the socket: %w", err)
	}
	var cred *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(controlErr, err); err != nil {
		return fmt.Errorf("ask whose the other side is: %w", err)
	}
	if int(cred.Uid) != uid {
		return fmt.Errorf("%w: user %d, want %d", ErrForeign, cred.Uid, uid)
	}
	return nil
}

// A descriptor comes with a header: the version, the length of the client's
// address (0, 4 or 16), the address in 16 bytes, and the length of the head,
// which follows. Numbers are big-endian.
const (
	addressAt  = 2
	lengthAt   = addressAt + 16
	headerSize = lengthAt + 4
)

// append appends p's header and head to b.
func (p *Passed) append(b []byte) []byte {
	var header [headerSize]byte
	header[0] = version
	header[1] = byte(copy(header[addressAt:lengthAt], p.Client.AsSlice()))
	binary.BigEndian.PutUint32(header[lengthAt:], uint32(len(p.Head)))
	return append(append(b, header[:]...), p.Head...)
}

// parseHeader returns what a header says: whose the connection is, and how many
// bytes of head follow.
func parseHeader(h *[headerSize]byte) (client netip.Addr, head int, err error) {
	size := h[1]
	if h[0] != version {
		return client, 0, fmt.Errorf("version %d, want %d", h[0], version)
	}
	if client, err = parseClient(h[addressAt:lengthAt], int(size)); err != nil {
		return client, 0, err
	}
	n := binary.BigEndian.Uint32(h[lengthAt:])
	if n > MaxHead {
		return client, 0, fmt.Errorf("a head of %d bytes, want at most %d", n, MaxHead)
	}
	return client, int(n), nil
}

func parseClient(b []byte, size int) (netip.Addr, error) {
	if size == 0 {
		return netip.Addr{}, nil
	}
	if size <= len(b) {
		if addr, ok := netip.AddrFromSlice(b[:size]); ok {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("an address of %d bytes", size)
}

// receive reads one passed connection. Its descriptor is the caller's; when it
// fails, none is left open.
func receive(conn *net.UnixConn) (p Passed, err error) {
	var header [headerSize]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(header[:], oob)
	fds := descriptors(oob[:oobn])
	defer func() {
		if err != nil {
			closeAll(fds)
		}
	}()
	switch {
	case err != nil:
		return p, err
	case n < headerSize:
		return p, io.ErrUnexpectedEOF
	case len(fds) != 1:
		return p, fmt.Errorf("%d descriptors, want one", len(fds))
	}
	client, size, err := parseHeader(&header)
	if err != nil {
		return p, err
	}
	p = Passed{FD: fds[0], Head: make([]byte, size), Client: client}
	_, err = io.ReadFull(conn, p.Head)
	return p, err
}

// descriptors returns those that came with a message. They are not inherited by
// programs that this process starts: ReadMsgUnix has asked for that.
func descriptors(oob []byte) (all []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil // the kernel writes no others
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// timedOut makes ErrSilent of the error of a wait that took too long.
func timedOut(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrSilent
	}
	return err
}
