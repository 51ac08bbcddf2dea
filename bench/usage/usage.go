// Package usage reads from /proc what processes and the kernel spend: CPU,
// memory, and which process holds which socket. Linux only.
package usage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc/PID/stat (USER_HZ, 100 on Linux).
const tick = 10 * time.Millisecond

// CPU returns the user and system time that the processes have used since
// they started, to 10 ms. A process that is gone counts as nothing.
func CPU(pids ...int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		fields, err := stat(pid)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		for _, f := range fields[11:13] { // utime, stime
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("cpu of process %d: %w", pid, err)
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}

// stat returns the fields of /proc/PID/stat after the command's name, so that
// field 0 is the state.
func stat(pid int) ([]string, error) {
	raw, err := os.ReadFile(proc(pid, "stat"))
	if err != nil {
		return nil, fmt.Errorf("read process %d: %w", pid, err)
	}
	_, rest, ok := strings.Cut(string(raw[bytes.LastIndexByte(raw, ')'):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return nil, fmt.Errorf("read process %d: %d fields in stat, want more", pid, len(fields))
	}
	return fields, nil
}

func proc(pid int, file string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), file)
}

// Children returns the processes whose parent is pid.
func Children(pid int) ([]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []int
	for _, dir := range dirs {
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		fields, err := stat(child)
		if err == nil && fields[1] == strconv.Itoa(pid) && fields[0] != "Z" {
			out = append(out, child)
		}
	}
	return out, nil
}

// Memory returns the bytes of memory that belong to the processes: their
// proportional share (Pss) of every page they map.
func Memory(pids ...int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		kb, err := kilobytes(proc(pid, "smaps_rollup"), "Pss:")
		if err != nil {
			return 0, err
		}
		sum += kb << 10
	}
	return sum, nil
}

// KernelMemory returns the bytes that the kernel holds in slabs, where sockets
// and what belongs to them live, and the TCP sockets there are.
func KernelMemory() (slab int64, sockets int, err error) {
	kb, err := kilobytes("/proc/meminfo", "Slab:")
	if err != nil {
		return 0, 0, err
	}
	raw, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, 0, fmt.Errorf("count sockets: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) > 2 && f[0] == "TCP:" && f[1] == "inuse" {
			sockets, err = strconv.Atoi(f[2])
		}
	}
	return kb << 10, sockets, err
}

// kilobytes returns the figure after key in a file of "key: n kB" lines.
func kilobytes(file, key string) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, fmt.Errorf("read memory use: %w", err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) >= 2 && fields[0] == key {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	if s.Err() != nil {
		return 0, fmt.Errorf("read memory use: %w", s.Err())
	}
	return 0, fmt.Errorf("read memory use: no %s in %s", key, file)
}
