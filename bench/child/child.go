// Package child runs helpers of the benchmarks as processes of their own, so
// that their CPU and descriptors count apart, and talks to them over pipes, or
// over whatever else leads to them: one JSON object a line; for every call
// some progress and then one reply.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// call is a line from parent to child.
type call struct {
	Do   string          `json:"do"`
	With json.RawMessage `json:"with,omitempty"`
}

// answer is a line from child to parent: progress, until one is last.
type answer struct {
	Last  bool            `json:"last,omitempty"`
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// ErrFailed marks what a child reports about its own work.
var ErrFailed = errors.New("helper process failed")

// maxLine bounds one call or answer, in bytes.
const maxLine = 64 << 20

// Link is the way to a child: calls are written to it, answers read from it.
type Link interface {
	io.ReadWriter
	// CloseWrite says that no more calls will come, which ends a child in
	// good order.
	CloseWrite() error
	// Kill ends the child, or else the way to it, at once. It may come at any
	// time, from any goroutine.
	Kill()
	// Wait blocks until the child has ended and releases what the link holds.
	Wait() error
	// PID is the child's process id, 0 on another machine.
	PID() int
	// String names the child in errors.
	String() string
}

// Process is a running child. One call at a time.
type Process struct {
	link Link
	mu   sync.Mutex // one call at a time
	out  *bufio.Scanner
}

// Over returns the child behind a link, which the Process then owns.
func Over(l Link) *Process {
	lines := bufio.NewScanner(l)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	return &Process{link: l, out: lines}
}

// PID returns the child's process id, 0 for one on another machine.
func (p *Process) PID() int { return p.link.PID() }

// String names the child: its process id, or where it runs.
func (p *Process) String() string { return p.link.String() }

// Call asks the child to do something with a value, hands each step of
// progress to onProgress (may be nil), and decodes the reply into reply (may
// be nil). It blocks until the reply; when ctx ends first it kills the child.
func (p *Process) Call(ctx context.Context, do string, with, reply any, onProgress func(json.RawMessage)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	stop := context.AfterFunc(ctx, p.link.Kill)
	defer stop()
	a, err := p.exchange(do, with, onProgress)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%v, %s: %w", p.link, do, err)
	case a.Error != "":
		return fmt.Errorf("%v, %s: %w: %s", p.link, do, ErrFailed, a.Error)
	case reply == nil || a.Value == nil:
		return nil
	}
	if err := json.Unmarshal(a.Value, reply); err != nil {
		return fmt.Errorf("%v, %s: reply: %w", p.link, do, err)
	}
	return nil
}

func (p *Process) exchange(do string, with any, onProgress func(json.RawMessage)) (answer, error) {
	value, err := json.Marshal(with)
	if err != nil {
		return answer{}, err
	}
	if err := json.NewEncoder(p.link).Encode(call{Do: do, With: value}); err != nil {
		return answer{}, err
	}
	for p.out.Scan() {
		var a answer
		if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
			return a, fmt.Errorf("%q: %w", p.out.Text(), err)
		}
		if a.Last {
			return a, nil
		}
		if onProgress != nil {
			onProgress(a.Value)
		}
	}
	if err := p.out.Err(); err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return answer{}, fmt.Errorf("read the answer: %w", io.ErrUnexpectedEOF)
}

// patience is how long a child that was told to end may take: on a busy
// machine, closing 18,000 sockets takes seconds.
const patience = 30 * time.Second

// Stop closes the child's input, which ends a child in good order, waits up
// to half a minute and then kills it.
func (p *Process) Stop() error {
	_ = p.link.CloseWrite()
	kill := time.AfterFunc(patience, p.link.Kill)
	defer kill.Stop()
	if err := p.link.Wait(); err != nil {
		return fmt.Errorf("stop %v: %w", p.link, err)
	}
	return nil
}
