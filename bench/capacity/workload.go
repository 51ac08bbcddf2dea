package capacity

import "math"

// workload is what one cell is asked to do. Rates are per second.
type workload struct {
	in *Input

	users, connects, storm float64
	streams                []stream

	envelopes, acks float64 // between processes, see relay
}

// stream is one kind of request that a cell serves.
type stream struct{ rate, targets, online float64 }

// share is the workload of one of so many cells that divide the users of in.
func share(in *Input, cells int) workload {
	w := workload{in: in, users: float64(in.Users) / float64(cells), streams: streams(in, cells)}
	w.connects = w.users * in.Churn / 3600
	if in.Storm > 0 {
		w.storm = w.users / (60 * in.Storm)
	}
	return w
}

// streams are the requests that one cell serves: those whose users are mostly
// here, and parts of the others'.
func streams(in *Input, cells int) []stream {
	rate, targets, online := in.requests()/float64(cells), float64(in.Targets), float64(in.Online)
	if cells == 1 {
		return []stream{{rate, targets, online}}
	}
	away := 1 - in.Local
	elsewhere := distinct(float64(cells-1), targets*away)
	out := []stream{{rate, targets * in.Local, online * in.Local}}
	if elsewhere > 0 {
		out = append(out, stream{rate * elsewhere, targets * away / elsewhere, online * away / elsewhere})
	}
	return out
}

// sum adds up f over all requests of a second.
func (w *workload) sum(f func(s stream) float64) (total float64) {
	for _, s := range w.streams {
		total += s.rate * f(s)
	}
	return total
}

func (w *workload) requests() float64   { return w.sum(func(stream) float64 { return 1 }) }
func (w *workload) targets() float64    { return w.sum(func(s stream) float64 { return s.targets }) }
func (w *workload) deliveries() float64 { return w.sum(func(s stream) float64 { return s.online }) }

// relay counts what travels between so many processes.
func (w *workload) relay(apis, workers float64) {
	w.envelopes = w.sum(func(s stream) float64 { return distinct(workers, s.online) })
	pairs := apis * workers
	w.acks = w.envelopes / (1 + w.envelopes/pairs*ackGather)
}

// published is what processes publish.
func (w *workload) published() float64 { return w.envelopes + w.acks }

// envelopeBytes is what leaves the API servers for the workers.
func (w *workload) envelopeBytes() float64 {
	return w.envelopes*float64(frameBytes+w.in.Size) + w.deliveries()*userBytes
}

// relayBytes is what passes one server of every pub/sub shard.
func (w *workload) relayBytes() float64 { return w.envelopeBytes() + w.acks*ackBytes }

// clientBytes is what the front sends to the players.
func (w *workload) clientBytes() float64 { return w.deliveries() * float64(w.in.Size+packetBytes) }

// requestBytes is what backends send.
func (w *workload) requestBytes() float64 {
	return w.requests()*float64(requestBytes+w.in.Size) + w.targets()*userBytes
}

// lookUpBytes is what passes between API servers and data Redis.
func (w *workload) lookUpBytes() float64 { return w.targets() * keyBytes }

// distinct is how many of n boxes are expected to hold one of k balls.
func distinct(n, k float64) float64 {
	if n <= 1 || k <= 1 {
		return min(n, k)
	}
	return min(k, -n*math.Expm1(k*math.Log1p(-1/n)))
}
