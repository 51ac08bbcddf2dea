package drill

import (
	"context"
	"slices"
	"time"

	"github.com/homing/homing/bench/stack"
)

// scenario is one way to break things. All run on the same kind of topology
// under the same load; they differ in the fault and in what else is checked.
type scenario struct {
	name  string
	about string
	// fault breaks something under load and may stay to watch; it returns
	// early when ctx ends. nil: nothing breaks.
	fault func(ctx context.Context, d *drill) error
	// check looks at what the ledger does not see, after the load has ended
	// and while everything still runs. nil: nothing.
	check func(ctx context.Context, d *drill) error

	front []string             // further flags of the front
	setup func(*stack.Options) // changes what is started; nil: nothing
	named bool                 // callers name notifications and try again at the other API server
	// polled has all clients poll, each request at any worker of any front.
	polled bool
	gap    time.Duration // how long a way may deliver nothing; 0: gapLimit
	// apart says where each process runs, in network namespaces of the
	// scenario's own, without which it is skipped. nil: all run here.
	apart func(name string) side
	// game has players in game rooms, instead of the fleet and its senders.
	game *game
	// queue has players ask for matches, likewise.
	queue *queueing
	// speaking has members of topics, likewise.
	speaking *speaking
	// hooks has game backends told of events, likewise.
	hooks *hooking
	// mates has friends who come and go, likewise.
	mates *befriending
}

func scenarios() []scenario {
	return slices.Concat(firstScenarios(), moreScenarios(), lastScenarios(), gameScenarios(), matchScenarios(), topicScenarios(), hookScenarios(), presenceScenarios(), pollingScenarios(), nodeScenarios(), controlScenarios(), scaleScenarios())
}

func firstScenarios() []scenario {
	return []scenario{
		{name: "steady", about: "nothing breaks", check: checkSteady},
		{name: "kill-worker", about: "one of the front workers is killed (SIGKILL)", fault: killWorker, check: checkIndex, gap: endKnown + gapLimit},
		{name: "pubsub-failover", about: "the master of a pub/sub shard is killed", fault: killPubSub, check: checkUndisturbed},
		{name: "data-failover", about: "the master of data Redis is killed", fault: killData, check: checkUndisturbed},
		{name: "pubsub-hang", about: "the master of a pub/sub shard hangs (SIGSTOP) and comes back as it was", fault: hangPubSub, check: checkUndisturbed},
		{name: "replica-kill", about: "the replica of a pub/sub shard that most processes are subscribed at is killed", fault: killReplica, check: checkUndisturbed},
		{name: "sentinel-and-master-kill", about: "the master of a pub/sub shard is killed together with a Sentinel", fault: killSentinelAndMaster, check: checkUndisturbed},
		{name: "network-cut", about: "the master of a pub/sub shard is cut off from its replicas and the Sentinels, not from publishers", fault: cutNetwork, check: checkUndisturbed, apart: masterCut},
		{name: "stale-master", about: "the master of a pub/sub shard is killed and, once replaced, started again as a master", fault: staleMaster, check: checkUndisturbed},
		{name: "slow-subscriber", about: "some clients stop reading while much is sent to them", fault: slowClients, check: checkSlow},
		{name: "kill-api", about: "one of the API servers is killed (SIGKILL)", fault: killAPI, check: checkUndisturbed, named: true},
		{
			name: "rolling-restart", about: "the front replaces its workers one by one (SIGHUP)", fault: replaceWorkers, check: checkReplaced,
			front: []string{"--front-drain-window", "3s"},
		},
	}
}

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
