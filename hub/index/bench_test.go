package index

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/redisx"
)

// The fixture of all benchmarks: 10 processes that hold 20,000 users each, on
// a master with replicas.
const (
	benchProcesses = 10
	benchUsers     = 200_000
)

type bench struct {
	*world
	ix        *Index
	processes []process
	users     []hub.UserID
}

func newBench(b *testing.B, timing timing) *bench {
	b.Helper()
	_, cfg := replicated(b)
	w := newWorld(b, cfg)
	f := &bench{world: w, ix: w.index(timing)}
	for range benchProcesses {
		f.processes = append(f.processes, w.process(timing))
	}
	for i := range benchUsers {
		f.users = append(f.users, hub.UserID(fmt.Sprintf("player-%09d", i)))
	}
	return f
}

// registerAll makes each process hold its share of the users.
func (f *bench) registerAll(b *testing.B) {
	b.Helper()
	chess := one("chess")
	var wg sync.WaitGroup
	for i, u := range f.users {
		wg.Add(1)
		f.processes[i%benchProcesses].Set(u, chess, func(error) { wg.Done() })
	}
	wg.Wait()
}

// usage is processor time used so far.
type usage struct{ self, master, replicas time.Duration }

func (f *bench) usage() (u usage) {
	f.t.Helper()
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	u.self = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	for _, n := range f.r.Data.Shards()[0].Nodes() {
		c := redis.NewClient(&redis.Options{Addr: n.Addr, Protocol: 2})
		cpu := serverCPU(c)
		_ = c.Close()
		if n.Role == redisx.Master {
			u.master += cpu
		} else {
			u.replicas += cpu
		}
	}
	return u
}

func serverCPU(c *redis.Client) (cpu time.Duration) {
	for line := range strings.Lines(c.Info(context.Background(), "cpu").Val()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			s, _ := strconv.ParseFloat(value, 64)
			cpu += time.Duration(s * float64(time.Second))
		}
	}
	return cpu
}

// report adds what was used since before, per n of unit.
func (f *bench) report(b *testing.B, before usage, n int, unit string) {
	b.Helper()
	after := f.usage()
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(n) }
	b.ReportMetric(per(after.self-before.self), "self-cpu-us/"+unit)
	b.ReportMetric(per(after.master-before.master), "master-cpu-us/"+unit)
	b.ReportMetric(per(after.replicas-before.replicas), "replicas-cpu-us/"+unit)
}

// BenchmarkLocate300 looks up 300 users, every other of them online.
func BenchmarkLocate300(b *testing.B) {
	f := newBench(b, defaultTiming)
	f.registerAll(b)
	rng := rand.New(rand.NewPCG(1, 1))
	targets := make([]hub.UserID, 300)
	for i := range targets {
		targets[i] = hub.UserID(fmt.Sprintf("player-%09d", benchUsers+i))
	}
	eventually(b, time.Minute, "the replicas have the last user", func() bool {
		online := 0
		for range 20 { // whichever replica answers
			p, err := f.ix.Locate(b.Context(), f.users[benchUsers-1:], nil)
			if err != nil {
				b.Fatal(err)
			}
			online += p.Online
		}
		return online == 20
	})
	before := f.usage()
	b.ReportAllocs()
	for b.Loop() {
		for i := 0; i < len(targets); i += 2 {
			targets[i] = f.users[rng.IntN(benchUsers/len(targets))*len(targets)+i]
		}
		p, err := f.ix.Locate(b.Context(), targets, nil)
		if err != nil || p.Online != 150 {
			b.Fatalf("%d online, %v", p.Online, err)
		}
	}
	b.StopTimer()
	f.report(b, before, b.N, "lookup")
}

// BenchmarkGroup300 is the part of it that is not Redis and its client.
func BenchmarkGroup300(b *testing.B) {
	t := lease.NewRoll(time.Now(), true)
	var l lookup
	var users []hub.UserID
	for range benchProcesses {
		t.Add(hub.Process{ID: hub.NewProcessID()})
	}
	for i := range 300 {
		value := ""
		if i%2 == 0 {
			value = string(t.At(i%benchProcesses).ID) + "=chess*1"
		}
		users, l.values = append(users, hub.UserID(fmt.Sprintf("player-%09d", i))), append(l.values, value)
	}
	b.ReportAllocs()
	for b.Loop() {
		l.group(t, users, nil)
	}
}

