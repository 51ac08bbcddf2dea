package capacity

// api is the API machines of a cell, with one process on each.
type api struct{ *cell }

// work is the work of all API servers, without what each spends on its own.
// A confirmation is taken to cost what an envelope does on its way.
func (a api) work() float64 {
	request, envelope := a.cost("api_us_per_request"), a.cost("api_us_per_envelope")
	target := max(0, a.cost("api_us_per_delivery")*benchOnline-request-envelope*benchEnvelopes) / benchTargets
	return a.requests()*request + a.targets()*target + a.envelopes*envelope + a.acks*a.cost("front_us_per_envelope")
}

// size finds how many there must be.
func (a api) size() {
	cores := float64(a.in.Cores)
	machines := a.pick("api", 1,
		candidate{"CPU", a.work() / (cores * a.core(a.in.Headroom, a.watching()/cores))},
		candidate{"network", a.bytes() / a.wire()},
		candidate{"zones", float64(a.in.Zones)},
	)
	a.apis = max(a.apis, a.zoned(machines))
}

// bytes is what passes the API servers in the busier direction.
func (a api) bytes() float64 { return max(a.requestBytes()+a.lookUpBytes(), a.envelopeBytes()) }

func (a api) component() Component {
	cores := float64(a.in.Cores)
	return Component{"API machines", a.apis, a.bound["api"], []Load{
		{"CPU", coreLoad(a.work(), a.apis*cores, a.watching()/cores)},
		{"network", a.bytes() * 8 / a.apis / float64(a.in.Network)},
	}}
}
