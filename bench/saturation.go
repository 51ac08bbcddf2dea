package bench

import (
	"fmt"

	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
)

// saturation shows who used how much: a process near one core, or all cores of
// the machine.
func saturation(over rig.Load) report.Table {
	t := report.Table{
		Title:   fmt.Sprintf("At %.0f deliveries/s asked for, which was too much", over.Asked()),
		Columns: []string{"", "cores", "busiest process"},
	}
	for _, group := range []string{rig.Front, rig.API, rig.Redis, rig.Clients, rig.Callers} {
		u := over.Used.Groups[group]
		t.Rows = append(t.Rows, []string{group, fmt.Sprintf("%.2f", u.Cores), fmt.Sprintf("%.2f", u.Hottest)})
	}
	t.Rows = append(t.Rows, []string{"machine", fmt.Sprintf("%.2f of %d", over.Used.Busy, over.Used.Cores)})
	return t
}

// full is the share of the machine's cores beyond which there is no more.
const full = 0.9

// bottleneck names what ran out first under a load that was too much: the
// machine, or else the process that was busiest. A process with one loop can
// do no more than one core, less what others take of that core.
func bottleneck(over rig.Load) string {
	if over.Rate == 0 {
		return "nothing up to the rate that was tried"
	}
	if over.Used.Busy >= full*float64(over.Used.Cores) {
		return "the machine's CPU"
	}
	group, most := "", 0.0
	for name, used := range over.Used.Groups {
		if used.Hottest > most {
			group, most = name, used.Hottest
		}
	}
	return fmt.Sprintf("one %s process, at %.2f cores", group, most)
}
