package hook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/hook/webhook"
	"github.com/homing/homing/redisx"
)

// childVariable has the test binary run a Sender instead of tests, so that it can
// be killed.
const childVariable = "HOOK_TEST_SENDER"

// childConfig is what the child is told.
type childConfig struct {
	Redis    redisx.Config
	Target   hook.Target
	Sender   hook.SenderConfig
	Endpoint webhook.Config
}

// child sends until it is killed.
func child() {
	var c childConfig
	if err := json.Unmarshal([]byte(os.Getenv(childVariable)), &c); err != nil {
		panic(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	r, err := redisx.New(c.Redis, log, prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	go func() { _ = r.Run(context.Background()) }()
	end, err := webhook.New(c.Endpoint, log)
	if err != nil {
		panic(err)
	}
	s := hook.NewSender(c.Target, c.Sender, end, r, hub.NewKeys(c.Redis.Prefix), log, prometheus.NewRegistry())
	s.Fast(lease)
	fmt.Println("ready")
	_ = s.Run(context.Background())
}

// senderProcess starts a Sender in a process of its own.
func (p *process) senderProcess() *exec.Cmd {
	p.t.Helper()
	b, err := json.Marshal(childConfig{Redis: p.rc, Target: p.target(), Sender: p.scfg, Endpoint: p.ecfg})
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(b))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { kill(p.t, cmd) })
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
}
