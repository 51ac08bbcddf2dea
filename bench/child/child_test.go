package child

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is its own child when the variable is set.
const asChild = "HOMING_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		echo()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func echo() {
	for r := range Requests(os.Stdin, os.Stdout) {
		var v any
		err := r.Read(&v)
		switch {
		case err != nil:
			r.Fail(err)
		case r.Do == "fail":
			r.Fail(errors.New("as asked"))
		case r.Do == "die":
			return // without an answer
		case r.Do == "hang":
			time.Sleep(time.Hour)
		default:
			r.Progress("half")
			r.Reply(v)
		}
	}
}

func start(t *testing.T) *Process {
	t.Helper()
	p, err := Start([]string{os.Args[0]}, []string{asChild + "=1"}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCall(t *testing.T) {
	p := start(t)
	var got []int
	var steps int
	err := p.Call(t.Context(), "echo", []int{1, 2}, &got, func(json.RawMessage) { steps++ })
	if err != nil || len(got) != 2 || steps != 1 {
		t.Fatalf("Call = %v, %v after %d steps", got, err, steps)
	}
	if err := p.Call(t.Context(), "fail", nil, nil, nil); !errors.Is(err, ErrFailed) {
		t.Fatalf("error = %v, want ErrFailed", err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
}

func TestCallSurvivesDeathAndHanging(t *testing.T) {
	p := start(t)
	if err := p.Call(t.Context(), "die", nil, nil, nil); err == nil {
		t.Fatal("no error from a child that died")
	}
	_ = p.Stop()
	p = start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Call(ctx, "hang", nil, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error = %v, want the context's", err)
	}
	_ = p.Stop()
}
