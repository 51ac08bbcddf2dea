package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/homing/homing/bench/bare"
	"github.com/homing/homing/bench/clients"
)

func TestBeesOfTwoAgentsServeOneRun(t *testing.T) {
	t.Parallel()
	one, logOne, _ := startAgent(t, options(0))
	two, logTwo, _ := startAgent(t, options(0))
	server, err := bare.Start(t.Context(), []string{os.Args[0]}, []string{helperVar + "=bare"}, 1, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	procs, err := DialAll(t.Context(), []string{one, two}, secret, "bee", 3)
	if err != nil {
		t.Fatal(err)
	}
	hive := clients.Over(procs)
	const conns = 90
	if _, err := hive.Connect(t.Context(), clients.Target{Fronts: server.URLs(), Conns: conns}, nil); err != nil {
		t.Fatal(err)
	}
	plan := clients.Plan{Seed: 1, Conns: conns, Online: 30}
	res, err := server.Flood(t.Context(), bare.Load{Plan: plan, Rate: 50, Duration: 400 * time.Millisecond, Payload: 120})
	if err != nil || res.Written != 600 {
		t.Fatalf("Flood = %+v, %v", res, err)
	}
	if pids := hive.PIDs(); len(pids) != 0 {
		t.Errorf("PIDs = %v, want none of other machines", pids)
	}
	want := clients.Verdict{Expected: 600}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		v, err := hive.Verify(t.Context(), plan, clients.Sent{N: res.Notifications})
		if err != nil || v == want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("verdict = %+v, want %+v", v, want)
		}
	}
	if err := hive.Stop(); err != nil {
		t.Error(err)
	}
	logOne.await(t, 2, "helper ended")
	logTwo.await(t, 1, "helper ended")
}

func TestClocksOfOneMachineAgree(t *testing.T) {
	addr, _, _ := startAgent(t, options(0))
	p, err := Dial(t.Context(), addr, secret, "bee")
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Clock(t.Context())
	if err != nil || c.Uncertainty <= 0 || c.Offset.Abs() > c.Uncertainty {
		t.Errorf("Clock = %+v, %v; want an offset of 0, give or take", c, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestWithoutTheSecretNothingStarts(t *testing.T) {
	addr, l, _ := startAgent(t, options(0))
	other := bytes.Repeat([]byte("o"), MinSecret)
	if _, err := Dial(t.Context(), addr, other, "bee"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), addr) {
		t.Errorf("Dial with another secret = %v, want a refusal that names the agent", err)
	}
	if _, err := Dial(t.Context(), addr, secret[1:], "bee"); !errors.Is(err, ErrSecret) {
		t.Errorf("Dial with a short secret = %v", err)
	}
	if _, err := Dial(t.Context(), addr, secret, "shell"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "shell") {
		t.Errorf("Dial for a role that is not allowed = %v", err)
	}
	l.await(t, 2, "coordinator refused")
	if strings.Contains(l.text.String(), "started") {
		t.Errorf("a helper was started:\n%s", l.text.String())
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := Serve(t.Context(), ln, Options{}, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrSecret) {
		t.Errorf("Serve without a secret = %v", err)
	}
}

// TestAnImpostorIsNotTrusted has a coordinator talk to one who listens in the
// agent's place, and does not know the secret.
func TestAnImpostorIsNotTrusted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	impostor := &server{opts: options(0), helpers: make(chan struct{}, 1), entrance: make(chan struct{}, 1)}
	if impostor.tls, err = serverTLS(); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	defer done.Wait()
	done.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		s, err := impostor.enter(context.Background(), conn.(*net.TCPConn))
		if err != nil {
			return
		}
		mine, _ := proof(s.conn, bytes.Repeat([]byte("o"), MinSecret), agent)
		_ = writeLine(s.conn, receipt{Proof: mine})
		_, _ = io.Copy(io.Discard, s.in)
	})
	if _, err := Dial(t.Context(), ln.Addr().String(), secret, "bee"); !errors.Is(err, ErrSecret) {
		t.Errorf("Dial = %v, want ErrSecret", err)
	}
}

func TestAnAgentStartsNoMoreThanItsLimit(t *testing.T) {
	addr, l, _ := startAgent(t, options(1))
	p, err := Dial(t.Context(), addr, secret, "bee")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), addr, secret, "bee"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "1 helper processes") {
		t.Errorf("second Dial = %v, want a refusal that gives the limit", err)
	}
	l.await(t, 1, "helper refused")
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if p, err = Dial(t.Context(), addr, secret, "bee"); err != nil {
		t.Fatalf("Dial after Stop = %v", err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestACallSaysWhichAgentDied(t *testing.T) {
	t.Parallel()
	p, addr := startProcess(t, "agent")
	bee, err := Dial(t.Context(), addr, secret, "deaf")
	if err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(100*time.Millisecond, func() { _ = p.Process.Kill() })
	defer kill.Stop()
	if err := bee.Call(t.Context(), "report", nil, nil, nil); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("Call = %v, want an error that names %s", err, addr)
	}
	_ = bee.Stop()
}

func TestHelpersEndWithTheirCoordinator(t *testing.T) {
	t.Parallel()
	addr, l, _ := startAgent(t, options(0))
	p, _ := startProcess(t, "ordering", addr)
	l.await(t, 1, "helper started")
	_ = p.Process.Kill()
	l.await(t, 1, "helper ended") // it does not read its input: the agent kills it
}

func TestACallThatIsGivenUpEndsTheHelper(t *testing.T) {
	t.Parallel()
	addr, l, _ := startAgent(t, options(0))
	p, err := Dial(t.Context(), addr, secret, "deaf")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Call(ctx, "report", nil, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Call = %v, want the context's error", err)
	}
	l.await(t, 1, "helper ended")
	_ = p.Stop()
}

func TestAnAgentThatEndsEndsItsHelpers(t *testing.T) {
	t.Parallel()
	addr, l, end := startAgent(t, options(0))
	p, err := Dial(t.Context(), addr, secret, "bee")
	if err != nil {
		t.Fatal(err)
	}
	end()
	l.await(t, 1, "helper ended")
	if strings.Contains(l.text.String(), "failed") {
		t.Errorf("not in good order:\n%s", l.text.String())
	}
	if err := p.Call(t.Context(), "report", nil, nil, nil); err == nil {
		t.Error("Call: no error though the agent has ended")
	}
	_ = p.Stop()
}

func TestAHandshakeIsBounded(t *testing.T) {
	t.Parallel()
	addr, l, _ := startAgent(t, options(0))
	for name, p := range map[string][]byte{
		"not TLS":  []byte("GET / HTTP/1.1\r\n\r\n"),
		"too long": slices.Repeat([]byte{'x'}, 1<<20),
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(p)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: not cut off", name)
		}
		conn.Close()
	}
	l.await(t, 2, "coordinator refused")
	var o order
	endless := newReader(io.MultiReader(strings.NewReader(`{"role":"`), bytes.NewReader(make([]byte, 1<<20))))
	if err := readLine(endless, &o); err == nil {
		t.Error("readLine: no error for a line without end")
	}
}

func FuzzOrder(f *testing.F) {
	f.Add([]byte(`{"proof":"AAAA","role":"bee"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var o order
		if err := readLine(newReader(bytes.NewReader(b)), &o); err != nil {
			return
		}
		var again order
		raw, err := json.Marshal(o)
		if err != nil || json.Unmarshal(raw, &again) != nil || again.Role != o.Role && !strings.ContainsRune(again.Role, '\ufffd') {
			t.Fatalf("%+v is %s and back %+v", o, raw, again)
		}
	})
}
