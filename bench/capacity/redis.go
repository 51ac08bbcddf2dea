package capacity

import "math"

// pubsub is the Redis servers that carry messages between processes.
type pubsub struct{ *cell }

// asked is what all processes together ask of one pub/sub server.
func (p pubsub) asked() float64 { return p.processes() * p.cost("pubsub_us_per_process") }

// size finds how many shards there must be.
func (p pubsub) size() {
	published, room := p.published(), p.core(p.in.Headroom, p.asked())
	p.shards = p.pick("pubsub", p.shards,
		candidate{"the least", 1},
		candidate{"Redis master's core", published * p.cost("redis_us_per_publish") / room},
		candidate{"Redis replica's core", published * p.cost("redis_us_per_copy") / room},
	)
}

func (p pubsub) components() []Component {
	published := p.published()
	return []Component{
		{"pub/sub shards", p.shards, p.bound["pubsub"], []Load{
			{"master's core", coreLoad(published*p.cost("redis_us_per_publish"), p.shards, p.asked())},
			{"replica's core", coreLoad(published*p.cost("redis_us_per_copy"), p.shards, p.asked())},
		}},
		{"pub/sub replicas", p.shards * float64(p.in.replicas()), "zones", nil},
	}
}

// index is the Redis servers that say where users are.
type index struct{ *cell }

// asked is what all processes together ask of one data server.
func (x index) asked() float64 { return x.processes() * x.cost("data_us_per_process") }

// registrations is the work of all data masters for who comes and goes.
func (x index) registrations(comeAndGo float64) float64 {
	return comeAndGo * x.cost("redis_us_per_connect")
}

// lookUps is the work of all data replicas: every key, and a command for every
// shard but the first that a request's users are on.
func (x index) lookUps() float64 {
	more := x.sum(func(s stream) float64 { return max(0, distinct(x.data, s.targets)-1) })
	return x.targets()*x.cost("redis_us_per_look_up") + more*x.cost("redis_us_per_command")
}

// leases is what the first data master does to tell every API server each
// second which processes live.
func (x index) leases() float64 { return x.apis * x.workers * x.cost("redis_us_per_lease") }

// readRoom is what a data replica has for look-ups: it writes what its master does.
func (x index) readRoom() float64 {
	return x.core(x.in.Headroom, x.asked()+x.registrations(2*x.connects)/x.data)
}

// size finds how many shards, and replicas of each, there must be.
func (x index) size() {
	own := memoryShare * float64(x.in.Memory) / float64(x.in.Cores)
	x.data = x.pick("data", x.data,
		candidate{"the least", 1},
		candidate{"Redis master's core", x.registrations(2*x.connects) / x.core(x.in.Headroom, x.asked())},
		candidate{"master's core in a reconnect storm", x.registrations(2*x.connects+x.storm) / x.core(stormShare, x.asked())},
		candidate{"memory", x.users * x.cost("redis_bytes_per_user") / max(own-backlog, own/2)},
	)
	x.data = x.pick("data", x.data, candidate{"replicas' cores", x.lookUps() / (maxReplicas * x.readRoom())})
	replicas := x.pick("replicas", x.dataReps,
		candidate{"zones", float64(x.in.replicas())},
		candidate{"Redis replica's core", x.lookUps() / x.data / x.readRoom()},
	)
	x.dataReps = min(replicas, maxReplicas)
}

func (x index) components() []Component {
	registrations := x.registrations(2 * x.connects)
	return []Component{
		{"data shards", x.data, x.bound["data"], []Load{
			{"first master's core", coreLoad(registrations, x.data, x.asked()+x.leases())},
			{"replica's core", coreLoad(registrations+x.lookUps()/x.dataReps, x.data, x.asked())},
		}},
		{"data replicas", x.data * x.dataReps, x.bound["replicas"], nil},
	}
}

// takes is how many connects a second there is time for beside the ordinary load.
func (x index) takes() float64 {
	return spare(x.registrations(2*x.connects), x.data, x.asked(), x.cost("redis_us_per_connect"))
}

// sentinel is the groups of Sentinels, which the shards are divided over.
type sentinel struct{ *cell }

// size finds how many groups there must be: each process asks every Sentinel
// about every shard that it watches, over connections of its own.
func (s sentinel) size() {
	byCPU := s.in.Headroom * second / (s.processes() * s.cost("sentinel_us_per_process"))
	byClients := float64(s.in.Clients) / (2 * s.processes())
	all := s.shards + s.data
	s.groups = s.pick("sentinel", s.groups,
		candidate{"the least", 1},
		candidate{"clients", all / max(1, math.Floor(byClients))},
		candidate{"Sentinel's core", all / max(1, math.Floor(byCPU))},
	)
}

func (s sentinel) component() Component {
	each := math.Ceil((s.shards + s.data) / s.groups)
	return Component{"Sentinels", sentinels * s.groups, s.bound["sentinel"], []Load{
		{"core", s.processes() * each * s.cost("sentinel_us_per_process") / second},
		{"clients", 2 * s.processes() * each / s.clients()},
	}}
}

// redisMachines is the machines of all Redis servers and Sentinels.
type redisMachines struct{ *cell }

// count is how many there must be, with one server on each core.
func (m redisMachines) count() float64 {
	servers := m.servers() + sentinels*m.groups
	stored := m.users*m.cost("redis_bytes_per_user")*(1+m.dataReps) + servers*(backlog+processBytes)
	n := m.pick("redis", 1,
		candidate{"Redis cores", servers / float64(m.in.Cores)},
		candidate{"memory", stored / (memoryShare * float64(m.in.Memory))},
		candidate{"network", m.bytes() / m.wire()},
		candidate{"zones", float64(m.in.Zones)},
	)
	return m.zoned(n)
}

// bytes is what they send to each other and to the processes.
func (m redisMachines) bytes() float64 {
	return m.relayBytes()*float64(m.in.replicas()+1) + m.lookUpBytes()
}

func (m redisMachines) component() Component {
	n := m.count()
	return Component{"Redis machines", n, m.bound["redis"], []Load{
		{"network", m.bytes() * 8 / n / float64(m.in.Network)},
	}}
}
