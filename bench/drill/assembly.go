package drill

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/hub"
)

const (
	topicCount    = 200
	leastMembers  = 5 // of the smallest topic; the largest has everybody
	mostTopics    = hub.MaxTopics - 4
	keepingShare  = 5 // one of so many topics keeps what it was told
	wantedShare   = 4 // one of so many that do not is subscribed to by its members
	publisherPart = 20
	// firstPublisher is the number of the first client, as a sender and as who takes
	// what it sends; those of backends and of API servers are below.
	firstPublisher = 1000
)

// streamShare is that one of so many clients reads an event stream. It publishes nothing,
// and what was kept while it was away is not told to it.
const streamShare = 12

// memberServices are what clients connect from, in turn.
var memberServices = [...]hub.Service{"", "chess", "shop"}

// assembly is all members of topics, and what they hear.
type assembly struct {
	at      *entrance
	forum   ledger.Forum
	topics  []hub.Topic
	members []*member
	dialing chan struct{}
	running sync.WaitGroup

	open     atomic.Int64
	received atomic.Int64
	failed   atomic.Int64
	ended    atomic.Int64 // connections that members did not end
	serial   atomic.Int64
	refusals sync.Map // of what members asked for: code to *atomic.Int64

	mu      sync.Mutex
	lastErr error
	conns   map[*ledger.Sitting]string // open and of an unknown worker, by the client's address
	owned   map[*ledger.Sitting]int    // by who holds them, while they are open
}

// topicName names topic i.
func topicName(i int) hub.Topic {
	if i%keepingShare == 0 {
		return hub.Topic(fmt.Sprintf("guild:%d", i))
	}
	return hub.Topic(fmt.Sprintf("hall:%d", i))
}

// keepTopics has topics keep what they were told.
const keepTopics = "guild:*=1000/10m"

func keeps(t hub.Topic) bool { return strings.HasPrefix(string(t), "guild:") }

// topicSize is how many of so many clients topic i has as members: each topic has a
// little more than the one before.
func topicSize(i, clients int) int {
	least := min(leastMembers, clients)
	return int(math.Round(float64(least) * math.Pow(float64(clients)/float64(least), float64(i)/(topicCount-1))))
}

// newAssembly makes members, of whose users one in ten has two. Topics that keep what
// they were told, and some others, are subscribed to; the rest stands in tokens.
func newAssembly(at *entrance, clients int) *assembly {
	a := &assembly{
		at: at, dialing: make(chan struct{}, dialsUnderWay),
		conns: make(map[*ledger.Sitting]string), owned: make(map[*ledger.Sitting]int),
	}
	for n := range clients {
		user := n
		if n%11 == 10 {
			user--
		}
		m := &member{
			assembly: a, number: n, user: hub.UserID(fmt.Sprintf("member%d", user)),
			service: memberServices[n%len(memberServices)], streams: n%streamShare == streamShare-1,
			places: make(map[hub.Topic]string), lent: make(map[hub.Topic]bool),
		}
		m.record = a.forum.Listen(m.user, m.service)
		a.members = append(a.members, m)
	}
	draw := rand.New(rand.NewPCG(1, 2))
	for i := range topicCount {
		t := topicName(i)
		a.topics = append(a.topics, t)
		for _, n := range draw.Perm(clients)[:topicSize(i, clients)] {
			m := a.members[n]
			switch {
			case keeps(t), i%wantedShare == 1:
				m.wanted = append(m.wanted, t)
			default:
				m.named = append(m.named, t)
			}
		}
	}
	return a
}

// start connects all members and keeps them connected until ctx ends; wait then waits
// for them.
func (a *assembly) start(ctx context.Context) {
	for _, m := range a.members {
		a.running.Go(func() { m.keep(ctx) })
	}
}

func (a *assembly) wait() { a.running.Wait() }

func (a *assembly) seated() int { return int(a.serial.Add(1)) }

func (a *assembly) enter(p *presentee, addr string) {
	a.open.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns[p.sitting] = addr
}

func (a *assembly) exit(p *presentee) {
	a.open.Add(-1)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, p.sitting)
	delete(a.owned, p.sitting)
}

func (a *assembly) dialFailed(err error) {
	a.failed.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastErr = err
}

// wasRefused counts what a member asked for in vain.
func (a *assembly) wasRefused(code string) {
	n, _ := a.refusals.LoadOrStore(code, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

// refused is how often members asked in vain, by the code.
func (a *assembly) refused() map[string]int64 {
	out := make(map[string]int64)
	a.refusals.Range(func(code, n any) bool {
		out[code.(string)] = n.(*atomic.Int64).Load()
		return true
	})
	return out
}

// answered enters a post whose outcome is known; nil: there is none.
func (a *assembly) answered(p *ledger.Post, o ledger.Outcome) {
	if p != nil {
		p.Answered, p.Outcome = time.Now(), o
		a.forum.Enter(p)
	}
}

// waitOpen waits until all members are connected and those of the topics that they
// want, or ctx ends.
func (a *assembly) waitOpen(ctx context.Context) error {
	for !a.settled() {
		if pause(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("%d of %d clients are connected and members (last failure: %v): %w", a.open.Load(), len(a.members), a.lastFailure(), ctx.Err()) //nolint:errorlint // only context matters to callers
		}
	}
	return nil
}

// thrown counts the members that are not connected and have not left by themselves.
func (a *assembly) thrown() (n int) {
	for _, m := range a.members {
		m.mu.Lock()
		if m.present == nil && !m.leaves {
			n++
		}
		m.mu.Unlock()
	}
	return n
}

// lastFailure is why a dial failed last; nil when none did.
func (a *assembly) lastFailure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lastErr
}

// settled reports whether all are connected, and nothing that they asked for is under
// way.
func (a *assembly) settled() bool {
	if int(a.open.Load()) < len(a.members) {
		return false
	}
	for _, m := range a.members {
		m.mu.Lock()
		waits := m.present == nil || len(m.present.asks) > 0
		m.mu.Unlock()
		if waits {
			return false
		}
	}
	return true
}

// locate asks which worker holds each connection that nobody has been found for yet.
func (a *assembly) locate(ctx context.Context, at *holders) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.conns) == 0 {
		return nil
	}
	found, err := at.find(ctx, slices.Collect(maps.Values(a.conns)))
	if err != nil {
		return err
	}
	for s, addr := range a.conns {
		if pid, ok := found[addr]; ok {
			s.HeldBy(pid)
			a.owned[s] = pid
			delete(a.conns, s)
		}
	}
	return nil
}

// heldBy counts the connections that a worker holds.
func (a *assembly) heldBy(worker int) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, pid := range a.owned {
		if pid == worker {
			n++
		}
	}
	return n
}
