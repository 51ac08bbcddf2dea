package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/redisx/redistest"
)

// TestNotifySays sends in every way that the command has, and reads what it
// says of the reply.
func TestNotifySays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	ok, key, stderr := keys(t, "--name", "shop", "--file", file)
	if !ok {
		t.Fatal(stderr)
	}
	s := &stack{secret: []byte(newSecret())}
	var ac apiConfig
	fc := frontConfig{Auth: auth.Config{Secret: s.secret}}
	if err := errors.Join(kong.ApplyDefaults(&ac), kong.ApplyDefaults(&fc)); err != nil {
		t.Fatal(err)
	}
	ac.Redis = redistest.Config(t, redistest.Server(t))
	fc.Redis = ac.Redis
	ac.API.Listen, ac.API.ReusePort, ac.API.Keys = "127.0.0.1:0", false, file
	fc.Front.Listen, fc.Front.DrainWindow, fc.Front.DrainTimeout = "127.0.0.1:0", 0, time.Second
	s.startFront(t, fc)
	s.startAPI(t, ac)
	s.hear(t, "alice")

	for _, c := range []struct{ args, reply, words string }{
		{"alice bob", `"online":1`, "1 of 2 users online, at 1 processes."},
		{"alice bob --wait 2s", `"written":1`, "Users: 1 written, 1 offline."},
		{"alice bob --wait 2s --per-user", `"bob":"offline"`, "Users: 1 written, 1 offline."},
		{"alice bob --store 1h --wait 2s", `"stored":1`, "Kept for 1h0m0s"},
		{"alice --id once", `"id":"once"`, "1 of 1 users online"},
		{"alice --id once", `"id":"once"`, "Nothing was sent"},
		{"--broadcast", `"targets":1`, "Sent to 1 connections at 1 processes."},
	} {
		args := append([]string{"notify", "--api", s.apis[0], "--api-key", key}, strings.Fields(c.args)...)
		if code, stdout, stderr := start(t, args...); code != 0 || !strings.Contains(stdout, c.reply) || !strings.Contains(stderr, c.words) {
			t.Errorf("notify %s: status %d, %q, %q; want %q and %q", c.args, code, stdout, stderr, c.reply, c.words)
		}
	}
	for args, want := range map[string]string{
		"":                         "--broadcast",
		"alice --broadcast":        "name no users",
		"--broadcast --store 1h":   "--store",
		"alice --per-user":         "--wait",
		"alice --wait 6s":          "--wait: 6s",
		"alice --store=-1s":        "--store: -1s",
		"--broadcast --wait 100ms": "--wait",
	} {
		if code, _, stderr := start(t, append([]string{"notify"}, strings.Fields(args)...)...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("notify %s: status %d, %q; want %q", args, code, stderr, want)
		}
	}
}
