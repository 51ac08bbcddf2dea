package usage

import "time"

// Interval is what was used between two readings, in cores: seconds of CPU
// time per second.
type Interval struct {
	Took   time.Duration
	Groups map[string]Used

	Cores   int     // of the machine
	Busy    float64 // 0 to Cores
	SoftIRQ float64 // of Busy
	Steal   float64 // beside Busy
}

// Used is what one group used.
type Used struct {
	CPU   time.Duration
	Cores float64

	Hottest    float64 // cores used by the process that used the most; near 1, one with a single thread can do no more
	HottestPID int     // 0 when no process is left
}

// Since returns what was used from before, a reading of the same sampler, until
// r. A process that began in between counts with all it used.
func (r Reading) Since(before Reading) Interval {
	took := r.At.Sub(before.At)
	i := Interval{
		Took:    took,
		Groups:  make(map[string]Used, len(r.Groups)),
		Cores:   r.Cores,
		Busy:    bounded(cores(r.Busy-before.Busy, took), r.Cores),
		SoftIRQ: cores(r.SoftIRQ-before.SoftIRQ, took),
		Steal:   cores(r.Steal-before.Steal, took),
	}
	for name, spent := range r.Groups {
		i.Groups[name] = spent.since(before.Groups[name], took)
	}
	return i
}

func (s Spent) since(before Spent, took time.Duration) Used {
	u := Used{CPU: s.CPU - before.CPU}
	u.Cores = cores(u.CPU, took)
	for p, used := range s.processes {
		if c := cores(used-before.processes[p], took); c >= u.Hottest {
			u.Hottest, u.HottestPID = c, p.pid
		}
	}
	return u
}

// cores is CPU time per time, 0 when no time went by.
func cores(used, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return used.Seconds() / took.Seconds()
}

// bounded keeps what cores were busy with to what is possible: the kernel counts
// their idle time in whole ticks, and some of it late.
func bounded(busy float64, cores int) float64 { return min(max(busy, 0), float64(cores)) }
