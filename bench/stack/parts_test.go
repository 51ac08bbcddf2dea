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
	if got := s.Config.DataShards(); !slices.Equal(got, []string{"data", "data-2"}) || len(s.Redis.DataURLs()) != 3 || len(s.Redis.PubSubURLs()) != 1 {
		t.Errorf("data shards %v, %v, pub/sub %v", got, s.Redis.DataURLs(), s.Redis.PubSubURLs())
	}
	api, front := s.API.PIDs()[0], s.Front.MasterPID()
	if err := s.Config.Write(Lists{Data: s.Redis.DataURLs(), DataPrevious: s.Redis.DataURLs()[:2]}); err != nil {
		t.Fatal(err)
	}
	if err := s.API.Restart(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Front.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.Config.DataShards()) != 3 || s.API.PIDs()[0] == api || s.Front.MasterPID() == front {
		t.Errorf("data shards %v, API %v, front %d", s.Config.DataShards(), s.API.PIDs(), s.Front.MasterPID())
	}
	if list := raw(t, s.API.PIDs()[0]); strings.Contains(list, s.Redis.DataURLs()[0]) {
		t.Errorf("flags win over what Config says: %s", list)
	}
	extra, url, err := s.API.Extra(t.Context(), "--redis-data", s.Redis.DataURLs()[0])
	if err != nil {
		t.Fatal(err)
	}
	if extra.Check() != nil || slices.Contains(s.API.URLs(), url) || len(s.API.URLs()) != 1 {
		t.Errorf("the extra server at %s is one of %v, or ended: %v", url, s.API.URLs(), extra.Check())
	}
	front2, err := s.Front.Extra(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Front.MasterPID() == front2.PID() || front2.Check() != nil {
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
