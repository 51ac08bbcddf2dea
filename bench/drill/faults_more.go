package drill

import "time"

// moreScenarios are the faults around the relay: processes that stand still,
// ways that are cut to some and not to others, and a Redis that answers, but
// not what it was asked for.
func moreScenarios() []scenario {
	return []scenario{
		{
			name: "worker-stall", about: "a worker, and then the whole front, stands still (SIGSTOP) and goes on", fault: stallWorkers, check: checkSentAway,
			gap: frontStall + 5*time.Second,
		},
		{
			name: "worker-hang", about: "a worker hangs for good (SIGSTOP)", fault: hangWorker, check: checkIndex,
			gap: replacedWithin + 2*time.Second,
		},
	}
}
