package master

import (
	"math"
	"runtime"

	"go.uber.org/automaxprocs/maxprocs"
)

// cpus returns how many CPUs this process and its children may keep busy: those
// that it may run on, its cgroup's quota (v1 or v2) rounded up, or GOMAXPROCS
// from the environment, whichever is least. It is at least 1. The Go runtime
// follows the quota too, but never below 2.
func cpus() int {
	up := func(quota float64) int { return int(math.Ceil(quota)) }
	n := runtime.GOMAXPROCS(0)
	if undo, err := maxprocs.Set(maxprocs.Min(1), maxprocs.RoundQuotaFunc(up)); err == nil {
		n = min(n, runtime.GOMAXPROCS(0))
		undo()
	}
	return min(n, runtime.NumCPU())
}
