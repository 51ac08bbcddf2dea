package capacity

// front is the front machines of a cell, with one worker for each core.
type front struct{ *cell }

// work is the work of all workers, without what each spends on its own.
func (f front) work() float64 {
	write := f.cost("front_us_per_delivery") - f.cost("front_us_per_envelope")*benchEnvelopes/benchOnline
	return f.deliveries()*max(0, write) +
		f.envelopes*f.cost("front_us_per_envelope") +
		f.acks*f.cost("api_us_per_envelope") +
		f.connects*f.cost("front_us_per_connect") +
		f.users*f.cost("front_idle_us_per_conn")
}

// memory is the memory of the front machines: the connections' own, the
// kernel's for them, and the processes'.
func (f front) memory() (user, kernel, processes float64) {
	return f.users * f.cost("kib_per_conn") * 1024, f.users * f.cost("kernel_kib_per_conn") * 1024, f.workers * processBytes
}

// size finds how many there must be.
func (f front) size() {
	cores := float64(f.in.Cores)
	user, kernel, _ := f.memory()
	room := memoryShare*float64(f.in.Memory) - cores*processBytes
	machines := f.pick("front", 1,
		candidate{"CPU", f.work() / f.core(f.in.Headroom, f.watching()) / cores},
		candidate{"CPU in a reconnect storm", (f.work() + f.storm*f.cost("front_us_per_connect")) / f.core(stormShare, f.watching()) / cores},
		candidate{"memory", (user + kernel) / room},
		candidate{"network", f.clientBytes() / f.wire()},
		candidate{"descriptors", f.users / (fillLevel * float64(f.in.Descriptors)) / cores},
		candidate{"zones", float64(f.in.Zones)},
	)
	f.fronts = max(f.fronts, f.zoned(machines))
	f.workers = f.fronts * cores
}

func (f front) components() []Component {
	user, kernel, processes := f.memory()
	return []Component{
		{"front machines", f.fronts, f.bound["front"], []Load{
			{"CPU", coreLoad(f.work(), f.workers, f.watching())},
			{"memory", (user + kernel + processes) / f.fronts / float64(f.in.Memory)},
			{"network", f.clientBytes() * 8 / f.fronts / float64(f.in.Network)},
		}},
		{"worker processes", f.workers, "one per core", []Load{
			{"descriptors", f.users / f.workers / float64(f.in.Descriptors)},
		}},
	}
}

// takes is how many connects a second there is time for beside the ordinary load.
func (f front) takes() float64 {
	return spare(f.work(), f.workers, f.watching(), f.cost("front_us_per_connect"))
}
