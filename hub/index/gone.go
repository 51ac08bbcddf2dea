package index

import (
	"time"

	"github.com/homing/homing/hub"
)

// Gone reports whether process p, which lived at the time given, holds no
// lease any more. It answers from the leases as read last, and yes only if
// they were read after that time and prove something: not while the process
// could not have renewed its lease.
func (ix *Index) Gone(p hub.ProcessID, since time.Time) bool {
	t := ix.table.Load()
	if t == nil || !t.steady || t.loaded.Before(since) {
		return false
	}
	_, live := t.slots[p]
	return !live
}
