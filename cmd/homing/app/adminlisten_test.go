package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
)

// TestAPIServersShareAConfiguration: the second finds a port of its own and says
// which; a front, of which there is one, does not.
func TestAPIServersShareAConfiguration(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	first, err := listenAdmin(t.Context(), "127.0.0.1:0", true, log)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	address := first.Addr().String()
	second, err := listenAdmin(t.Context(), address, true, log)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if at := second.Addr().(*net.TCPAddr).Port - first.Addr().(*net.TCPAddr).Port; at < 1 || at >= adminPorts {
		t.Errorf("%d ports further", at)
	}
	if got := text.String(); !strings.Contains(got, second.Addr().String()) || !strings.Contains(got, "level=WARN") {
		t.Errorf("logged %q", got)
	}
	if _, err := listenAdmin(t.Context(), address, false, log); err == nil || !strings.Contains(err.Error(), "--admin-listen") ||
		!strings.Contains(err.Error(), fmt.Sprintf("process %d (", os.Getpid())) {
		t.Errorf("alone: %v", err)
	}
	if _, err := listenAdmin(t.Context(), "nowhere.invalid:1", true, log); err == nil || !strings.Contains(err.Error(), "--admin-listen") {
		t.Errorf("another fault: %v", err)
	}
}
