package index

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// Whoever asks for many users does not make the server read them in one go.
func TestLocateOfManyUsersIsCutIntoPieces(t *testing.T) {
	w := onServer(t)
	ix, p := w.index(quick), w.process(quick)
	users := make([]hub.UserID, 2*mgetKeys+500)
	for i := range users {
		users[i] = hub.UserID(fmt.Sprint("user-", i))
		if i%10 == 7 {
			p.Set(users[i], one("chess"), nil)
		}
	}
	eventually(t, 10*time.Second, "all are written", func() bool { return pendingOf(p) == 0 })
	calls := func() (n int) {
		info := w.master(0).Info(t.Context(), "commandstats").Val()
		_, rest, _ := strings.Cut(info, "cmdstat_mget:calls=")
		_, _ = fmt.Sscanf(rest, "%d", &n)
		return n
	}
	for range 2 { // with what the first left in the scratch
		before := calls()
		got, err := ix.LocateNow(t.Context(), users, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := calls() - before; n < 3 {
			t.Errorf("%d reads of %d users, want at least 3", n, len(users))
		}
		if len(got.Groups) != 1 || len(got.Groups[0].Users) != len(users)/10 || got.Offline != len(users)*9/10 {
			t.Fatalf("%d groups, %d offline", len(got.Groups), got.Offline)
		}
		for i, u := range users {
			if found := slices.Contains(got.Groups[0].Users, u); found != (i%10 == 7) {
				t.Fatalf("%s: found %v", u, found)
			}
		}
	}
}
