package clients

// share is the run of clients that one process holds.
type share struct {
	first, count int
	apart        bool // they are the subjects of a fault; never mixed with others
}

// subjects reports whether a fault strikes the share.
func (s share) subjects() bool { return s.apart && s.count > 0 }

// Processes is how many bee processes conns clients need at least, when the
// last apart of them are subjects of a fault: those have processes of their
// own, so that the work of a fault does not delay the reading of the others.
func Processes(conns, apart int) int {
	apart = min(apart, conns)
	return max(1, processesFor(conns-apart)+processesFor(apart))
}

func processesFor(clients int) int { return (clients + clientsPerProcess - 1) / clientsPerProcess }

// shareOut spreads the clients over n processes, in order and evenly within
// each of the two groups. n is at least Processes(conns, apart).
func shareOut(n, conns, apart int) []share {
	apart = min(apart, conns)
	watched := conns - apart
	subjects := max(processesFor(apart), n*apart/max(1, conns))
	subjects = min(subjects, n-processesFor(watched))
	return append(spread(n-subjects, 0, watched, false), spread(subjects, watched, apart, true)...)
}

func spread(n, first, count int, apart bool) []share {
	shares := make([]share, n)
	for i := range shares {
		lo, hi := count*i/n, count*(i+1)/n
		shares[i] = share{first: first + lo, count: hi - lo, apart: apart}
	}
	return shares
}
