package client

import (
	"encoding/json"
	"sync"
	"time"
)

// acks gathers acknowledgements, so that a flood of messages is answered by a
// few. Safe for concurrent use.
type acks struct {
	conn *Conn

	mu      sync.Mutex
	ids     []string    // guarded by mu
	bytes   int         // guarded by mu; of ids
	timer   *time.Timer // guarded by mu; set while ids wait
	stopped bool        // guarded by mu
}

// A message of acknowledgements stays far below what a server takes: 256 ids,
// 64 KiB.
const (
	ackBatch = 64
	ackBytes = 16 << 10
	ackDelay = 50 * time.Millisecond
)

func (a *acks) add(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = append(a.ids, id)
	a.bytes += len(id)
	switch {
	case len(a.ids) >= ackBatch || a.bytes >= ackBytes:
		a.flushLocked()
	case a.timer == nil && !a.stopped:
		a.timer = time.AfterFunc(ackDelay, a.flush)
	}
}

func (a *acks) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flushLocked()
}

// flushLocked sends what waits. When that fails the connection is lost, and
// the notifications come again.
func (a *acks) flushLocked() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	if len(a.ids) == 0 || a.stopped {
		return
	}
	ids, _ := json.Marshal(a.ids) // strings always marshal
	a.ids, a.bytes = a.ids[:0], 0
	_ = a.conn.Send(append(append([]byte(`{"t":"ack","ids":`), ids...), '}'))
}

// stop sends what waits, as far as the connection takes it, and no more.
func (a *acks) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flushLocked()
	a.stopped = true
}
