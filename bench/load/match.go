package load

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// Ticket is a ticket of matchmaking as the API answers it.
type Ticket struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Match  *Match `json:"match"` // of one that was matched; nil: it is not remembered
}

// Match is who plays together, and where.
type Match struct {
	Match   string   `json:"match"`
	Room    string   `json:"room"`
	Players []Player `json:"players"`
}

// Player is a player of a match.
type Player struct {
	User string `json:"user"`
}

// Queue is what the API says of a queue.
type Queue struct {
	Queue   string `json:"queue"`
	Tickets int    `json:"tickets"` // that wait
	Created int    `json:"created"`
	Ended   Ended  `json:"ended"`
}

// Ended counts tickets by how they have ended.
type Ended struct {
	Matched   int `json:"matched"`
	Cancelled int `json:"cancelled"`
	Expired   int `json:"expired"`
	Lost      int `json:"lost"`
	Declined  int `json:"declined"`
}

// Sum is how many tickets have ended.
func (e Ended) Sum() int { return e.Matched + e.Cancelled + e.Expired + e.Lost + e.Declined }

type ticketReply struct {
	Ticket Ticket `json:"ticket"`
}

// PutTicket posts the JSON of a ticket. The error is as that of Notify.
func (p *Poster) PutTicket(ctx context.Context, body []byte) (Ticket, error) {
	var reply ticketReply
	err := p.call(ctx, http.MethodPost, "/match/tickets", body, &reply)
	return reply.Ticket, err
}

// Ticket asks for a ticket.
func (p *Poster) Ticket(ctx context.Context, id string) (Ticket, error) {
	var reply ticketReply
	err := p.call(ctx, http.MethodGet, "/match/tickets/"+url.PathEscape(id), nil, &reply)
	return reply.Ticket, err
}

// CancelTicket cancels a ticket.
func (p *Poster) CancelTicket(ctx context.Context, id string) (Ticket, error) {
	var reply ticketReply
	err := p.call(ctx, http.MethodDelete, "/match/tickets/"+url.PathEscape(id), nil, &reply)
	return reply.Ticket, err
}

// Queue asks how it goes in a queue.
func (p *Poster) Queue(ctx context.Context, name string) (Queue, error) {
	var reply struct {
		Queues []Queue `json:"queues"`
	}
	if err := p.call(ctx, http.MethodGet, "/match/queues", nil, &reply); err != nil {
		return Queue{}, err
	}
	for _, q := range reply.Queues {
		if q.Queue == name {
			return q, nil
		}
	}
	return Queue{}, fmt.Errorf("there is no queue %q", name)
}
