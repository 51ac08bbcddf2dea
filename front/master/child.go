package master

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/hub"
)

// child is one worker process.
type child struct {
	process hub.ProcessID
	cmd     *exec.Cmd
	control *net.UnixConn
	admin   string // path of its admin socket
	since   time.Time
	told    atomic.Bool // it was told to stop
	noTLS   atomic.Bool // its TLS listener is closed for want of a certificate
	answers bool        // it says that it answers pings; owned by the slot
	tickets *string     // the ticket keys that it was told; owned by the slot
	gone    chan struct{}
}

// The environment of a worker.
const (
	envSlot      = "HOMING_FRONT_WORKER"    // its slot's number
	envListeners = "HOMING_FRONT_LISTENERS" // "plain" or "tls" for each descriptor from 4 on
	envAdmin     = "HOMING_FRONT_ADMIN"     // path of the Unix socket for metrics and pprof
	envProcess   = "HOMING_FRONT_PROCESS"   // its process id in the hub
	envEnded     = "HOMING_FRONT_ENDED"     // ids of workers that ended lately, separated by commas
	envMasterID  = "HOMING_FRONT_MASTER"    // its master's id
	envKept      = "HOMING_FRONT_WORKERS"   // how many workers its master keeps
	envSucceeds  = "HOMING_FRONT_SUCCEEDS"  // not empty: it takes the place of a worker that still serves
)

// startChild starts a worker for s: this program again, with the same
// arguments. Its events go to s.events.
func startChild(s *slot) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the executable: %w", err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	c := &child{
		process: hub.NewProcessID(),
		cmd:     exec.Command(self, os.Args[1:]...), //nolint:gosec,noctx // ourselves; ends by signal, not by a context
		control: ours,
		admin:   filepath.Join(s.master.dir, fmt.Sprintf("%d-%d.sock", s.index, s.started)),
		gone:    make(chan struct{}),
	}
	files, kinds := s.files()
	defer closeAll(files)
	c.cmd.ExtraFiles = append([]*os.File{theirs}, files...)
	c.cmd.Env = append(os.Environ(), envSlot+"="+strconv.Itoa(s.index), envListeners+"="+kinds, envAdmin+"="+c.admin,
		envProcess+"="+string(c.process), envEnded+"="+s.master.obituary(time.Now()),
		envMasterID+"="+string(s.master.id), envKept+"="+strconv.Itoa(s.master.cfg.Workers))
	if s.serving.Load() != nil {
		c.cmd.Env = append(c.cmd.Env, envSucceeds+"=1")
	}
	c.cmd.Stdout, c.cmd.Stderr = os.Stdout, os.Stderr
	// A master that dies takes its workers with it: gracefully, they drain. In a
	// group of their own they do not get what a terminal sends to the master.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start %s: %w", self, err)
	}
	c.since = time.Now()
	s.tellTickets(c)
	go c.watch(s)
	return c, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// socketPair makes the control socket's two ends.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a control socket: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "control")
	ours, err = unixConn(fds[0])
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// unixConn takes over a descriptor.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "control")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("open the control socket: a %T, want a Unix socket", conn)
	}
	return uc, nil
}

// watch turns what c says, and its end, into events, until it has exited.
func (c *child) watch(s *slot) {
	timer := time.AfterFunc(s.master.cfg.ReadyTimeout, func() { c.tell(s, late) })
	var buf [maxWord]byte
	for {
		n, err := c.control.Read(buf[:])
		if err != nil || n == 0 {
			break
		}
		word := string(buf[:n])
		if !strings.HasPrefix(word, sayWaits) {
			timer.Stop()
		}
		c.tell(s, word)
	}
	_ = c.cmd.Wait() // status reads the state
	timer.Stop()
	close(c.gone)
	_ = c.control.Close()
	s.events <- event{c, exited}
}

// tell gives an event to the slot, unless c has exited meanwhile.
func (c *child) tell(s *slot, what string) {
	select {
	case s.events <- event{c, what}:
	case <-c.gone:
	}
}

// stop tells c to stop, and kills it when it has not after timeout. It does
// not wait.
func (c *child) stop(timeout time.Duration) {
	c.told.Store(true)
	c.signal(unix.SIGTERM)
	c.reap(timeout)
}

func (c *child) signal(sig os.Signal) { _ = c.cmd.Process.Signal(sig) } // an error says that it has exited

func (c *child) pid() int { return c.cmd.Process.Pid }

// status says how c exited; only after gone is closed.
func (c *child) status() string { return c.cmd.ProcessState.String() }

// reap kills c when it has not exited after timeout. It does not wait.
func (c *child) reap(timeout time.Duration) {
	go func() {
		select {
		case <-c.gone:
		case <-time.After(timeout):
			c.signal(unix.SIGKILL)
		}
	}()
}

// sayTimeout bounds the wait for room in the control socket of a worker that
// does not read it. What is not said then is said at the next tick.
const sayTimeout = 50 * time.Millisecond

// say sends c a word, and reports whether there was room for it.
func (c *child) say(what string) bool {
	_ = c.control.SetWriteDeadline(time.Now().Add(sayTimeout))
	_, err := c.control.Write([]byte(what))
	return err == nil
}

// give passes a connection to the worker. The caller closes its own descriptor.
func (c *child) give(fd int, overTLS bool) bool {
	kind := givePlain
	if overTLS {
		kind = giveTLS
	}
	_ = c.control.SetWriteDeadline(time.Now().Add(time.Second))
	_, _, err := c.control.WriteMsgUnix([]byte(kind), unix.UnixRights(fd), nil)
	return err == nil
}
