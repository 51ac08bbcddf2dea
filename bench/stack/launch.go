package stack

import (
	"strconv"
	"sync/atomic"

	"github.com/homing/homing/bench/proc"
)

// launcher starts servers.
type launcher struct {
	binary string
	dir    workDir
	pipes  bool // servers log into pipes
	first  int  // servers of the stack itself, whose logs bear no number
	starts atomic.Int64
}

// launch starts a server. Each start has a log of its own.
func (l *launcher) launch(name string, args []string, under ...string) (*proc.Process, error) {
	if n := int(l.starts.Add(1)); n > l.first {
		name += "-" + strconv.Itoa(n)
	}
	argv := append(append(append([]string(nil), under...), l.binary), args...)
	return proc.Start(proc.Command{Name: name, LogDir: string(l.dir), Args: argv, Pipe: l.pipes})
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