// BenchmarkConnect is the time from one user's Set to its callback while
// nothing else happens.
func BenchmarkConnect(b *testing.B) {
	f := newBench(b, defaultTiming)
	done := make(chan error)
	tell := func(err error) { done <- err }
	services := [][]hub.ServiceCount{one("chess"), nil}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f.processes[0].Set("anna", services[i%2], tell)
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRegister registers all users as fast as it goes, and removes them.
func BenchmarkRegister(b *testing.B) {
	f := newBench(b, defaultTiming)
	before := f.usage()
	for b.Loop() {
		f.registerAll(b)
		b.StopTimer()
		f.master(0).FlushAll(b.Context())
		b.StartTimer()
	}
	b.StopTimer()
	f.report(b, before, b.N*benchUsers, "user")
}

// BenchmarkRefresh is what keeping 200,000 users registered costs for one
// second: the leases of 10 processes renewed, and read by 10 processes.
func BenchmarkRefresh(b *testing.B) {
	f := newBench(b, still)
	var idle []*Registrar // that do not run
	for range benchProcesses {
		self := hub.Process{ID: hub.NewProcessID(), Node: "node", Role: "front"}
		idle = append(idle, NewRegistrar(f.r, f.keys, self, lease.NewStanding(lease.Config{}, lease.DefaultTiming(), slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler), nil))
	}
	before := f.usage()
	for b.Loop() {
		for i, g := range idle {
			if i%2 == 0 { // each every other second
				if err := g.writers[f.r.Data.Lead()].renew(b.Context(), time.Now()); err != nil {
					b.Fatal(err)
				}
			}
			if err := f.ix.census.Refresh(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	f.report(b, before, b.N, "second")
}

// BenchmarkVerify compares all 200,000 users with a data Redis that has lost
// none of them, as after an ordinary failover.
func BenchmarkVerify(b *testing.B) { benchmarkVerify(b, false) }

// BenchmarkReregister does so with a data Redis that has lost them all.
func BenchmarkReregister(b *testing.B) { benchmarkVerify(b, true) }

func benchmarkVerify(b *testing.B, lost bool) {
	timing := defaultTiming
	timing.renew = 100 * time.Millisecond
	f := newBench(b, timing)
	f.registerAll(b)
	before := f.usage()
	for b.Loop() {
		want := f.verified() + benchUsers
		for _, p := range f.processes {
			if lost {
				f.master(0).FlushAll(b.Context())
			} else {
				f.master(0).Del(b.Context(), f.keys.Lease(p.id))
			}
		}
		eventually(b, time.Minute, "all users are verified", func() bool { return f.verified() >= want })
		eventually(b, time.Minute, "all users are there", func() bool {
			return f.countUsers(b) == benchUsers
		})
	}
	b.StopTimer()
	f.report(b, before, b.N, "pass")
}

// countUsers is the number of users on the master; all other keys are few.
func (f *bench) countUsers(b *testing.B) int {
	n, err := f.master(0).DBSize(b.Context()).Result()
	if err != nil {
		b.Fatal(err)
	}
	others := int64(benchProcesses + 1)
	for _, job := range []string{"sweep", "audit"} {
		others += f.master(0).Exists(b.Context(), f.keys.Turn(job)).Val()
	}
	return int(n - others)
}

func (f *bench) verified() int {
	families, err := f.met.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range families {
		if m.GetName() == "homing_index_verified_entries_total" {
			return int(m.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return 0
}

// BenchmarkSweep removes 2,000 entries of a dead process among 200,000.
func BenchmarkSweep(b *testing.B) {
	f := newBench(b, defaultTiming)
	f.registerAll(b)
	eventually(b, time.Minute, "the shard is steady", f.ix.census.Steady)
	before := f.usage()
	for b.Loop() {
		b.StopTimer()
		ghost := hub.NewProcessID()
		pipe := f.master(0).Pipeline()
		for _, u := range f.users[:2000] {
			pipe.Append(b.Context(), f.keys.User(u), " "+string(ghost)+"=*1")
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		s := newSweep(f.ix, f.ix.census.Roll())
		if err := s.run(b.Context()); err != nil {
			b.Fatal(err)
		}
		if s.removed != 2000 {
			b.Fatalf("%d entries removed", s.removed)
		}
	}
	b.StopTimer()
	f.report(b, before, b.N, "sweep")
}
