package hook

import "time"

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

// Hold is how many subjects of a partition may be failing.
const Hold = heldMost

// PartitionOf is where a subject's events stand.
func PartitionOf(subject string) int { return partitionOf(subject) }

// MinStreamBytes is the least that Config.StreamBytes may be, and MinQueueBytes
// that of QueueBytes.
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
)

// Pause is the pause after so many failures.
func Pause(attempts int) time.Duration { t := defaultTiming(); return t.pause(attempts) }
