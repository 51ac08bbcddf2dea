package usage

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Holders tells which of the processes holds the server's end of each IPv4
// connection to the local port, by the client's address as "a.b.c.d:port".
// It asks the kernel, so it does not depend on what the processes say. All of
// them are in one network namespace, which need not be ours.
func Holders(port int, pids []int) (map[string]int, error) {
	inodes, err := connectionsOf(pids, port)
	if err != nil {
		return nil, err
	}
	holders := make(map[string]int, len(inodes))
	for _, pid := range pids {
		links, err := os.ReadDir(proc(pid, "fd"))
		if err != nil {
			continue // it has ended, and holds nothing
		}
		for _, l := range links {
			target, err := os.Readlink(filepath.Join(proc(pid, "fd"), l.Name()))
			if err != nil {
				continue // closed meanwhile
			}
			if client, ok := inodes[target]; ok {
				holders[client] = pid
			}
		}
	}
	return holders, nil
}

// connectionsOf is connections of the first process that has not ended.
func connectionsOf(pids []int, port int) (inodes map[string]string, err error) {
	for _, pid := range pids {
		if inodes, err = connections(pid, port); err == nil {
			return inodes, nil
		}
	}
	if gone(err) {
		return nil, nil
	}
	return nil, err
}

// connections maps "socket:[inode]" to the peer's address for the established
// connections in the process's network namespace whose local port is port.
func connections(pid, port int) (map[string]string, error) {
	raw, err := os.ReadFile(proc(pid, "net/tcp"))
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	const established = "01"
	local := fmt.Sprintf(":%04X", port)
	out := make(map[string]string)
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != established || !strings.HasSuffix(f[1], local) {
			continue
		}
		peer, err := hexAddress(f[2])
		if err != nil {
			return nil, fmt.Errorf("list connections: %w", err)
		}
		out["socket:["+f[9]+"]"] = peer
	}
	return out, nil
}

// hexAddress turns "0100007F:1F90" (the address as a little-endian word) into
// "127.0.0.1:8080".
func hexAddress(s string) (string, error) {
	ip, port, ok := strings.Cut(s, ":")
	a, err := strconv.ParseUint(ip, 16, 32)
	if err != nil || !ok {
		return "", fmt.Errorf("address %q: want IPv4 in hex", s)
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", s, err)
	}
	return fmt.Sprintf("%d.%d.%d.%d:%d", a&255, a>>8&255, a>>16&255, a>>24, p), nil
}

// Listeners counts the IPv4 sockets in the process's network namespace that
// listen on the local port; with SO_REUSEPORT there may be several.
func Listeners(pid, port int) (int, error) {
	raw, err := os.ReadFile(proc(pid, "net/tcp"))
	if err != nil {
		return 0, fmt.Errorf("list listeners: %w", err)
	}
	const listening = "0A"
	local, n := fmt.Sprintf(":%04X", port), 0
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[3] == listening && strings.HasSuffix(f[1], local) {
			n++
		}
	}
	return n, nil
}
