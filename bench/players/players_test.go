package players_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/homing/homing/bench/players"
	"github.com/homing/homing/bench/stack"
)

// built builds the homing binary once for all tests.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "homing-players-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	binary := filepath.Join(dir, "homing")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/homing/homing/cmd/homing").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
})

var binaryDir string // what built has made

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir) // a temporary one
	}
	os.Exit(code)
}

// start starts a system with game rooms on two fronts, of two workers each.
func start(t *testing.T, opts stack.Options) (*stack.Stack, *players.Backend) {
	t.Helper()
	var err error
	if opts.Binary, err = built(); err != nil {
		t.Fatal(err)
	}
	opts.Fronts, opts.Workers, opts.Rooms = 2, 2, true
	s, err := stack.Start(t.Context(), opts)
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

// end closes a room: a system that stops would try for a while to hand it over.
func end(t *testing.T, b *players.Backend, room string) {
	t.Helper()
	if err := b.Do(context.WithoutCancel(t.Context()), http.MethodDelete, "/rooms/"+room, nil, nil); err != nil {
		t.Error(err)
	}
}

// TestFlow has players talk in rooms on several workers, lose their lines, and go
// along when their rooms move.
func TestFlow(t *testing.T) {
	_, b := start(t, stack.Options{})
	crowd, err := players.Enter(t.Context(), b, "relay", "p", 4, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer crowd.Leave()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	go func() {
		time.Sleep(time.Second)
		crowd.Drop(1)
		time.Sleep(time.Second)
		for _, r := range crowd.Rooms {
			if err := b.Do(ctx, http.MethodPost, "/rooms/"+r.Room+"/move", struct{}{}, nil); err != nil {
				t.Error(err)
			}
		}
	}()
	crowd.Talk(ctx, 20)
	time.Sleep(time.Second)
	v := crowd.Judge()
	t.Logf("%+v", v)
	if v.Lost+v.Duplicated+v.Reordered+v.Backward+v.TwoOwners+v.Unwhole+v.Reseated+len(v.Ended) > 0 || v.Rejoins != 2*v.Players || v.Heard == 0 {
		t.Errorf("the books say %+v", v)
	}
	for _, r := range crowd.Rooms {
		end(t, b, r.Room)
	}
}
