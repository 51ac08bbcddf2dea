package front

// closeBudget is how many connections of disconnected users a turn closes: about
// 5 ms of work. Deliveries to others go on between the turns.
const closeBudget = 200

// closing is a disconnection that has begun. It takes several turns when a user
// has very many connections.
type closing struct {
	delivery
	within bool // a user's connections are being closed
}

// beginDisconnect goes on with x apart from the deliveries, which need not wait
// for it: at once when nothing else is being disconnected.
func (w *Worker) beginDisconnect(x *delivery) {
	w.closings = append(w.closings, closing{delivery: *x})
	*x = delivery{}
	if len(w.closings) == 1 {
		w.disconnectWaiting()
	}
}

// disconnectWaiting closes connections of the users to be disconnected, as many
// as one turn may.
func (w *Worker) disconnectWaiting() {
	for len(w.closings) > 0 {
		x := &w.closings[0]
		if !w.disconnect(x) {
			w.poller.Wake()
			return
		}
		w.finish(&x.delivery)
		w.closings[0] = closing{}
		w.closings = w.closings[1:]
	}
	w.closings = nil
}

// disconnect closes every connection that the users had when it came to them.
func (w *Worker) disconnect(x *closing) (done bool) {
	for x.within || x.users.Left > 0 {
		if !x.within {
			w.users.closing.begin(&w.users, x.users.Next())
			x.within = true
		}
		for c := w.users.closing.next(); c != nil; c = w.users.closing.next() {
			w.close(c, closeDisconnected, string(x.what.Payload))
			if w.closesLeft--; w.closesLeft <= 0 {
				return false
			}
		}
		x.within = false
	}
	return true
}
