package stack

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/redisx/redisproc"
)

// APIs are the API servers.
type APIs struct {
	*launcher

	count   int
	args    []string // further flags of each
	servers []*api
}

// api is one API server, which may be several processes after one another.
type api struct {
	*proc.Process
	name        string
	port, admin int
}

func (a *api) url() string { return "http://" + local(a.port) }

func (s *APIs) start(ctx context.Context) error {
	for i := range s.count {
		a, err := newAPI(ctx, "api-"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		if err := s.run(a, nil); err != nil {
			return err
		}
		s.servers = append(s.servers, a)
	}
	return nil
}

// Extra starts an API server with further flags that is none of the stack's,
// and does not wait until it is ready. The caller stops it.
func (s *APIs) Extra(ctx context.Context, flags ...string) (p *proc.Process, url string, err error) {
	a, err := newAPI(ctx, "extra")
	if err != nil {
		return nil, "", err
	}
	err = s.run(a, flags)
	return a.Process, a.url(), err
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

func (s *APIs) run(a *api, flags []string) (err error) {
	args := append([]string{
		"api", "--config", s.dir.configFile(), "--api-listen", local(a.port), "--admin-listen", local(a.admin),
		"--api-keys", s.dir.keysFile(),
	}, s.args...)
	a.Process, err = s.launch(a.name, append(args, flags...))
	return err
}

// waitReady waits for every server to listen.
func (s *APIs) waitReady(ctx context.Context) error {
	for _, a := range s.servers {
		if err := a.WaitReady(ctx, a.url()+"/readyz"); err != nil {
			return err
		}
	}
	return nil
}

// Restart stops server i in good order, starts it again on the same port, with
// further flags, and waits until it is ready.
func (s *APIs) Restart(ctx context.Context, i int, flags ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	a := s.servers[i]
	if err := a.Process.Stop(stopGrace); err != nil {
		return err
	}
	if err := s.run(a, flags); err != nil {
		return err
	}
	return a.WaitReady(ctx, a.url()+"/readyz")
}

// URLs returns the base URL of every server.
func (s *APIs) URLs() []string {
	var urls []string
	for _, a := range s.servers {
		urls = append(urls, a.url())
	}
	return urls
}

// Admin is the base URL of the operators' address of server i.
func (s *APIs) Admin(i int) string { return "http://" + local(s.servers[i].admin) }

// PIDs returns the processes.
func (s *APIs) PIDs() []int {
	var pids []int
	for _, a := range s.servers {
		pids = append(pids, a.PID())
	}
	return pids
}

// Kill kills server i and waits for its end.
func (s *APIs) Kill(i int) error { return s.servers[i].Process.Kill() }

func (s *APIs) stop() (err error) {
	for _, a := range s.servers {
		err = errors.Join(err, a.Process.Stop(stopGrace))
	}
	return err
}
