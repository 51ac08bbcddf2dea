package players_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/homing/homing/bench/players"
	"github.com/homing/homing/bench/stack"
)

// start starts a system with two fronts, of two workers each.
func start(t *testing.T) (*stack.Stack, *players.Backend) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "homing")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/homing/homing/cmd/homing").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	s, err := stack.Start(t.Context(), stack.Options{Binary: binary, APIs: 1, Workers: 2, Rooms: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(t.Failed()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log("logs:", s.LogDir())
		}
	})
	return s, &players.Backend{URL: s.API.URLs()[0], Key: s.Access.Key(), Secret: s.Access.Secret()}
}

func TestMain(m *testing.M) { os.Exit(m.Run()) }

// TestFlow has players talk in rooms on several workers, lose their lines, and go
// along when their rooms move.
func TestFlow(t *testing.T) {
	_, b := start(t)
	crowd, err := players.Enter(t.Context(), b, "relay", "p", 4, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer crowd.Leave()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	go func() {
		time.Sleep(time.Second)
		crowd.Drop()
		time.Sleep(time.Second)
		for _, r := range crowd.Rooms {
			if err := b.Do(ctx, "POST", "/rooms/"+r.Room+"/move", struct{}{}, nil); err != nil {
				t.Error(err)
			}
		}
	}()
	crowd.Talk(ctx, 20)
	time.Sleep(time.Second)
	v := crowd.Judge()
	t.Logf("%+v", v)
	if v.Lost+v.Duplicated+v.Reordered+v.Backward+v.TwoOwners+v.Unwhole+len(v.Ended) > 0 || v.Rejoins != 2*v.Players || v.Heard == 0 {
		t.Errorf("the books say %+v", v)
	}
}
