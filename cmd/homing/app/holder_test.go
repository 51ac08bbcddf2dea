package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// TestServersNameWhoHasTheirPort: a server that finds its port taken says by
// which process.
func TestServersNameWhoHasTheirPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file := t.TempDir() + "/keys.yaml"
	if ok, _, stderr := keys(t, "--name", "shop", "--file", file); !ok {
		t.Fatal(stderr)
	}
	taken, want := ln.Addr().String(), fmt.Sprintf("process %d (", os.Getpid())
	for _, args := range [][]string{
		{"api", "--api-keys", file, "--redis-data", "redis://127.0.0.1:1", "--api-listen", taken},
		{"dev", "--front-listen", "127.0.0.1:0", "--api-listen", taken},
	} {
		if code, _, stderr := start(t, args...); code != 1 || !strings.Contains(stderr, "--api-listen") || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d, %s; want %q", args[0], code, stderr, want)
		}
	}
	if err := withHolder(nil, taken); err != nil {
		t.Error(err)
	}
	other := errors.New("another")
	if err := withHolder(other, taken); !errors.Is(err, other) || strings.Contains(err.Error(), want) {
		t.Error(err)
	}
}
