package child

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// StepBack gives this process the least share of the CPU. The subjects of a
// fault stand for players' own machines: what they do when they are thrown off
// must not take the CPU from the system that is measured, nor from those who
// watch it. Threads that start later inherit it.
func StepBack() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("step back: %w", err)
	}
	const least = 19
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, least); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("step back: %w", err)
		}
	}
	return nil
}
