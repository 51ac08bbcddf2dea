package drill

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/redisx/redisproc"
)

// side says where a process runs.
type side uint8

const (
	home  side = iota // in the drill's own namespace
	left              // behind one port of the bridge
	right             // behind the other
)

// frontName is what the front is called where Redis processes go by the names
// that redisproc.TopologyOptions.Place describes.
const frontName = "front"

// network is what a scenario that runs apart has beside its own namespace.
type network struct {
	*journal

	sides       func(name string) side // where each process runs
	left, right *namespace
}

// namespace is a network namespace behind one port of the bridge. A sleeping
// process holds it.
type namespace struct {
	addr   string
	port   string // the bridge's
	holder *exec.Cmd
}

const (
	homeAddr  = "10.213.0.1" // of our own namespace
	leftAddr  = "10.213.0.2"
	rightAddr = "10.213.0.3"
)

// newNetwork makes the bridge and what is behind it. Whoever made it closes it.
func newNetwork(ctx context.Context, j *journal, sides func(name string) side) (*network, error) {
	n := &network{journal: j, sides: sides}
	if err := n.build(ctx); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *network) build(ctx context.Context) (err error) {
	for _, cmd := range []string{
		"ip link set lo up",
		"ip link add name cutbr type bridge",
		"ip address add " + homeAddr + "/24 dev cutbr",
		"ip link set cutbr up",
	} {
		if err := run(ctx, cmd); err != nil {
			return err
		}
	}
	if n.left, err = newNamespace(ctx, leftAddr, "cut0"); err != nil {
		return err
	}
	n.right, err = newNamespace(ctx, rightAddr, "cut1")
	return err
}

func newNamespace(ctx context.Context, addr, port string) (*namespace, error) {
	ns := &namespace{addr: addr, port: port, holder: exec.Command("sleep", "infinity")} //nolint:noctx // close ends it
	ns.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := ns.holder.Start(); err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	inside := strings.Join(ns.under(), " ")
	for _, cmd := range []string{
		fmt.Sprintf("ip link add name %s type veth peer name eth0 netns %d", port, ns.holder.Process.Pid),
		fmt.Sprintf("ip link set dev %s master cutbr up", port),
		inside + " ip link set lo up",
		inside + " ip address add " + addr + "/24 dev eth0",
		inside + " ip link set eth0 up",
	} {
		if err := run(ctx, cmd); err != nil {
			ns.close()
			return nil, err
		}
	}
	return ns, nil
}

// under is the command that runs another one in the namespace.
func (ns *namespace) under() []string {
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", ns.holder.Process.Pid)}
}

func (ns *namespace) close() {
	if ns != nil {
		_ = ns.holder.Process.Kill()
		_ = ns.holder.Wait() // killed, as it says
	}
}

func (n *network) close() {
	n.left.close()
	n.right.close()
}

func run(ctx context.Context, command string) error {
	argv := strings.Fields(command)
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return nil
}

// on says where a process runs: its address and what it is started under.
func (n *network) on(name string) (host string, under []string) {
	switch n.sides(name) {
	case left:
		return n.left.addr, n.left.under()
	case right:
		return n.right.addr, n.right.under()
	default:
		return homeAddr, nil
	}
}

// place puts the stack's processes where they belong.
func (n *network) place(o *stack.Options) {
	o.BasePort = 20000 // the whole namespace is ours
	o.Place = func(r *redisproc.ServerOptions) { r.Host, r.Under = n.on(r.Name) }
	if n.sides(frontName) != home {
		o.FrontHost, o.FrontUnder = n.on(frontName)
	}
}

// cut parts the namespaces behind the bridge from each other, in both
// directions and without a word to either; our own still reaches both.
func (n *network) cut(ctx context.Context) error { return n.isolate(ctx, "on") }

func (n *network) heal(ctx context.Context) error { return n.isolate(ctx, "off") }

// cutFor parts the two sides of the network for a while.
func (n *network) cutFor(ctx context.Context, length time.Duration, what string) error {
	n.say("%s for %v", what, length)
	n.faultAt = time.Now()
	if err := n.cut(ctx); err != nil {
		return err
	}
	if err := pause(ctx, length); err != nil {
		return err
	}
	n.say("the network is whole again")
	return n.heal(ctx)
}

func (n *network) isolate(ctx context.Context, how string) error {
	for _, ns := range []*namespace{n.left, n.right} {
		if err := run(ctx, "ip link set dev "+ns.port+" type bridge_slave isolated "+how); err != nil {
			return err
		}
	}
	return nil
}

// masterCut cuts the first pub/sub master off from its replicas and the
// Sentinels.
func masterCut(name string) side {
	switch group := stack.ShardMaster(shard); {
	case name == group+"-0":
		return left
	case strings.HasPrefix(name, group+"-"), strings.HasPrefix(name, "sentinel-"):
		return right
	default:
		return home
	}
}

// cutNetwork cuts the master off for half of the time. Publishers still reach
// it, and it takes what they publish, to nobody.
func cutNetwork(ctx context.Context, d *drill) error {
	d.say("cutting %s, the master of %s, off from its replicas and the Sentinels", leftAddr, stack.ShardMaster(shard))
	d.faultAt = time.Now()
	if err := d.net.cut(ctx); err != nil {
		return err
	}
	if err := pause(ctx, d.opts.After/2); err != nil {
		return err
	}
	d.say("the network is whole again")
	return d.net.heal(ctx)
}
