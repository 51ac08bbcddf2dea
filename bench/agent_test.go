package bench

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/bench/bare"
)

// startAgent runs an agent until the test ends, and returns where.
func startAgent(t *testing.T, secretFile string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	o := AgentOptions{Listen: addr, SecretFile: secretFile, Source: []string{"127.0.0.7"}, MaxProcesses: 2}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- RunAgent(ctx, o, io.Discard, os.Stderr, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("RunAgent = %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestAgentsRunTheClients(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 40)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := defaults(t)
	o.Agents, o.AgentSecretFile, o.Bees = []string{startAgent(t, secret), startAgent(t, secret)}, secret, 4
	o.Conns, o.Online, o.Rate, o.Duration, o.Payload = 120, 30, 40, 500*time.Millisecond, 100
	argv, env, err := helperCommand(helperBare)
	if err != nil {
		t.Fatal(err)
	}
	server, err := bare.Start(t.Context(), argv, env, 2, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	r := newRun("limit", o, io.Discard)
	hive, err := setup{Options: o}.hive(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	_, v, err := flood(t.Context(), r, setup{Options: o}, server, hive)
	if err != nil || v.Expected != 600 || v.Lost+v.Duplicated+v.Stray != 0 {
		t.Errorf("verdict = %+v, %v", v, err)
	}
	if err := hive.Stop(); err != nil {
		t.Error(err)
	}
	o.Bees = 5 // one more than two agents allow
	if hive, err := (setup{Options: o}).hive(t.Context(), r); err == nil || !strings.Contains(err.Error(), o.Agents[0]) {
		t.Errorf("hive of 5 = %v, %v; want an error that names an agent", hive, err)
	}
}
