package match

import (
	"fmt"

	"github.com/homing/homing/hub"
)

// checker finds out whether the matches of a function can be. Those who have passed
// are used up.
type checker struct {
	queue   *Queue
	waiting map[*Ticket]bool // false: used up
	lacking map[*Backfill]bool
}

func newChecker(q *Queue, s *scene) *checker {
	c := &checker{queue: q, waiting: make(map[*Ticket]bool, len(s.waiting)), lacking: make(map[*Backfill]bool, len(s.lacking))}
	for _, x := range s.waiting {
		c.waiting[x] = true
	}
	for _, b := range s.lacking {
		c.lacking[b] = true
	}
	return c
}

// match reports what is wrong with m, or uses up its tickets and its room.
func (c *checker) match(m *Match) error {
	free := c.queue.free()
	if m.Backfill != nil {
		if !c.lacking[m.Backfill] {
			return fmt.Errorf("queue %s: a match fills a room that lacks nobody, or twice", c.queue.Name)
		}
		free = m.Backfill.Free
	}
	if err := c.tickets(m); err != nil {
		return err
	}
	if err := c.teams(m, free); err != nil {
		return err
	}
	for _, x := range m.Tickets {
		c.waiting[x] = false
	}
	if m.Backfill != nil {
		c.lacking[m.Backfill] = false
	}
	return nil
}

// tickets checks that m uses tickets that wait, each once, and no player twice.
func (c *checker) tickets(m *Match) error {
	if len(m.Tickets) == 0 {
		return fmt.Errorf("queue %s: a match without tickets", c.queue.Name)
	}
	users := make(map[hub.UserID]bool)
	own := make(map[*Ticket]bool, len(m.Tickets))
	for _, x := range m.Tickets {
		if !c.waiting[x] || own[x] {
			return fmt.Errorf("queue %s: a match uses a ticket twice, or one that does not wait", c.queue.Name)
		}
		own[x] = true
		for _, p := range x.Players {
			if users[p] {
				return fmt.Errorf("queue %s: player %s is twice in a match", c.queue.Name, p)
			}
			users[p] = true
		}
	}
	return nil
}

// teams checks that the teams have the match's tickets, each once, and room for them.
func (c *checker) teams(m *Match, free []int) error {
	if len(m.Teams) != len(free) {
		return fmt.Errorf("queue %s: a match of %d teams, want %d", c.queue.Name, len(m.Teams), len(free))
	}
	left := make(map[*Ticket]bool, len(m.Tickets))
	for _, x := range m.Tickets {
		left[x] = true
	}
	for i, team := range m.Teams {
		players := 0
		for _, x := range team {
			if !left[x] {
				return fmt.Errorf("queue %s: a team has a ticket that is not the match's, or another team's", c.queue.Name)
			}
			delete(left, x)
			players += len(x.Players)
		}
		if players > free[i] || players == 0 && m.Backfill == nil {
			return fmt.Errorf("queue %s: team %d has %d players, and %d seats", c.queue.Name, i, players, free[i])
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("queue %s: %d tickets of a match are in no team", c.queue.Name, len(left))
	}
	return nil
}
