package report

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctls are the kernel's settings that decide how many connections a machine
// takes, and how fast.
var sysctls = []string{
	"net.core.somaxconn",
	"net.ipv4.tcp_max_syn_backlog",
	"net.ipv4.tcp_migrate_req",
	"net.ipv4.ip_local_port_range",
	"net.ipv4.tcp_mem",
}

// Machine describes the machine that this process runs on. What it cannot find
// out is left out.
func Machine() []Fact {
	facts := []Fact{
		{"cores", strconv.Itoa(runtime.NumCPU())},
		{"CPU", field("/proc/cpuinfo", "model name")},
		{"memory", memory(field("/proc/meminfo", "MemTotal"))},
		{"kernel", kernel()},
		{"Go", runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH},
		{"open files per process", openFiles()},
	}
	for _, name := range sysctls {
		raw, _ := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		facts = append(facts, Fact{name, strings.Join(strings.Fields(string(raw)), " ")})
	}
	known := facts[:0]
	for _, f := range facts {
		if f.Value != "" {
			known = append(known, f)
		}
	}
	return known
}

// field returns the first value in a file of "key: value" lines.
func field(file, key string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// memory turns "24684092 kB" into GiB.
func memory(kb string) string {
	n, err := strconv.ParseFloat(strings.TrimSuffix(kb, " kB"), 64)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%.1f GiB", n/(1<<20))
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

func openFiles() string {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return ""
	}
	return fmt.Sprintf("%d, at most %d", l.Cur, l.Max)
}
