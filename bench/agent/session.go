package agent

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// session is a coordinator that has proved itself and what it ordered.
type session struct {
	conn   *tls.Conn
	in     *bufio.Reader // over conn
	role   string
	helper Helper
}

// enter lets a coordinator prove itself and say what it wants. On an error
// it has been told.
func (s *server) enter(ctx context.Context, conn *net.TCPConn) (*session, error) {
	if err := watchPeer(conn); err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, fmt.Errorf("limit the handshake: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c := tls.Server(conn, s.tls)
	in := newReader(c)
	var o order
	if err := readLine(in, &o); err != nil { // the first read shakes hands
		return nil, err
	}
	helper, known := s.opts.Helpers[o.Role]
	err := prove(c, s.opts.Secret, coordinator, o.Proof)
	if err == nil && !known {
		err = fmt.Errorf("no helper for the role %q", o.Role)
	}
	if err != nil {
		return nil, errors.Join(err, writeLine(c, receipt{Error: err.Error()}))
	}
	return &session{conn: c, in: in, role: o.Role, helper: helper}, nil
}

// patience is how long a helper that was told to end may take, and then its
// last answers on their way.
const patience = 5 * time.Second

// run is a helper's life: from its start until it has ended, which it is told
// to do when the connection or ctx ends.
func (s *server) run(ctx context.Context, o *session, log *slog.Logger) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	cmd := s.command(ctx, o.helper)
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	cmd.Cancel = in.Close // to lose its input ends a helper in good order
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start: %w", err), writeLine(o.conn, receipt{Error: err.Error()}))
	}
	log.Info("helper started", "role", o.role, "pid", cmd.Process.Pid)
	err = s.carry(ctx, end, o, in, out)
	status := cmd.Wait()
	if errors.Is(status, context.Canceled) {
		status = nil // it was told to end, and did
	}
	log.Info("helper ended", "role", o.role, "pid", cmd.Process.Pid)
	return errors.Join(err, status)
}

func (s *server) command(ctx context.Context, h Helper) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.Argv[0], h.Argv[1:]...)
	cmd.Env = append(os.Environ(), h.Env...)
	cmd.Stderr = s.opts.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, // it dies with the agent
		Setpgid:   true,            // an interrupt from the terminal is for the agent, which then ends it in good order
	}
	cmd.WaitDelay = patience
	return cmd
}

// carry proves this agent to the coordinator and copies bytes both ways until
// the helper ends its output; it calls end when the coordinator ends the
// connection.
func (s *server) carry(ctx context.Context, end func(), o *session, in io.Writer, out io.Reader) error {
	defer end()
	if err := o.conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("prepare the connection: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = o.conn.SetWriteDeadline(time.Now().Add(patience)) })
	defer stop()
	mine, err := proof(o.conn, s.opts.Secret, agent)
	if err != nil {
		return err
	}
	if err := writeLine(o.conn, receipt{Proof: mine}); err != nil {
		return fmt.Errorf("tell the coordinator: %w", err)
	}
	var calls sync.WaitGroup
	defer calls.Wait()
	defer end()                                                    // frees a write that the helper does not read
	defer func() { _ = o.conn.SetReadDeadline(time.Unix(1, 0)) }() // frees a read
	calls.Go(func() {
		defer end()
		_, _ = io.Copy(in, o.in) // either end may be gone
	})
	if _, err := io.Copy(o.conn, out); err != nil {
		return fmt.Errorf("pass on answers: %w", err)
	}
	return nil
}
