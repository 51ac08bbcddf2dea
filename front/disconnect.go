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
func (d *deliveries) beginDisconnect(x *delivery) {
	d.closings = append(d.closings, closing{delivery: *x})
	*x = delivery{}
	if len(d.closings) == 1 {
		d.disconnectWaiting()
	}
}

// disconnectWaiting closes connections of the users to be disconnected, as many
// as one turn may.
func (d *deliveries) disconnectWaiting() {
	for len(d.closings) > 0 {
		x := &d.closings[0]
		if !d.disconnect(x) {
			d.loop.Wake()
			return
		}
		d.finish(&x.delivery)
		d.closings[0] = closing{}
		d.closings = d.closings[1:]
	}
	d.closings = nil
}

// disconnect closes every connection that the users had when it came to them.
func (d *deliveries) disconnect(x *closing) (done bool) {
	users := &d.sessions.users
	walk := &users.closing
	for x.within || x.users.Left > 0 {
		if !x.within {
			walk.begin(users, x.users.Next())
			x.within = true
		}
		for c := walk.next(); c != nil; c = walk.next() {
			d.sessions.close(c, closeDisconnected, string(x.what.Payload))
			if d.closesLeft--; d.closesLeft <= 0 {
				return false
			}
		}
		x.within = false
	}
	return true
}
