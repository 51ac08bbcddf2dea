package loop

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// descriptorLimit says when connections in service come near the descriptors
// that there are. Those that are pending have a part of their own, so that they
// cannot close the listeners.
type descriptorLimit struct {
	high, low int // connections in service at which the listeners close and open again
	pending   int // descriptors kept for connections that are pending
}

// headroom is the part of the descriptors, one in so many, that connections
// leave free. The listeners open again when that part of the connections is gone.
const headroom = 20

// newDescriptorLimit allows for the descriptors that the process has open
// already. limit 0 means the process's own. Of what there is, a quarter at most
// is kept for pending connections.
func newDescriptorLimit(limit, pending int) (descriptorLimit, error) {
	if limit == 0 {
		var r unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
			return descriptorLimit{}, fmt.Errorf("read the limit of descriptors: %w", err)
		}
		limit = int(min(r.Cur, 1<<30))
	}
	used, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return descriptorLimit{}, fmt.Errorf("count open descriptors: %w", err)
	}
	d := descriptorLimit{high: limit, pending: pending}
	d.share(limit - limit/headroom - len(used))
	return d, nil
}

// share has at most all connections be open.
func (d *descriptorLimit) share(all int) {
	d.pending = max(1, min(d.pending, all/4))
	d.high = max(1, min(d.high, all-d.pending))
	d.low = d.high - d.high/headroom - 1
}

// full reports whether the listeners must be closed.
func (d *descriptorLimit) full(inService int) bool { return inService >= d.high }

// lower learns from the kernel that there are fewer than was thought: not more
// than those of so many connections, pending ones included.
func (d *descriptorLimit) lower(connections int) { d.share(connections - connections/headroom) }
