package app

import (
	"strings"
	"testing"
)

// TestNotifySays sends in every way that the command has, and reads what it
// says of the reply.
func TestNotifySays(t *testing.T) {
	s, key := stackWithKey(t)
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
