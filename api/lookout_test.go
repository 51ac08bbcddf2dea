package api

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/homing/homing/hub"
)

// TestManyWhoAskShareOneLook: whoever has no key makes the hub look at itself
// as often as one probe does.
func TestManyWhoAskShareOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		l := newLookout(func(context.Context) hub.Health {
			looks++
			time.Sleep(50 * time.Millisecond)
			return hub.Health{Down: []string{"away"}}
		})
		gone, leave := context.WithCancel(t.Context())
		leave()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if h := l.look(gone); len(h.Down) != 1 {
					t.Errorf("got %+v", h)
				}
			})
		}
		all.Wait()
		if looks != 1 {
			t.Errorf("looked %d times", looks)
		}
		time.Sleep(healthFresh)
		if l.look(t.Context()); looks != 2 {
			t.Errorf("looked %d times in all", looks)
		}
	})
}
