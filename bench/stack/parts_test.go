package stack

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestServersRestartWithOtherSettings: data shards, spare ones too, and servers
// that are told of more of them, one by one.
func TestServersRestartWithOtherSettings(t *testing.T) {
	s, err := Start(t.Context(), Options{Binary: build(t), Data: 2, SpareData: 1, Pipes: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(false); err != nil {
			t.Error(err)
		}
	}()
	if got := s.DataShards(); !slices.Equal(got, []string{"data", "data-2"}) || len(s.DataURLs()) != 3 || len(s.PubSubURLs()) != 1 {
		t.Errorf("data shards %v, %v, pub/sub %v", got, s.DataURLs(), s.PubSubURLs())
	}
	api, front := s.APIPIDs()[0], s.MasterPID()
	if err := s.Configure(Lists{Data: s.DataURLs(), DataPrevious: s.DataURLs()[:2]}); err != nil {
		t.Fatal(err)
	}
	if err := s.RestartAPI(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.RestartFront(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.DataShards()) != 3 || s.APIPIDs()[0] == api || s.MasterPID() == front {
		t.Errorf("data shards %v, API %v, front %d", s.DataShards(), s.APIPIDs(), s.MasterPID())
	}
	if list := raw(t, s.APIPIDs()[0]); strings.Contains(list, s.DataURLs()[0]) {
		t.Errorf("flags win over what Configure says: %s", list)
	}
	extra, url, err := s.Extra(t.Context(), "--redis-data", s.DataURLs()[0])
	if err != nil {
		t.Fatal(err)
	}
	if extra.Check() != nil || slices.Contains(s.APIs(), url) || len(s.APIs()) != 1 {
		t.Errorf("the extra server at %s is one of %v, or ended: %v", url, s.APIs(), extra.Check())
	}
	front2, err := s.ExtraFront(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.MasterPID() == front2.PID() || front2.Check() != nil {
		t.Errorf("the extra front, process %d, is the stack's, or ended: %v", front2.PID(), front2.Check())
	}
	if err := errors.Join(extra.Stop(5*time.Second), front2.Stop(10*time.Second)); err != nil {
		t.Error(err)
	}
}

// raw is the command line of a process.
func raw(t *testing.T, pid int) string {
	t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}
