package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	hubfleet "github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/control"
	"github.com/homing/homing/hub/fleet/scale"
	"github.com/homing/homing/redisx/redisproc"
)

func scaleScenarios() []scenario {
	return []scenario{{
		name: "fleet-scale", about: "players come and go, and a controller starts nodes and takes them away by a command",
		fault: scaleFleet, check: checkUndisturbed,
	}}
}

// follows has a fleet of small nodes follow its load within seconds.
const follows = `
clusters:
- cluster: game
  min_ready: 2
  max: 6
  node: {players: 60}
  headroom: {players: 60}
  start_up: 10s
  trend: -1s
  out: {every: 1s}
  in: {every: 3s}
`

const (
	fewVisitors, manyVisitors = 40, 200 // of two nodes, and of five, with the head-room
	fewNodes, manyNodes       = 2, 5
	nodePorts                 = 24 // a node's port is used once
	// Players come so many at a time: at once they are more than there is room for.
	rampBy, rampEvery = 10, 2 * time.Second
	// scaleWithin is how long the fleet may take to become as large as its load.
	scaleWithin = 90 * time.Second
)

// nodeCommand is the operator's command. Ports are files of a directory, which are taken
// by removing them.
const nodeCommand = `#!/bin/sh
cd %[1]q || exit 1
case $HOMING_ACTION in
grow)
  i=0
  while [ $i -lt $HOMING_NODES ]; do
    port=$(ls ports | head -n 1)
    rm ports/$port || exit 1
    setsid %[2]q front --config %[3]q --front-listen 127.0.0.1:$port --workers 1 --auth-hs256-secret-file %[4]q \
      --node-endpoint 127.0.0.1:$port --node-capacity 60 --front-drain-window 1s </dev/null >node-$port.log 2>&1 &
    echo $! >node-$port.pid
    i=$((i+1))
  done ;;
remove)
  kill -TERM $(cat node-${HOMING_NODE#*:}.pid) ;;
esac
`

// scaleFleet has the load of a fleet rise and fall.
func scaleFleet(ctx context.Context, d *drill) error {
	n, err := newNodes(ctx, d.journal, d.stack)
	if err != nil {
		return err
	}
	defer n.close()
	dir := d.stack.File("nodes")
	command, err := layOut(ctx, d, dir)
	if err != nil {
		return err
	}
	defer endNodes(d, dir)
	record := d.stack.File("record.ndjson")
	c, err := n.newControllers(follows, "--driver-command", command, "--record", record, "--drain-deadline", "30s", "--drain-rate", "20")
	if err != nil {
		return err
	}
	defer c.close()
	serving, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { _ = n.roster.Run(serving) })
	if err := c.start(ctx); err != nil {
		return err
	}
	d.books.err = errors.New("nodes come and go")
	v := newVisitors(d.stack, n.roster)
	defer v.close()
	var telling sync.WaitGroup
	until, untold := context.WithCancel(serving)
	defer untold()
	telling.Go(func() { v.tell(until) })
	d.faultAt = time.Now()
	for _, step := range []struct{ visitors, nodes int }{{fewVisitors, fewNodes}, {manyVisitors, manyNodes}, {fewVisitors, fewNodes}} {
		began := time.Now()
		for have := v.here() + rampBy; have < step.visitors; have += rampBy {
			v.be(ctx, have)
			if err := pause(ctx, rampEvery); err != nil {
				return err
			}
		}
		v.be(ctx, step.visitors)
		if err := c.untilNodes(ctx, step.nodes, step.visitors); err != nil {
			return err
		}
		d.say("%d visitors have %d nodes after %.1fs", step.visitors, step.nodes, time.Since(began).Seconds())
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	untold()
	telling.Wait()
	v.judge(ctx, d)
	return c.judgeScale(ctx, d, record)
}

