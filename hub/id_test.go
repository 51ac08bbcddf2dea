package hub

import (
	"errors"
	"strings"
	"testing"
)

func TestUserIDCheck(t *testing.T) {
	for _, tc := range []struct {
		name string
		id   UserID
		ok   bool
	}{
		{"one byte", "u", true},
		{"every allowed edge", "!~", true},
		{"punctuation", "game:1234/eu?x=*[a]", true},
		{"longest", UserID(strings.Repeat("u", MaxUserID)), true},
		{"empty", "", false},
		{"too long", UserID(strings.Repeat("u", MaxUserID+1)), false},
		{"space", "a b", false},
		{"newline", "a\n", false},
		{"NUL", "a\x00", false},
		{"DEL", "a\x7f", false},
		{"not ASCII", "ä", false},
	} {
		t.Run(tc.name, func(t *testing.T) { checkErr(t, tc.id.Check(), tc.ok, ErrBadUserID) })
	}
}

func TestServiceCheck(t *testing.T) {
	for _, tc := range []struct {
		name    string
		service Service
		ok      bool
	}{
		{"letters, digits and marks", "chess-2.eu_west", true},
		{"longest", Service(strings.Repeat("s", MaxService)), true},
		{"empty", "", false},
		{"too long", Service(strings.Repeat("s", MaxService+1)), false},
		{"upper case", "Chess", false},
		{"what separates index entries: comma", "a,b", false},
		{"star", "a*", false},
		{"equals", "a=b", false},
		{"space", "a b", false},
	} {
		t.Run(tc.name, func(t *testing.T) { checkErr(t, tc.service.Check(), tc.ok, ErrBadService) })
	}
}

func TestProcessIDCheck(t *testing.T) {
	for _, tc := range []struct {
		name string
		id   ProcessID
		ok   bool
	}{
		{"all kinds of letters", "aZ09_-aZ09_", true},
		{"empty", "", false},
		{"short", "aZ09_-aZ09", false},
		{"long", "aZ09_-aZ09_x", false},
		{"base64 but not of URLs", "aZ09+/aZ09+", false},
		{"padding", "aZ09_-aZ09=", false},
	} {
		t.Run(tc.name, func(t *testing.T) { checkErr(t, tc.id.Check(), tc.ok, ErrBadProcessID) })
	}
}

func TestNewProcessID(t *testing.T) {
	seen := make(map[ProcessID]bool)
	for range 1000 {
		id := NewProcessID()
		if err := id.Check(); err != nil {
			t.Fatal(err)
		}
		if seen[id] {
			t.Fatalf("%s drawn twice", id)
		}
		seen[id] = true
	}
}

// checkErr fails unless err is nil when ok, and wraps want when not.
func checkErr(t *testing.T, err error, ok bool, want error) {
	t.Helper()
	switch {
	case ok && err != nil:
		t.Errorf("refused: %v", err)
	case !ok && !errors.Is(err, want):
		t.Errorf("got %v, want %v", err, want)
	}
}
