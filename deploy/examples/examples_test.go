// Package examples_test builds what the examples show, and runs it.
package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/homing/homing/client/go"
)

// TestOwnGame builds the program of a game with logic of its own, a module apart,
// and plays a race in it.
func TestOwnGame(t *testing.T) {
	program := filepath.Join(t.TempDir(), "own-game")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = "own-game"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	text, err := os.ReadFile("own-game/main.go")
	if n := strings.Count(string(text), "\n"); err != nil || n > 60 {
		t.Errorf("%d lines (%v): it is said to have 60 at most", n, err)
	}
	api, front := freePort(t), freePort(t)
	ctx, stop := context.WithCancel(t.Context())
	dev := exec.CommandContext(ctx, program, "dev", "--api-listen", api, "--front-listen", front, "--admin-listen", "127.0.0.1:0")
	dev.Cancel = func() error { return dev.Process.Signal(os.Interrupt) }
	dev.WaitDelay = 10 * time.Second
	var log bytes.Buffer
	dev.Stdout, dev.Stderr = &log, &log
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stop()
		_ = dev.Wait() // it was told to stop
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	var room struct {
		URL   string
		Seats []struct{ User, Ticket string }
	}
	eventually(t, func() error { return post(ctx, "http://"+api+"/rooms", `{"class":"race","users":["ann"]}`, &room) })
	token, err := get(ctx, "http://"+api+"/dev/token?user=ann")
	if err != nil {
		t.Fatal(err)
	}
	var p *client.Player
	clicks := ""
	p = client.NewPlayer(client.Options{URL: room.URL, Token: client.StaticToken(token)}, room.Seats[0].Ticket, client.PlayerHandler{
		Frame: func(f client.Frame) {
			clicks += string(f.State["ann"])
			_ = p.Say([]byte(`"click"`)) // the race ends otherwise
		},
	})
	left, err := p.Run(ctx)
	if err != nil || left.Reason != "finished" || clicks != "012345678910" {
		t.Errorf("left %+v, %v, after %s", left, err, clicks)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	err := f()
	for deadline := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(deadline); err = f() {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func post(ctx context.Context, url, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s", resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return strings.TrimSpace(b.String()), err
}
