package loop

import (
	"github.com/homing/homing/hub/drop"
)

// lines is what the layer above is in tests: it takes lines and answers each.
// A test replaces what it wants to. It fails the test when it is called of a
// connection that is gone, and when bytes come after the end.
type lines struct {
	r        *rig
	line     func(c *Conn[text], line string)
	charge   func(c *Conn[text], n int) bool
	due      func(c *Conn[text]) Tick
	check    func(c *Conn[text])
	expired  func(c *Conn[text])
	flushed  func(c *Conn[text])
	waits    func(c *Conn[text])
	exceeded func(c *Conn[text], what Budget)
	hangUp   func(c *Conn[text])
	turn     func(what string) // BeginTurn, Tick, EndTurn
	stopping bool

	ended  []drop.Reason
	lost   map[drop.Reason]Lost
	hungUp []error
}

// text is what a connection has sent of a line.
type text struct {
	part  []byte
	ended bool
}

func (h *lines) BeginTurn()    { h.turn("begin") }
func (h *lines) EndTurn()      { h.turn("end") }
func (h *lines) Tick()         { h.turn("tick") }
func (h *lines) Stopped() bool { return h.stopping }

func (h *lines) alive(c *Conn[text], what string) {
	if c.Gone() {
		h.r.t.Errorf("%s of a connection that is gone", what)
	}
}

func (h *lines) Charge(c *Conn[text], n int) bool {
	h.alive(c, "Charge")
	return h.charge == nil || h.charge(c, n)
}

func (h *lines) Received(c *Conn[text], data []byte) {
	if c.Gone() || c.Ending() || c.Handshaking() {
		h.r.t.Errorf("Received %q of a connection in state %d", data, c.state)
	}
	for _, b := range data {
		if b != '\n' {
			c.State.part = append(c.State.part, b)
			continue
		}
		line := string(c.State.part)
		c.State.part = nil
		h.line(c, line)
		if c.Gone() || c.Ending() {
			return
		}
	}
}

func (h *lines) Exceeded(c *Conn[text], what Budget) {
	h.alive(c, "Exceeded")
	if h.exceeded != nil {
		h.exceeded(c, what)
	}
}

func (h *lines) HungUp(c *Conn[text], err error) {
	h.alive(c, "HungUp")
	h.hungUp = append(h.hungUp, err)
	if h.hangUp != nil {
		h.hangUp(c)
	}
}

func (h *lines) Flushed(c *Conn[text]) {
	h.alive(c, "Flushed")
	if h.flushed != nil {
		h.flushed(c)
	}
}

func (h *lines) Waits(c *Conn[text]) {
	h.alive(c, "Waits")
	if h.waits != nil {
		h.waits(c)
	}
}

func (h *lines) Due(c *Conn[text]) Tick {
	h.alive(c, "Due")
	if h.due == nil {
		return 0
	}
	return h.due(c)
}

func (h *lines) Check(c *Conn[text]) {
	h.alive(c, "Check")
	if h.check != nil {
		h.check(c)
	}
}

func (h *lines) Expired(c *Conn[text]) {
	h.alive(c, "Expired")
	if h.expired != nil {
		h.expired(c)
	}
}

func (h *lines) Ended(c *Conn[text], why drop.Reason) {
	if !c.Gone() || c.State.ended {
		h.r.t.Errorf("Ended of a connection in state %d, called before: %t", c.state, c.State.ended)
	}
	c.State.ended = true
	h.ended = append(h.ended, why)
}

func (h *lines) Discarded(why drop.Reason, lost Lost) {
	all := h.lost[why]
	for class, n := range lost {
		all[class] += n
	}
	h.lost[why] = all
}
