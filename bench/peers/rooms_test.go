package peers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEachPeerOpensRooms; that they are played in is a test of package bench.
func TestEachPeerOpensRooms(t *testing.T) {
	for _, name := range RoomNames() {
		t.Run(name, func(t *testing.T) {
			if err := Prepare(t.Context(), name, "", t.Output()); err != nil {
				t.Fatal(err)
			}
			s, err := StartRooms(t.Context(), RoomOptions{Name: name, Processes: 2})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Stop(false); err != nil {
					t.Error(err)
				}
			})
			testRooms(t, s)
		})
	}
}

func testRooms(t *testing.T, s *Rooms) {
	if err := s.Alive(); err != nil || len(s.PIDs()) != 2 || len(s.URLs()) != 2 || s.Dialect() != s.Name() {
		t.Errorf("processes %v at %v, dialect %s: %v", s.PIDs(), s.URLs(), s.Dialect(), err)
	}
	if s.Versions()["node"] == "" || s.Versions()["ws"] == "" || len(s.Settings()) < 3 {
		t.Errorf("versions %v, settings %q", s.Versions(), s.Settings())
	}
	ids := make(map[string]bool)
	for _, u := range s.URLs() {
		for range 2 {
			ids[openRoom(t, u, s.Key(), 3)+" at "+u] = true
		}
	}
	if len(ids) != 4 {
		t.Errorf("rooms %v, want four", ids)
	}
	for name, c := range map[string]struct {
		key, body string
		want      int
	}{
		"another key": {"wrong", `{"users":["ann"],"hz":20}`, http.StatusUnauthorized},
		"no users":    {s.Key(), `{"hz":20}`, http.StatusBadRequest},
		"no names":    {s.Key(), `{"users":[1],"hz":20}`, http.StatusBadRequest},
		"no ticks":    {s.Key(), `{"users":["ann"],"hz":0}`, http.StatusBadRequest},
		"no JSON":     {s.Key(), `{`, http.StatusBadRequest},
		"too large":   {s.Key(), strings.Repeat(" ", 1<<17), http.StatusBadRequest},
	} {
		if status, reply := postRoom(t, s.URLs()[0], c.key, c.body); status != c.want {
			t.Errorf("%s: HTTP %d %s, want %d", name, status, reply, c.want)
		}
	}
}

// openRoom opens a room for n users, checks the seats, and returns its id.
func openRoom(t *testing.T, at, key string, n int) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"users": []string{"ann", "ben", "cat"}[:n], "hz": 20})
	if err != nil {
		t.Fatal(err)
	}
	status, reply := postRoom(t, at, key, string(body))
	var opened struct {
		Room  string
		Seats []struct{ Path, Login string }
	}
	if err := json.Unmarshal(reply, &opened); err != nil || status != http.StatusCreated || opened.Room == "" || len(opened.Seats) != n {
		t.Fatalf("HTTP %d %s (%v)", status, reply, err)
	}
	seats := make(map[string]bool)
	for _, s := range opened.Seats {
		seats[s.Path+s.Login] = strings.HasPrefix(s.Path, "/")
	}
	if len(seats) != n {
		t.Errorf("seats %+v are not %d different ones", opened.Seats, n)
	}
	return opened.Room
}

func postRoom(t *testing.T, at, key, body string) (status int, reply []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at+"/rooms", bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reply, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, reply
}

func TestNothingIsLeftOfRoomsThatDoNotStart(t *testing.T) {
	dir, logs := t.TempDir(), t.TempDir()
	installed := filepath.Join(dir, "colyseus", "node_modules")
	if err := errors.Join(
		os.MkdirAll(installed, 0o700),
		os.WriteFile(filepath.Join(installed, ".package-lock.json"), []byte("{}"), 0o600),
		os.WriteFile(filepath.Join(dir, "colyseus", "rooms.js"), []byte("console.error('no rooms today'); process.exit(1)"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err := StartRooms(t.Context(), RoomOptions{Name: "colyseus", Dir: dir, LogDir: logs})
	if err == nil || !strings.Contains(err.Error(), "start colyseus") || !strings.Contains(err.Error(), "no rooms today") {
		t.Errorf("error = %v", err)
	}
	if took := time.Since(start); took > startTimeout/2 {
		t.Errorf("it took %v to see that the process has ended", took)
	}
	if out := running(t, logs); len(out) > 0 {
		t.Errorf("left running: %v", out)
	}
	if _, err := StartRooms(t.Context(), RoomOptions{Name: "centrifuge"}); err == nil || !strings.Contains(err.Error(), "colyseus") {
		t.Errorf("error = %v", err)
	}
}