// layOut makes the operator's command, and what it needs.
func layOut(ctx context.Context, d *drill, dir string) (command string, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "ports"), 0o700); err != nil {
		return "", fmt.Errorf("lay the nodes out: %w", err)
	}
	for range nodePorts {
		port, err := redisproc.FreePort(ctx, "")
		if err != nil {
			return "", fmt.Errorf("lay the nodes out: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "ports", strconv.Itoa(port)), nil, 0o600); err != nil {
			return "", fmt.Errorf("lay the nodes out: %w", err)
		}
	}
	binary, config := d.stack.Program()
	command = filepath.Join(dir, "nodes.sh")
	text := fmt.Sprintf(nodeCommand, dir, binary, config, d.stack.Access.SecretFile())
	if err := os.WriteFile(command, []byte(text), 0o700); err != nil { //nolint:gosec // it is run
		return "", fmt.Errorf("lay the nodes out: %w", err)
	}
	return command, nil
}

// endNodes stops what the command has started and nobody has stopped.
func endNodes(d *drill, dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "node-*.pid")) // the pattern is right
	for _, f := range files {
		text, err := os.ReadFile(f)
		pid, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
		if err := errors.Join(err, convErr); err != nil {
			d.say("a node may go on: %v", err)
			continue
		}
		if syscall.Kill(pid, syscall.SIGTERM) != nil {
			continue // it has ended
		}
		for range 100 {
			if syscall.Kill(pid, 0) != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		_ = syscall.Kill(-pid, syscall.SIGKILL) // the group of what is left; none is what we want
	}
}

// untilNodes waits until there are so many nodes, all ready, with so many players.
func (c *controllers) untilNodes(ctx context.Context, count, players int) error {
	ctx, cancel := context.WithTimeout(ctx, scaleWithin)
	defer cancel()
	for {
		snap, err := c.roster.Snapshot(ctx)
		ready, here := 0, 0
		for i := range snap.Nodes {
			if snap.Nodes[i].State == hubfleet.Ready {
				ready++
			}
			here += snap.Nodes[i].Load.Connections
		}
		if err == nil && len(snap.Nodes) == count && ready == count && here >= players && here <= players+count {
			return nil // a probe may be there, too
		}
		if e := pause(ctx, 200*time.Millisecond); e != nil {
			return fmt.Errorf("wait for %d nodes with %d players: %d nodes, %d ready, %d connections: %w", count, players, len(snap.Nodes), ready, here, errors.Join(err, e))
		}
	}
}

// judgeScale wants that nodes went empty only, that what was decided was done, and that
// the record decides the same when it is replayed.
func (c *controllers) judgeScale(ctx context.Context, d *drill, record string) error {
	c.close()
	all, err := c.entries(ctx)
	if err != nil {
		return err
	}
	count := make(map[scale.Action]int)
	for i := range all {
		e := &all[i]
		if e.Kind == control.KindDecision {
			count[e.Decision.Action] += max(1, e.Decision.Nodes)
		}
		if e.Kind == control.KindOutcome && e.Result != control.Done || e.Kind == control.KindDecision && e.Decision.Action == scale.Lost {
			d.result.breaks("%s", e.String())
		}
	}
	d.say("%d nodes were ordered, %d drained, %d taken away", count[scale.Grow], count[scale.Drain], count[scale.Remove])
	if count[scale.Grow] < manyNodes || count[scale.Remove] < manyNodes-fewNodes {
		d.result.breaks("%d nodes were ordered and %d taken away, want %d and %d at least", count[scale.Grow], count[scale.Remove], manyNodes, manyNodes-fewNodes)
	}
	rules, err := scale.Load(c.rules)
	if err != nil {
		return err
	}
	f, err := os.Open(record)
	if err != nil {
		return fmt.Errorf("replay the record: %w", err)
	}
	defer f.Close()
	replayed, err := control.Replay(f, rules)
	if err != nil {
		return fmt.Errorf("replay the record: %w", err)
	}
	d.say("replayed: %d steps, %d decisions, %d differ", replayed.Steps, replayed.Decisions, len(replayed.Differences))
	if len(replayed.Differences) > 0 || replayed.Decisions == 0 {
		d.result.breaks("%d of %d steps decide otherwise when they are replayed", len(replayed.Differences), replayed.Steps)
	}
	return nil
}
