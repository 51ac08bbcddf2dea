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

	"golang.org/x/sys/unix"
)

// Own is the user and system time that this process has used since it started.
func Own() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0 // the only errors are of the arguments
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// cpu is the user and system time that a process has used since it started, all
// threads together, the ended ones too. The kernel charges what it does for the
// network in a process's time slice to that process. The clock that is read
// counts nanoseconds where /proc/PID/stat counts hundredths of a second and /proc/PID/schedstat knows
// one thread only. It is an os.ErrNotExist when the process is gone.
func cpu(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED of <linux/posix-timers.h>
	var used unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|scheduler), &used)
	if errors.Is(err, unix.EINVAL) { // what the kernel says of a clock whose process is gone
		err = os.ErrNotExist
	}
	if err != nil {
		return 0, fmt.Errorf("cpu of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
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
	if !ok || len(fields) <= statRSS {
		return nil, fmt.Errorf("read process %d: %d fields in stat, want more", pid, len(fields))
	}
	return fields, nil
}

// The fields of stat that are read by number.
const (
	statState   = 0
	statParent  = 1
	statStarted = 19 // ticks after boot; with the id, it names a process for good
	statRSS     = 21 // pages
)

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
		if err == nil && fields[statParent] == strconv.Itoa(pid) && fields[statState] != "Z" {
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
	sockets, _, err = tcp()
	return kb << 10, sockets, err
}

// tcp returns how many TCP sockets there are, and the bytes that wait in them.
func tcp() (sockets int, mem int64, err error) {
	raw, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, 0, fmt.Errorf("count sockets: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) < 11 || f[0] != "TCP:" {
			continue
		}
		inuse, err1 := strconv.Atoi(f[2])
		pages, err2 := strconv.ParseInt(f[10], 10, 64)
		return inuse, pages * int64(os.Getpagesize()), errors.Join(err1, err2)
	}
	return 0, 0, errors.New("count sockets: no TCP in /proc/net/sockstat")
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
