package redisproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// StopDetached ends every process whose pid file is in dir, with SIGTERM and,
// for those that are still there when ctx ends, with SIGKILL, and removes the
// pid files. A pid that belongs to no Redis by now is left alone. It returns
// how many processes it ended.
func StopDetached(ctx context.Context, dir string) (int, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.pid"))
	if err != nil {
		return 0, fmt.Errorf("look for pid files: %w", err)
	}
	pids := map[string]int{}
	for _, f := range files {
		pid, err := readPID(f)
		if err != nil {
			return 0, err
		}
		if isRedis(pid) {
			pids[f] = pid
			_ = syscall.Kill(pid, syscall.SIGTERM) // one that has just ended is what we want
		}
	}
	for _, f := range files {
		if pid, ok := pids[f]; ok {
			waitGone(ctx, pid)
		}
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return len(pids), fmt.Errorf("remove the pid file: %w", err)
		}
	}
	return len(pids), nil
}

// Detached returns the names of the processes that Detach left running with
// their files in dir.
func Detached(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.pid"))
	if err != nil {
		return nil, fmt.Errorf("look for pid files: %w", err)
	}
	var names []string
	for _, f := range files {
		if pid, err := readPID(f); err == nil && isRedis(pid) {
			names = append(names, strings.TrimSuffix(filepath.Base(f), ".pid"))
		}
	}
	return names, nil
}

func readPID(file string) (int, error) {
	b, err := os.ReadFile(file) //nolint:gosec // the caller names the directory
	if err != nil {
		return 0, fmt.Errorf("read the pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("read the pid file %s: %q is no pid", file, b)
	}
	return pid, nil
}

// isRedis reports whether pid is a running Redis or Sentinel.
func isRedis(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(b), "redis-")
}

// waitGone waits for the end of a process that is not our child, and kills it
// when ctx ends before.
func waitGone(ctx context.Context, pid int) {
	for isRedis(pid) {
		select {
		case <-ctx.Done():
			_ = syscall.Kill(pid, syscall.SIGKILL) // nothing more can be done about it
			return
		case <-time.After(pollInterval):
		}
	}
}
