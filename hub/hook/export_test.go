package hook

import (
	"strings"
	"time"
)

// Fast makes a Sender quick for tests: its lease stands for lease.
func (s *Sender) Fast(lease time.Duration) {
	s.timing = timing{
		lease: lease, renew: lease / 3, balance: lease / 6, poll: 20 * time.Millisecond,
		grace: lease / 2, first: 50 * time.Millisecond, most: 400 * time.Millisecond,
	}
}

// Patient makes the pauses of a Sender long, from the first failure on.
func (s *Sender) Patient() { s.timing.first, s.timing.most = time.Minute, time.Minute }

// Tenacious makes the leases of a Sender outlast a failover.
func (s *Sender) Tenacious() { s.timing.lease = 30 * time.Second }

// Fast makes a Roster quick for tests.
func (x *Roster) Fast() {
	x.timing = rosterTiming{
		look: 20 * time.Millisecond, announce: 60 * time.Millisecond, patience: 300 * time.Millisecond,
		stale: 600 * time.Millisecond, forget: 1200 * time.Millisecond,
	}
}

// Targets are the endpoints of the list, and whether it is known.
func (x *Roster) Targets() (names []string, known bool) {
	r := x.current()
	for i := range r.targets {
		names = append(names, r.targets[i].Name+":"+strings.Join(r.targets[i].Events, ","))
	}
	return names, r.known
}

// MaxParcel is what a batch may have in bytes.
const MaxParcel = maxParcel

// Hold is how many subjects of a partition may be failing.
const Hold = heldMost

// PartitionOf is where a subject's events stand.
func PartitionOf(subject string) int { return partitionOf(subject) }

// MinStreamBytes is the least that Target.StreamBytes may be, and MinQueueBytes
// that of Config.QueueBytes.
const (
	MinStreamBytes = minStreamBytes
	MinQueueBytes  = minQueueBytes
)

// Reasons are all the reasons for which an event is given up.
var Reasons = []string{
	lostInvalid, lostTooLarge, lostQueueFull, lostStopped, lostRefused, lostStreamFull,
	givenUpExpired, givenUpMalformed,
}

// The scripts.
var (
	AddScript  = addScript
	ScanScript = scanScript
	AckScript  = ackScript
	TakeScript = takeScript
	JoinScript = joinScript
	LookScript = lookScript
)

// Pause is the pause after so many failures.
func Pause(attempts int) time.Duration { t := defaultTiming(); return t.pause(attempts) }
