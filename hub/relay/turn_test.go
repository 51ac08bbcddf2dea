package relay

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
)

// twoShards returns a relay whose packets go where transmit says; nothing
// tends it.
func twoShards(t *testing.T, id hub.ProcessID, h Handler, transmit func(lane int, payload []byte)) *Relay {
	t.Helper()
	cfg := Config{Window: 30 * time.Second, Memory: 1 << 20, RetransmitTimeout: 250 * time.Millisecond}
	r := newRelay(cfg, hub.NewKeys(""), id, modelLog, prometheus.NewRegistry())
	r.begin(Upper{Handle: h})
	for i := range 2 {
		carry(t.Context(), r, func(it *item) bool {
			transmit(i, it.payload)
			return true
		})
	}
	return r
}

// TestOneShardSwallowsEverything: a shard takes what is published and brings it
// to nobody, in either direction, which is what a master cut off from its
// replicas does. Whatever shard either side prefers, no message waits long.
func TestOneShardSwallowsEverything(t *testing.T) {
	for n := range 16 { // names decide which shards a pair prefers
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				deadline := 600 * time.Millisecond
				api, worker := hub.ProcessID(fmt.Sprintf("sender-%04d", n)), hub.ProcessID(fmt.Sprintf("worker-%04d", n))
				var sender, receiver *Relay
				sender = twoShards(t, api, func(m *Message) bool { m.Done(nil); return true }, func(lane int, payload []byte) {
					if lane == 1 {
						time.AfterFunc(time.Millisecond, func() { receiver.receive(lane, "", payload) })
					}
				})
				var mu sync.Mutex // guards sent and taken
				sent, taken := make(map[int]time.Time), 0
				take := func(m *Message) bool {
					mu.Lock()
					defer mu.Unlock()
					if took := time.Since(sent[taken]); took > deadline {
						t.Errorf("%s: message %d took %v", api, taken, took)
					}
					taken++
					m.Done(nil)
					return true
				}
				receiver = twoShards(t, worker, take, func(lane int, payload []byte) {
					if lane == 1 {
						time.AfterFunc(time.Millisecond, func() { sender.receive(lane, "", payload) })
					}
				})
				const messages = 200
				for i := range messages {
					mu.Lock()
					sent[i] = time.Now()
					mu.Unlock()
					if err := sender.Send(t.Context(), []Outgoing{{To: worker, Body: []byte{1}}}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(grain)
					sender.step(time.Now())
					receiver.step(time.Now())
				}
				for range 40 {
					time.Sleep(grain)
					sender.step(time.Now())
					receiver.step(time.Now())
				}
				mu.Lock()
				defer mu.Unlock()
				if taken != messages {
					t.Errorf("%s: %d of %d messages arrived", api, taken, messages)
				}
			})
		})
	}
}
