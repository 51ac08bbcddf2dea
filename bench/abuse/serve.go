package abuse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/homing/homing/bench/child"
)

// The calls that the attacker's process answers.
const (
	callPrepare = "prepare" // what an attack needs first; takes an order
	callAttack  = "attack"  // takes an order, replies with a Tally when it is over
)

// order says what to do.
type order struct {
	Kind   string
	Target Target
	Length time.Duration
}

var errUnknownKind = errors.New("unknown kind of attack")

// Serve is what the attacker's process does: it answers calls from in on out,
// until in ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	if err := child.StepBack(); err != nil {
		return fmt.Errorf("attacker: %w", err)
	}
	for r := range child.Requests(in, out) {
		if err := do(ctx, r); err != nil {
			r.Fail(err)
		}
	}
	return nil
}

func do(ctx context.Context, r child.Request) error {
	var o order
	if err := r.Read(&o); err != nil {
		return err
	}
	kind, ok := Find(o.Kind)
	if !ok {
		return fmt.Errorf("%w: %q", errUnknownKind, o.Kind)
	}
	a := newAttack(o.Target, o.Length)
	defer a.http.CloseIdleConnections()
	switch r.Do {
	case callPrepare:
		if kind.prepare != nil {
			if err := kind.prepare(ctx, a); err != nil {
				return err
			}
		}
		r.Reply(nil)
	case callAttack:
		ctx, cancel := context.WithTimeout(ctx, o.Length)
		defer cancel()
		kind.run(ctx, a)
		r.Reply(a.counted())
	default:
		return fmt.Errorf("unknown call %q", r.Do)
	}
	return nil
}

// Attacker is the attacker's process. One attack at a time; Stop it.
type Attacker struct{ proc *child.Process }

// Start starts it by running argv, which has to call Serve.
func Start(argv, env []string, stderr io.Writer) (*Attacker, error) {
	p, err := child.Start(argv, env, stderr)
	if err != nil {
		return nil, err
	}
	return &Attacker{p}, nil
}

// Prepare does what an attack of that kind needs first.
func (a *Attacker) Prepare(ctx context.Context, kind string, t Target) error {
	return a.proc.Call(ctx, callPrepare, order{Kind: kind, Target: t}, nil, nil)
}

// Attack attacks for so long, and returns what came of it.
func (a *Attacker) Attack(ctx context.Context, kind string, t Target, length time.Duration) (Tally, error) {
	var tally Tally
	err := a.proc.Call(ctx, callAttack, order{Kind: kind, Target: t, Length: length}, &tally, nil)
	return tally, err
}

// Stop ends the process.
func (a *Attacker) Stop() error { return a.proc.Stop() }
