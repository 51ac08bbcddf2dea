package tickets

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 4, 12, 30, 0, 0, time.UTC)

// source is what Random and Shared have in common.
type source interface {
	At(now time.Time) (Keys, error)
}

func at(t *testing.T, s source, now time.Time) Keys {
	t.Helper()
	k, err := s.At(now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// opens reports whether somebody with keys k opens what is sealed with by.
func opens(k, by Keys) bool { return slices.Contains(k, by[0]) }

func TestTicketsOpenForADayAndAreForgotten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	writeSecret(t, file, strings.Repeat("s", MinSecret))
	for name, s := range map[string]source{"random": &Random{}, "shared": Shared{file}} {
		t.Run(name, func(t *testing.T) {
			first := at(t, s, noon)
			for _, later := range []time.Duration{0, time.Hour, Period, 2 * Period} {
				if k := at(t, s, noon.Add(later)); !opens(k, first) {
					t.Errorf("a ticket is not opened %v later", later)
				} else if later >= Period && k[0] == first[0] {
					t.Errorf("tickets are sealed with the same key %v later", later)
				}
			}
			if k := at(t, s, noon.Add(4*Period)); opens(k, first) {
				t.Error("a ticket is opened two days later")
			}
		})
	}
}

func TestMachinesWithOneSecretOpenEachOthersTickets(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		writeSecret(t, filepath.Join(dir, name), strings.Repeat("s", MinSecret)+map[string]string{"a": "", "b": "\n"}[name])
	}
	a, b := Shared{filepath.Join(dir, "a")}, Shared{filepath.Join(dir, "b")}
	if early, late := at(t, a, noon), at(t, b, noon.Add(Period)); !opens(early, late) || !opens(late, early) {
		t.Error("clocks half a day apart do not understand each other")
	}
	before := at(t, a, noon)
	writeSecret(t, a.File, strings.Repeat("n", MinSecret))
	if opens(at(t, a, noon), before) {
		t.Error("a new secret makes the old keys")
	}
	writeSecret(t, a.File, "short")
	if _, err := a.At(noon); err == nil || !strings.Contains(err.Error(), "front.tls-ticket-keys") {
		t.Errorf("a short secret: %v", err)
	}
}

func TestRandomKeysDiffer(t *testing.T) {
	if a, b := at(t, &Random{}, noon), at(t, &Random{}, noon); a[0] == b[0] {
		t.Error("two machines have the same random key")
	}
}

func TestParse(t *testing.T) {
	r := &Random{}
	at(t, r, noon)
	want := at(t, r, noon.Add(Period))
	got, err := Parse(want.Encode())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	many := Keys(make([][keySize]byte, maxKeys+1)).Encode()
	for _, bad := range []string{"", "!", want.Encode()[1:], many} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func writeSecret(t *testing.T, name, secret string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
}
