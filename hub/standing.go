package hub

// Standing is what a process may assume of what the others think of it.
type Standing uint8

// The standings, from the best to the worst.
const (
	// StandingGood means that the process's lease stands, by its own clock:
	// others reach it, and nobody hands over what was sent to it.
	StandingGood Standing = iota
	// StandingDoubt means that the process cannot show that its lease stands.
	// It delivers nothing and lets nobody in until it can.
	StandingDoubt
	// StandingLost means that the process was declared dead, or was without any
	// way to Redis for too long. It ends its connections and itself.
	StandingLost
)

// String returns the standing as logs and metrics name it.
func (s Standing) String() string {
	switch s {
	case StandingGood:
		return "good"
	case StandingDoubt:
		return "doubt"
	default:
		return "lost"
	}
}
