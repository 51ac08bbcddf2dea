package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Agent is a client that does what it is told and says what happens: see README.md
// for its words. Its methods may be called from one goroutine.
type Agent struct {
	Can []string // its abilities

	process *exec.Cmd
	in      io.WriteCloser
	said    chan string
	exited  chan struct{}
	exit    error

	mu     sync.Mutex
	events []map[string]any // said, and not heard yet
	heard  []string         // all lines, for people
	ended  bool             // it says nothing more
}

// readyWithin is how long an agent may take to start: a browser takes its time.
const readyWithin = 90 * time.Second

// patience is how long anything is waited for that has no time of its own.
const patience = 20 * time.Second

// StartAgent starts a program and waits until it is ready. It dies with this
// process; whoever started it ends it with Stop or Kill.
func StartAgent(ctx context.Context, command []string, stderr io.Writer) (*Agent, error) {
	p := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // the operator's own command; Stop and Kill end it
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.Stderr = stderr
	in, err := p.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	out, w, err := os.Pipe() // not StdoutPipe: Wait must not close it before it is read
	if err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	p.Stdout = w
	err = p.Start()
	_ = w.Close() // the process has its own
	if err != nil {
		_ = out.Close()
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	a := &Agent{process: p, in: in, said: make(chan string, 1), exited: make(chan struct{})}
	go func() { a.exit = p.Wait(); close(a.exited) }()
	go a.listen(out)
	ready, err := a.Hear(ctx, map[string]any{"event": "ready"}, readyWithin)
	if err != nil {
		a.Kill()
		return nil, err
	}
	for _, c := range asList(ready["can"]) {
		a.Can = append(a.Can, fmt.Sprint(c))
	}
	return a, nil
}

func asList(x any) []any {
	all, _ := x.([]any)
	return all
}

// maxLine bounds a line of the agent's, in bytes.
const maxLine = 1 << 20

func (a *Agent) listen(out io.ReadCloser) {
	defer out.Close()
	s := bufio.NewScanner(out)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		var m map[string]any
		if json.Unmarshal(s.Bytes(), &m) != nil {
			m = map[string]any{"event": "nonsense", "line": s.Text()}
		}
		a.mu.Lock()
		a.events = append(a.events, m)
		a.heard = append(a.heard, s.Text())
		a.mu.Unlock()
		a.wake()
	}
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	a.wake()
}

func (a *Agent) wake() {
	select {
	case a.said <- "something":
	default: // whoever waits looks at all that there is
	}
}

// Tell gives the agent a command.
func (a *Agent) Tell(command map[string]any) error {
	b, err := json.Marshal(command)
	if err != nil {
		return fmt.Errorf("tell the agent: %w", err)
	}
	if _, err := a.in.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("tell the agent: %w", err)
	}
	return nil
}

// strict are the events of which none may be left out: the next one must fit.
var strict = []string{"notify", "frame", "presence", "published", "refused"}

// Hear waits for what the agent says next of want's event, and that fits. Of some
// kinds the very next one must fit; of others those that do not are passed over.
func (a *Agent) Hear(ctx context.Context, want map[string]any, within time.Duration) (map[string]any, error) {
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		m, err := a.take(want)
		if m != nil || err != nil {
			return m, err
		}
		select {
		case <-a.said:
		case <-late.C:
			return nil, fmt.Errorf("the client has not told of %s within %v", text(want), within)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take takes what fits off what was said, or nothing.
func (a *Agent) take(want map[string]any) (map[string]any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kind, _ := want["event"].(string)
	for i, m := range a.events {
		switch {
		case m["event"] == "nonsense":
			return nil, fmt.Errorf("the agent says what is no event: %v", m["line"])
		case m["event"] != kind:
		case fits(want, m):
			a.events = slices.Delete(a.events, i, i+1)
			return m, nil
		case slices.Contains(strict, kind):
			return nil, fmt.Errorf("the client tells of %s, want %s", text(m), text(want))
		}
	}
	if a.ended {
		return nil, fmt.Errorf("the agent has ended without telling of %s", text(want))
	}
	return nil, nil
}

// unsaid reports what was said of a kind and not heard.
func (a *Agent) unsaid(kinds ...string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, m := range a.events {
		if kind, _ := m["event"].(string); slices.Contains(kinds, kind) {
			errs = append(errs, fmt.Errorf("the client tells of %s, which is too much", text(m)))
		}
	}
	return errors.Join(errs...)
}

// States are the states that the client has told of, in order.
func (a *Agent) States() (all []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, line := range a.heard {
		var m struct{ Event, State string }
		if json.Unmarshal([]byte(line), &m) == nil && m.Event == "state" {
			all = append(all, m.State)
		}
	}
	return all
}

// Said is all that the agent has said, for people.
func (a *Agent) Said() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.heard, "\n")
}

// Stop closes the agent's input and waits for its end: what the client has left
// running keeps it from it, which is an error, as is an end with another code than 0.
func (a *Agent) Stop(within time.Duration) error {
	_ = a.in.Close() // one that has ended reads nothing
	select {
	case <-a.exited:
		if a.exit != nil {
			return fmt.Errorf("the agent ends with %w", a.exit)
		}
		return nil
	case <-time.After(within):
		a.Kill()
		return fmt.Errorf("the agent has not ended %v after its input: the client has left something running", within)
	}
}

// Kill ends the agent at once.
func (a *Agent) Kill() {
	_ = a.process.Process.Kill() // one that has ended is none
	<-a.exited
}

// Next waits for the next thing that the agent says, whatever it is.
func (a *Agent) Next(ctx context.Context) (map[string]any, error) {
	for {
		a.mu.Lock()
		if len(a.events) > 0 {
			m := a.events[0]
			a.events = a.events[1:]
			a.mu.Unlock()
			return m, nil
		}
		ended := a.ended
		a.mu.Unlock()
		if ended {
			return nil, errors.New("the agent has ended")
		}
		select {
		case <-a.said:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
