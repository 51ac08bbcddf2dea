package stack

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/bench/usage"
	"github.com/homing/homing/redisx/redisproc"
)

// Front is the front: a master with its workers, which may be several processes
// after one another.
type Front struct {
	*launcher

	name             string
	opts             Options
	process          *proc.Process // the master
	port, admin, tls int
}

func (f *Front) start(ctx context.Context) error {
	for _, port := range []*int{&f.port, &f.admin, &f.tls} {
		var err error
		if *port, err = redisproc.FreePort(ctx, ""); err != nil {
			return fmt.Errorf("start %s: %w", f.name, err)
		}
	}
	return f.run(nil)
}

func (f *Front) run(flags []string) error {
	secure, err := f.tlsFlags()
	if err != nil {
		return err
	}
	args := append([]string{
		"front", "--config", f.dir.configFile(), "--front-listen", f.addr(f.port), "--admin-listen", f.addr(f.admin),
		"--workers", strconv.Itoa(f.opts.Workers), "--auth-hs256-secret-file", f.dir.secretFile(),
	}, append(append(secure, f.roomFlags()...), f.opts.FrontArgs...)...)
	f.process, err = f.launch(f.name, append(args, flags...), f.opts.FrontUnder...)
	return err
}

// roomFlags have the front run game rooms; the secret of players' tokens signs
// seats, too.
func (f *Front) roomFlags() []string {
	if !f.opts.Rooms {
		return nil
	}
	return []string{"--room-secret-file", f.dir.secretFile(), "--room-url", f.URL()}
}

// Extra starts a front of one worker that is none of the stack's, with further
// flags, and does not wait until it is ready. The caller stops it.
func (f *Front) Extra(ctx context.Context, flags ...string) (*proc.Process, error) {
	port, err := redisproc.FreePort(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("start a front: %w", err)
	}
	args := []string{
		"front", "--config", f.dir.configFile(), "--front-listen", local(port), "--workers", "1", "--auth-hs256-secret-file", f.dir.secretFile(),
	}
	return f.launch("extra-front", append(args, flags...))
}

// Restart stops the front in good order, starts it again on the same port,
// with further flags, and waits until its workers listen.
func (f *Front) Restart(ctx context.Context, flags ...string) error {
	if err := f.process.Stop(stopGrace); err != nil {
		return err
	}
	if err := f.run(flags); err != nil {
		return err
	}
	return f.waitWorkers(ctx)
}

func (f *Front) addr(port int) string {
	if f.opts.FrontHost == "" {
		return local(port)
	}
	return net.JoinHostPort(f.opts.FrontHost, strconv.Itoa(port))
}

// waitWorkers waits until as many workers as asked for listen on the port.
func (f *Front) waitWorkers(ctx context.Context) error {
	return f.process.WaitFor(ctx, func() error {
		n, err := usage.Listeners(f.process.PID(), f.port)
		if err == nil && n < f.opts.Workers {
			err = fmt.Errorf("%d of %d workers listen", n, f.opts.Workers)
		}
		return err
	})
}

// URL is the WebSocket URL of the front.
func (f *Front) URL() string { return "ws://" + f.addr(f.port) + "/ws" }

// Addr is the host and port of the front.
func (f *Front) Addr() string { return f.addr(f.port) }

// Port is the port that all workers share.
func (f *Front) Port() int { return f.port }

// Admin is the base URL of the operators' address of the master.
func (f *Front) Admin() string { return "http://" + f.addr(f.admin) }

// MasterPID is the process of the master.
func (f *Front) MasterPID() int { return f.process.PID() }

// PIDs returns the master and all its workers.
func (f *Front) PIDs() ([]int, error) {
	workers, err := f.Workers()
	return append([]int{f.process.PID()}, workers...), err
}

// Workers returns the worker processes as they are now.
func (f *Front) Workers() ([]int, error) {
	pids, err := usage.Children(f.process.PID())
	if err != nil {
		return nil, fmt.Errorf("list the workers: %w", err)
	}
	return pids, nil
}

// ReplaceWorkers asks the front to replace its workers one by one. It does not
// wait.
func (f *Front) ReplaceWorkers() error {
	if err := f.process.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("ask the front to replace its workers: %w", err)
	}
	return nil
}

func (f *Front) stop() error {
	if f.process == nil {
		return nil
	}
	f.wake()
	return f.process.Stop(stopGrace)
}

// wake lets processes of the front that somebody stopped go on: one that
// stands still cannot end in good order.
func (f *Front) wake() {
	pids, _ := f.PIDs() // a front that has ended has none
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}
