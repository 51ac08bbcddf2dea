package master

import (
	"context"
	"time"

	"github.com/homing/homing/front/tickets"
)

// ticketsEvery is how often the master asks for the ticket keys of the time.
const ticketsEvery = time.Second

// TicketKeys gives the session ticket keys for the time now. It is called by
// one goroutine.
type TicketKeys interface {
	At(now time.Time) (tickets.Keys, error)
}

// ShareTickets has every worker seal and resume TLS sessions with the keys of
// source, so that a session of one is resumed at another, and after a restart.
// It fails when there are no keys now; only before Run.
func (m *Master) ShareTickets(source TicketKeys) error {
	keys, err := source.At(time.Now())
	if err != nil {
		return err
	}
	m.ticketKeys = source
	m.setTickets(keys)
	return nil
}

// setTickets notes what the workers are to be told at their next beat.
func (m *Master) setTickets(keys tickets.Keys) {
	word := sayTickets + keys.Encode()
	if old := m.ticketsWord.Load(); old == nil || *old != word {
		m.ticketsWord.Store(&word)
	}
}

// renewTickets asks for the keys again and again until ctx ends. When there are
// none, the workers keep those that they have.
func (m *Master) renewTickets(ctx context.Context) {
	t := time.NewTicker(ticketsEvery)
	defer t.Stop()
	broken := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			keys, err := m.ticketKeys.At(now)
			if err == nil {
				m.setTickets(keys)
			} else {
				m.m.ticketFailures.Inc()
			}
			if err != nil && !broken {
				m.log.Error("renew the session ticket keys: those before stay in use", "err", err)
			}
			broken = err != nil
		}
	}
}

// tellTickets gives c the ticket keys if it does not have the newest. What
// cannot be said now is said at the next beat.
func (s *slot) tellTickets(c *child) {
	if word := s.master.ticketsWord.Load(); word != c.tickets && c.say(*word) {
		c.tickets = word
	}
}
