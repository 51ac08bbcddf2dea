package drill

import "time"

// moreScenarios are the faults around the relay: processes that stand still, and
// ways that are cut to some and not to others.
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
		{
			name: "front-cut-off", about: "the front is cut off from Redis and the Sentinels, which the API servers reach", fault: cutFront, check: checkSentAway,
			front: quickDrain, gap: awayFor + readyAgain, apart: frontCut,
		},
		{
			name: "front-data-cut", about: "the front is cut off from data Redis alone", fault: cutFrontData, check: checkNobodyLeft,
			apart: dataCut,
		},
		{
			name: "index-lost", about: "a third of the index, and later the lease of a worker that lives, are deleted", fault: loseIndex, check: checkUndisturbed,
			gap: repairedWithin,
		},
		{
			name: "replica-lag", about: "a data replica is a little behind its master, then far", fault: lagReplica, check: checkUndisturbed,
			setup: proxiedData,
		},
		{
			name: "planned-failover", about: "the data master is replaced by SENTINEL FAILOVER, three times", fault: planFailovers, check: checkUndisturbed,
			setup: quickFailovers,
		},
		{
			name: "pubsub-away", about: "all pub/sub servers stand still for longer than the relay's window", fault: stopPubSub, check: checkNobodyLeft,
			setup: shortRelay, gap: pubsubAwayFor + 5*time.Second,
		},
		{
			name: "broadcast-roll", about: "the front replaces its workers while broadcasts are posted", fault: broadcastAndReplace, check: checkReplaced,
			front: quickDrain,
		},
	}
}

// lastScenarios are a Redis that answers, but not what it was asked for, shards
// that come and go, and faults at once.
func lastScenarios() []scenario {
	return []scenario{
		{name: "redis-full", about: "data Redis has no memory left", fault: fillRedis, check: checkNobodyLeft},
		{name: "redis-refuses", about: "a data replica is busy with a script, and later servers refuse commands", fault: refuseCommands, check: checkNobodyLeft, gap: rightlessFor + time.Second},
		{
			name: "log-gone", about: "nobody reads what the servers log, and Redis is restarted", fault: loseLogs, check: checkIndex,
			setup: pipedLogs, gap: 10 * time.Second,
		},
		{name: "shard-down", about: "one of two data shards stands still", fault: stopShard, check: checkNobodyLeft, setup: twoDataShards, gap: 3 * time.Second},
		{
			name: "shards-grow", about: "a data shard is added, by restarting servers one by one", fault: growShards, check: checkIndex,
			setup: spareShard, front: quickDrain, gap: 8 * time.Second,
		},
		{
			name: "double-fault", about: "two masters, or a master and a replica, are killed at once, three times", fault: killTwo, check: checkNobodyLeft,
			setup: quickFailovers, gap: 6 * time.Second,
		},
	}
}

// quickDrain has a front tell its clients to come back soon.
var quickDrain = []string{"--front-drain-window", "3s"}
