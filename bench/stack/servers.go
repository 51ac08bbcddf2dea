package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/bench/usage"
	"github.com/homing/homing/redisx/redisproc"
)

// api is one API server, which may be several processes after one another.
type api struct {
	*proc.Process
	name        string
	port, admin int
}

func (s *Stack) startAPIs(ctx context.Context) error {
	for i := range s.opts.APIs {
		a, err := newAPI(ctx, "api-"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		if err := s.runAPI(a, nil); err != nil {
			return err
		}
		s.apis = append(s.apis, a)
	}
	return nil
}

// Extra starts an API server with further flags that is none of the stack's,
// and does not wait until it is ready. The caller stops it.
func (s *Stack) Extra(ctx context.Context, flags ...string) (p *proc.Process, url string, err error) {
	a, err := newAPI(ctx, "extra")
	if err != nil {
		return nil, "", err
	}
	err = s.runAPI(a, flags)
	return a.Process, "http://" + local(a.port), err
}

// ExtraFront starts a front of one worker that is none of the stack's, with
// further flags, and does not wait until it is ready. The caller stops it.
func (s *Stack) ExtraFront(ctx context.Context, flags ...string) (*proc.Process, error) {
	port, err := redisproc.FreePort(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("start a front: %w", err)
	}
	args := []string{
		"front", "--config", s.configFile(), "--front-listen", local(port), "--workers", "1", "--auth-hs256-secret-file", s.SecretFile(),
	}
	return s.launch("extra-front", append(args, flags...))
}

func newAPI(ctx context.Context, name string) (*api, error) {
	a := &api{name: name}
	for _, port := range []*int{&a.port, &a.admin} {
		var err error
		if *port, err = redisproc.FreePort(ctx, ""); err != nil {
			return nil, fmt.Errorf("start %s: %w", a.name, err)
		}
	}
	return a, nil
}

func (s *Stack) runAPI(a *api, flags []string) (err error) {
	args := append([]string{
		"api", "--config", s.configFile(), "--api-listen", local(a.port), "--admin-listen", local(a.admin),
		"--api-keys", s.file("keys.yaml"),
	}, s.opts.APIArgs...)
	a.Process, err = s.launch(a.name, append(args, flags...))
	return err
}

// RestartAPI stops API server i in good order, starts it again on the same
// port, with further flags, and waits until it is ready.
func (s *Stack) RestartAPI(ctx context.Context, i int, flags ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	a := s.apis[i]
	if err := a.Stop(stopGrace); err != nil {
		return err
	}
	if err := s.runAPI(a, flags); err != nil {
		return err
	}
	return a.WaitReady(ctx, s.APIs()[i]+"/readyz")
}

func (s *Stack) startFront(ctx context.Context) error {
	for _, port := range []*int{&s.frontPort, &s.frontAdmin, &s.tlsPort} {
		var err error
		if *port, err = redisproc.FreePort(ctx, ""); err != nil {
			return fmt.Errorf("start front: %w", err)
		}
	}
	return s.runFront(nil)
}

func (s *Stack) runFront(flags []string) error {
	secure, err := s.tlsFlags()
	if err != nil {
		return err
	}
	args := append([]string{
		"front", "--config", s.configFile(), "--front-listen", s.frontAddr(s.frontPort), "--admin-listen", s.frontAddr(s.frontAdmin),
		"--workers", strconv.Itoa(s.opts.Workers), "--auth-hs256-secret-file", s.SecretFile(),
	}, append(secure, s.opts.FrontArgs...)...)
	s.front, err = s.launch("front", append(args, flags...), s.opts.FrontUnder...)
	return err
}

// RestartFront stops the front in good order, starts it again on the same
// port, with further flags, and waits until its workers listen.
func (s *Stack) RestartFront(ctx context.Context, flags ...string) error {
	if err := s.front.Stop(stopGrace); err != nil {
		return err
	}
	if err := s.runFront(flags); err != nil {
		return err
	}
	return s.waitWorkers(ctx)
}

// launch starts a server. Each start has a log of its own.
func (s *Stack) launch(name string, args []string, under ...string) (*proc.Process, error) {
	if n := int(s.starts.Add(1)); n > s.opts.APIs+1 {
		name += "-" + strconv.Itoa(n)
	}
	argv := append(append(append([]string(nil), under...), s.opts.Binary), args...)
	return proc.Start(proc.Command{Name: name, LogDir: s.opts.LogDir, Args: argv, Pipe: s.opts.Pipes})
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func (s *Stack) frontAddr(port int) string {
	if s.opts.FrontHost == "" {
		return local(port)
	}
	return net.JoinHostPort(s.opts.FrontHost, strconv.Itoa(port))
}

// waitReady waits for every API and for every worker to listen.
func (s *Stack) waitReady(ctx context.Context) error {
	for i, a := range s.apis {
		if err := a.WaitReady(ctx, s.APIs()[i]+"/readyz"); err != nil {
			return err
		}
	}
	return s.waitWorkers(ctx)
}

// waitWorkers waits until as many workers as asked for listen on the port.
func (s *Stack) waitWorkers(ctx context.Context) error {
	return s.front.WaitFor(ctx, func() error {
		n, err := usage.Listeners(s.front.PID(), s.frontPort)
		if err == nil && n < s.opts.Workers {
			err = fmt.Errorf("%d of %d workers listen", n, s.opts.Workers)
		}
		return err
	})
}

// APIs returns the base URL of every API server.
func (s *Stack) APIs() []string {
	var urls []string
	for _, a := range s.apis {
		urls = append(urls, "http://"+local(a.port))
	}
	return urls
}

// APIAdmin is the base URL of the operators' address of API server i.
func (s *Stack) APIAdmin(i int) string { return "http://" + local(s.apis[i].admin) }

// Front is the WebSocket URL of the front.
func (s *Stack) Front() string { return "ws://" + s.frontAddr(s.frontPort) + "/ws" }

// FrontPort is the port that all workers share.
func (s *Stack) FrontPort() int { return s.frontPort }

// FrontAdmin is the base URL of the operators' address of the front's master.
func (s *Stack) FrontAdmin() string { return "http://" + s.frontAddr(s.frontAdmin) }

// APIPIDs returns the API processes.
func (s *Stack) APIPIDs() []int {
	var pids []int
	for _, a := range s.apis {
		pids = append(pids, a.PID())
	}
	return pids
}

// MasterPID is the process of the front's master.
func (s *Stack) MasterPID() int { return s.front.PID() }

// FrontPIDs returns the front's master and all its workers.
func (s *Stack) FrontPIDs() ([]int, error) {
	workers, err := s.Workers()
	return append([]int{s.front.PID()}, workers...), err
}

// Workers returns the front's worker processes as they are now.
func (s *Stack) Workers() ([]int, error) {
	pids, err := usage.Children(s.front.PID())
	if err != nil {
		return nil, fmt.Errorf("list the workers: %w", err)
	}
	return pids, nil
}

// wake lets processes of the front that somebody stopped go on: one that
// stands still cannot end in good order.
func (s *Stack) wake() {
	pids, _ := s.FrontPIDs() // a front that has ended has none
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// KillAPI kills API server i and waits for its end.
func (s *Stack) KillAPI(i int) error { return s.apis[i].Kill() }

// StopAPI stops API server i in good order.
func (s *Stack) StopAPI(i int) error { return s.apis[i].Stop(stopGrace) }

// ReplaceWorkers asks the front to replace its workers one by one. It does not
// wait.
func (s *Stack) ReplaceWorkers() error {
	if err := s.front.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("ask the front to replace its workers: %w", err)
	}
	return nil
}

// servers are all processes of the front and the API.
func (s *Stack) servers() []*proc.Process {
	all := []*proc.Process{s.front}
	for _, a := range s.apis {
		all = append(all, a.Process)
	}
	return all
}

// StopReadingLogs has the pipes that the servers log into run full.
func (s *Stack) StopReadingLogs() (err error) {
	for _, p := range s.servers() {
		err = errors.Join(err, p.StopReading())
	}
	return err
}

// CloseLogs closes the pipes that the servers log into at our end, so that
// whatever they write fails.
func (s *Stack) CloseLogs() {
	for _, p := range s.servers() {
		p.CloseReader()
	}
}

// Alive reports the first process that has ended without being asked to.
func (s *Stack) Alive() error {
	for _, p := range s.servers() {
		if err := p.Check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) configFile() string { return s.file("servers.yaml") }

// Lists are the shards that servers are told of.
type Lists struct {
	Data          []string // the first ones of DataURLs; the inboxes' too
	DataPrevious  []string // before a change; empty: there is none
	InboxPrevious []string // the inboxes' before a change, if it is over for the index
}

// configure writes what every server reads at its start.
func (s *Stack) configure(context.Context) error {
	return s.Configure(Lists{Data: s.DataURLs()[:s.opts.Data]})
}

// Configure changes what servers that start from now on are told. The front's
// workers read it when they are replaced.
func (s *Stack) Configure(l Lists) error {
	lines := []string{"redis-prefix: " + prefix, list("redis-data", l.Data), list("redis-pubsub", s.PubSubURLs())}
	if len(l.DataPrevious) > 0 {
		lines = append(lines, list("redis-data-previous", l.DataPrevious))
	}
	if len(l.InboxPrevious) > 0 {
		lines = append(lines, list("redis-inbox", l.Data), list("redis-inbox-previous", l.InboxPrevious))
	}
	if s.opts.AtMostOnce {
		lines = append(lines, "relay-at-most-once: true")
	}
	s.dataUsed = len(l.Data)
	next := s.configFile() + ".next"
	err := os.WriteFile(next, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	if err = errors.Join(err, os.Rename(next, s.configFile())); err != nil {
		return fmt.Errorf("configure the servers: %w", err)
	}
	return nil
}

// list is one option with several values.
func list(option string, values []string) string {
	return option + ": " + strconv.Quote(strings.Join(values, " "))
}
