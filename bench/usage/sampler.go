package usage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// Group is processes that are looked at together.
type Group struct {
	Name string

	// PIDs is asked at every reading. One that has ended meanwhile does no harm.
	PIDs func() ([]int, error)
}

// Reading is what had been used by one instant.
type Reading struct {
	At     time.Time
	Groups map[string]Spent
	Machine
}

// Spent is what a group had used, and what it held.
type Spent struct {
	CPU       time.Duration // also of the processes that ended under the sampler's eyes: it never falls
	RSS       int64         // resident bytes, pages that processes share counted for each
	FDs       int           // open descriptors
	Processes int

	Hottest    time.Duration // the CPU time of the living process that had used the most
	HottestPID int

	processes map[process]time.Duration
}

// process names a process even after its id has been given to another.
type process struct {
	pid     int
	started string
}

// Sampler reads what groups of processes and the machine use. It is cheap
// enough for every second: three system calls for a process, and the files of
// the machine. Safe for concurrent use.
type Sampler struct {
	groups []Group

	mu    sync.Mutex
	seen  []map[process]time.Duration // by group, at the last reading
	ended []time.Duration             // by group, of processes no longer there
}

// NewSampler returns a sampler of the groups, whose names differ.
func NewSampler(groups ...Group) *Sampler {
	return &Sampler{
		groups: groups,
		seen:   make([]map[process]time.Duration, len(groups)),
		ended:  make([]time.Duration, len(groups)),
	}
}

// Read takes a reading. What a process used between the reading before and its
// end is not seen.
func (s *Sampler) Read() (Reading, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Reading{At: time.Now(), Groups: make(map[string]Spent, len(s.groups))}
	for i, g := range s.groups {
		pids, err := g.PIDs()
		if err != nil {
			return r, fmt.Errorf("list the processes of %s: %w", g.Name, err)
		}
		if r.Groups[g.Name], err = s.readLocked(i, pids); err != nil {
			return r, fmt.Errorf("read the use of %s: %w", g.Name, err)
		}
	}
	var err error
	r.Machine, err = machine()
	return r, err
}

// readLocked reads one group.
func (s *Sampler) readLocked(group int, pids []int) (Spent, error) {
	sum := Spent{processes: make(map[process]time.Duration, len(pids))}
	for _, pid := range pids {
		err := sum.add(pid)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !gone(err) {
			return sum, err
		}
	}
	for p, used := range s.seen[group] {
		if _, alive := sum.processes[p]; !alive {
			s.ended[group] += used
		}
	}
	s.seen[group] = sum.processes
	sum.CPU += s.ended[group]
	return sum, nil
}

// add counts one process.
func (s *Spent) add(pid int) error {
	fields, err := stat(pid)
	if err != nil {
		return err
	}
	pages, err := strconv.ParseInt(fields[statRSS], 10, 64)
	if err != nil {
		return fmt.Errorf("memory of process %d: %w", pid, err)
	}
	used, err := cpu(pid)
	if err != nil {
		return err
	}
	fds, err := descriptors(pid)
	if err != nil {
		return err
	}
	s.processes[process{pid, fields[statStarted]}] = used
	s.CPU += used
	s.RSS += pages * int64(os.Getpagesize())
	s.FDs += fds
	s.Processes++
	if used >= s.Hottest {
		s.Hottest, s.HottestPID = used, pid
	}
	return nil
}
