package front

import (
	"time"

	"github.com/homing/homing/front/loop"
)

// toldBefore returns how far users.joined had come when user was told x; 0: it
// was not, as far as is known. Only what is handed over can have been told.
func (d *deliveries) toldBefore(x *delivery, user []byte) uint64 {
	if x.what.Age == 0 || len(x.what.ID) == 0 {
		return 0
	}
	joined, _ := d.heard.told(x.what.ID, user)
	return joined
}

// noteTold has the worker remember that those of user's connections that had
// joined by then were told x. Without an id there is nothing to know it by.
func (d *deliveries) noteTold(x *delivery, user []byte, joined uint64) {
	if len(x.what.ID) == 0 {
		return
	}
	if n := d.heard.tell(x.what.ID, user, joined, d.loop.Now()); n > 0 {
		d.m.heardEvicted.Add(float64(n))
	}
}

// audience says which connections a broadcast is for.
type audience struct {
	above, upTo uint64    // of their places in the order of joining
	opened      loop.Tick // when they opened, or later
}

// ageSlack is how long a message may be on its way without its age telling.
const ageSlack = time.Second

// audienceOf returns which connections broadcast x is for: those there are, and
// when it is handed over only those that have not heard it. A worker that was
// never sent it takes those that have opened since then.
func (d *deliveries) audienceOf(x *delivery) audience {
	a := audience{upTo: d.sessions.users.joined}
	if x.what.Age == 0 {
		return a
	}
	joined, known := d.heard.told(x.what.ID, nil)
	if known {
		a.above = joined
	} else if ago := loop.Ticks(x.what.Age + ageSlack); ago < d.loop.Now() {
		a.opened = d.loop.Now() - ago
	}
	return a
}

// has reports whether c belongs to the audience.
func (a *audience) has(c *conn) bool {
	return c.State.joined > a.above && c.State.joined <= a.upTo && c.State.opened >= a.opened
}

// tick forgets what was told long ago.
func (d *deliveries) tick() {
	d.m.heardEvicted.Add(float64(d.heard.age(d.loop.Now())))
	d.m.heard.Set(float64(d.heard.size()))
}
