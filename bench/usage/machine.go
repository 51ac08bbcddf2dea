package usage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is what all its cores together had spent since it started, and what
// the kernel held.
type Machine struct {
	Cores int

	Busy    time.Duration // neither idle nor taken away by the host
	SoftIRQ time.Duration // of that, receiving packets and the like, sampled at clock ticks; a process is charged for it when it is done in its time slice
	Steal   time.Duration // taken away by the host

	Kernel  int64 // bytes in slabs, where sockets and what belongs to them live
	Sockets int   // TCP over IPv4
	TCPMem  int64 // bytes in their buffers, in pages
}

// tick is the unit of time in /proc/stat (USER_HZ, 100 on Linux).
const tick = 10 * time.Millisecond

func machine() (m Machine, err error) {
	if err := m.cpu(); err != nil {
		return m, err
	}
	slab, err := kilobytes("/proc/meminfo", "Slab:")
	if err != nil {
		return m, err
	}
	m.Kernel = slab << 10
	m.Sockets, m.TCPMem, err = tcp()
	return m, err
}

// cpu reads the cores' time. Busy is what idleness leaves of the clock, for the
// kernel measures how long it is idle, and only samples what it is busy with.
func (m *Machine) cpu() error {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return fmt.Errorf("read the machine's CPU time: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	var unused time.Duration
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if !strings.HasPrefix(line, "cpu") || len(f) < 9 {
			continue
		}
		if f[0] != "cpu" { // the line of one core
			m.Cores++
			continue
		}
		spent, err := ticks(f[4], f[5], f[7], f[8])
		if err != nil {
			return fmt.Errorf("read the machine's CPU time: %w", err)
		}
		unused, m.SoftIRQ, m.Steal = spent[0]+spent[1]+spent[3], spent[2], spent[3]
	}
	m.Busy = time.Duration(m.Cores)*time.Duration(now.Nano()) - unused
	return nil
}

func ticks(fields ...string) ([]time.Duration, error) {
	out := make([]time.Duration, len(fields))
	for i, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil, err
		}
		out[i] = time.Duration(n) * tick
	}
	return out, nil
}

// descriptors counts the open descriptors of a process. The kernel tells the
// number as the directory's size since Linux 6.2; before, it is listed.
func descriptors(pid int) (int, error) {
	dir := proc(pid, "fd")
	info, err := os.Stat(dir)
	if err != nil {
		return 0, fmt.Errorf("count descriptors: %w", err)
	}
	if n := info.Size(); n > 0 {
		return int(n), nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !gone(err) {
		return 0, fmt.Errorf("count descriptors: %w", err)
	}
	return len(entries), nil
}

// gone reports whether err says that a process ended while it was read.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}
