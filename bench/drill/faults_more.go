package drill

// moreScenarios are the faults around the relay: processes that stand still,
// ways that are cut to some and not to others, and a Redis that answers, but
// not what it was asked for.
func moreScenarios() []scenario {
	return nil
}
