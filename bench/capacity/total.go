package capacity

import "slices"

// total is n cells that are alike.
type total struct {
	*cell

	n float64
}

func (t total) traffic() Traffic {
	all := Traffic{
		Requests: t.n * t.requests(), Deliveries: t.n * t.deliveries(), Connects: t.n * t.connects,
		Envelopes: t.n * t.envelopes, Acks: t.n * t.acks,
	}
	if posted := t.in.requests(); posted > 0 {
		all.PerRequest = all.Envelopes / posted
	}
	return all
}

func (t total) components() []Component {
	c := t.cell
	all := slices.Concat(
		front{c}.components(), []Component{api{c}.component()},
		pubsub{c}.components(), index{c}.components(),
		[]Component{sentinel{c}.component(), redisMachines{c}.component()})
	for i := range all {
		all[i].Count *= t.n
	}
	return all
}

func (t total) redis() Redis {
	published := t.published()
	r := Redis{
		Publishes: t.n * published, Copies: t.n * published * float64(t.in.replicas()),
		LookUps: t.n * t.targets(), Registrations: t.n * 2 * t.connects,
		Probes:        t.n * t.processes() * (2*t.servers() + t.shards),
		Leases:        t.n * t.apis * t.workers,
		BytesPerShard: t.relayBytes() / t.shards,
	}
	if r.BytesPerShard > 0 {
		r.BacklogS = backlog / r.BytesPerShard
	}
	return r
}

func (t total) hops() []Hop {
	reps := float64(t.in.replicas())
	return []Hop{
		{"backends to API", t.n * t.requestBytes()},
		{"API and data replicas", t.n * t.lookUpBytes()},
		{"API and workers to pub/sub masters", t.n * t.relayBytes()},
		{"masters to replicas", t.n * t.relayBytes() * reps},
		{"replicas to workers and API", t.n * t.relayBytes()},
		{"workers to players", t.n * t.clientBytes()},
	}
}

func (t total) memory() Memory {
	user, kernel, processes := front{t.cell}.memory()
	return Memory{
		Connections: t.n * user, Kernel: t.n * kernel, Processes: t.n * processes,
		Index: t.n * t.users * t.cost("redis_bytes_per_user") * (1 + t.dataReps),
	}
}

func (t total) storm() Storm {
	workers, masters := front{t.cell}.takes(), index{t.cell}.takes()
	s := Storm{PerSecond: t.n * min(workers, masters), Bound: "workers' CPU"}
	if masters < workers {
		s.Bound = "data masters' cores"
	}
	if let := t.n * t.workers * admitted * t.in.AdmitRate; let > 0 && let < s.PerSecond {
		s.PerSecond, s.Bound = let, "what workers let in (front.admit-rate)"
	}
	if s.PerSecond > 0 {
		s.Seconds = t.n * t.users / s.PerSecond
	}
	return s
}
