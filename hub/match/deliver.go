package match

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sync/errgroup"
)

// claim takes the tickets of plans, all of each or none, and has those delivered
// that came about. It returns an error when Redis does not say what it did: then
// nobody is told, and the claims are given up. It does not wait for replicas: a claim
// that a failover undoes is missed when the room is recorded, before anybody is told.
func (b *desk) claim(ctx context.Context, fence int64, plans []*plan) error {
	calls := make([][]any, len(plans))
	for i, p := range plans {
		what, _ := json.Marshal(p) // strings and numbers always marshal
		calls[i] = []any{p.Match, b.timing.Claim.Milliseconds(), fence, what, p.players(), p.Room, p.Epoch}
		for _, x := range p.tickets {
			calls[i] = append(calls[i], x.ID)
		}
	}
	replies, err := b.runAll(ctx, claimScript, calls...)
	if err != nil {
		for _, p := range plans {
			if len(b.doubts) < aside {
				b.doubts = append(b.doubts, p.Match)
			}
		}
		return fmt.Errorf("claim tickets of queue %s: %w", b.Name, err)
	}
	var claimed []*plan
	for i, p := range plans {
		switch text(replies, i) {
		case "claimed":
			claimed = append(claimed, p)
		case "fenced":
			return fmt.Errorf("queue %s: %w", b.Name, errFenced)
		}
	}
	if len(claimed) > 0 {
		b.start(ctx, func(ctx context.Context) { b.deliver(ctx, claimed) })
	}
	return nil
}

var errFenced = errors.New("another process makes the matches now")

// release gives up a match that has no room.
func (b *desk) release(ctx context.Context, match, why string) error {
	reply, err := b.shelf.run(ctx, releaseScript, match)
	if err != nil {
		return fmt.Errorf("give back the tickets of match %s: %w", match, err)
	}
	said := list(reply)
	b.back(why, number(said, 0))
	b.tickets.tell.ended(ctx, b.Queue, list(part(said, 1)))
	return nil
}

// giveUp is release where a failure is no more than a claim that lapses later.
func (b *desk) giveUp(ctx context.Context, match, why string) {
	if err := b.release(ctx, match, why); err != nil {
		b.failed("release", err)
	}
}

// deliver brings claimed matches about: it has their players accept them where the
// queue wants that, else it opens their rooms, records those, and tells the players.
func (b *desk) deliver(ctx context.Context, plans []*plan) {
	var mu sync.Mutex
	var found []*Found
	var each errgroup.Group
	each.SetLimit(atOnce)
	for _, p := range plans {
		each.Go(func() error {
			if p.asks {
				b.offer(ctx, p)
				return nil
			}
			f := b.open(ctx, p)
			if f != nil {
				mu.Lock()
				defer mu.Unlock()
				found = append(found, f)
			}
			return nil
		})
	}
	_ = each.Wait() // what fails is counted
	if len(found) > 0 {
		b.announce(ctx, b.record(ctx, found))
	}
}

// open opens the room of a match. It returns nil, and gives the tickets back, when
// that fails.
func (b *desk) open(ctx context.Context, p *plan) *Found {
	within, cancel := context.WithTimeout(ctx, b.timing.Open)
	defer cancel()
	o := p.opening(b.Queue)
	var room *Opened
	var err error
	if p.Room != "" {
		room, err = b.rooms.Fill(within, p.Room, p.Epoch, o)
	} else {
		room, err = b.rooms.Open(within, o)
	}
	if err == nil {
		if f, ok := p.found(b.Queue, room); ok {
			return f
		}
		err = errors.New("the room has no seat for a player")
	}
	b.failed("open", fmt.Errorf("open a room for match %s: %w", p.Match, err))
	b.giveUp(ctx, p.Match, backRoom)
	if p.Room == "" && room != nil {
		b.abandon(ctx, room.Room)
	}
	return nil
}

// abandon ends a room that nobody will come to.
func (b *desk) abandon(ctx context.Context, room string) {
	within, cancel := context.WithTimeout(ctx, b.timing.Open)
	defer cancel()
	if err := b.rooms.Close(within, room); err != nil {
		b.failed("close", fmt.Errorf("close room %s: %w", room, err))
	}
}

// record notes the rooms of matches, so that these come about whoever dies, and waits
// until the replicas have that and the claims before it. It
// returns those whose claims stood; rooms of others are closed. When Redis does not
// say, nobody is told: the next look at the claims finds out.
func (b *desk) record(ctx context.Context, found []*Found) (stood []*Found) {
	calls := make([][]any, len(found))
	for i, f := range found {
		what, _ := json.Marshal(f) // strings and numbers always marshal
		calls[i] = []any{f.Match, b.timing.told().Milliseconds(), what}
	}
	replies, err := b.copied(ctx, recordScript, calls...)
	if err != nil {
		b.failed("record", fmt.Errorf("record %d rooms: %w", len(found), err))
		return nil
	}
	for i, f := range found {
		if number(replies, i) == 1 {
			stood = append(stood, f)
		} else {
			b.failed("record", fmt.Errorf("match %s: its room was opened too late", f.Match))
			b.abandon(ctx, f.Room)
		}
	}
	return stood
}

const (
	// tellTries is how often the players of a match are told that could not be told
	// at once; then somebody does it again when the claim lapses.
	tellTries = 3
	// tellPause is between two tries.
	tellPause = 200 * time.Millisecond
)

// announce tells the players of matches whose rooms are recorded, and ends their
// tickets.
func (b *desk) announce(ctx context.Context, found []*Found) {
	var each errgroup.Group
	each.SetLimit(atOnce)
	for _, f := range found {
		each.Go(func() error {
			if err := b.tellAll(ctx, f); err != nil {
				b.failed("announce", err)
				return nil
			}
			if err := b.finish(ctx, f); err != nil {
				b.failed("finish", err)
			}
			return nil
		})
	}
	_ = each.Wait() // what fails is counted
}

func (b *desk) tellAll(ctx context.Context, f *Found) error {
	within, cancel := context.WithTimeout(ctx, b.timing.Tell)
	defer cancel()
	for try := 1; ; try++ {
		err := b.tickets.tell.found(within, f)
		if err == nil || try == tellTries || within.Err() != nil {
			return err
		}
		select {
		case <-within.Done():
			return err
		case <-time.After(tellPause):
		}
	}
}

// finish ends the tickets of a match as matched, once.
func (b *desk) finish(ctx context.Context, f *Found) error {
	reply, err := b.shelf.run(ctx, finishScript, f.Match)
	if err != nil {
		return fmt.Errorf("end the tickets of match %s: %w", f.Match, err)
	}
	said := list(reply)
	if number(said, 0) != 1 {
		return nil // another process has done it
	}
	metrics := &b.tickets.tell.metrics
	metrics.matches.WithLabelValues(b.Name).Inc()
	for i := 1; i+1 < len(said); i += 2 {
		metrics.ended.WithLabelValues(b.Name, string(Matched)).Inc()
		metrics.wait.WithLabelValues(b.Name).Observe(time.Duration(number(said, i) * int64(time.Millisecond)).Seconds())
	}
	return nil
}

// offer asks the players of a match whether they accept it. Their time runs from
// when all were asked.
func (b *desk) offer(ctx context.Context, p *plan) {
	err := b.ask(ctx, p)
	if err == nil {
		return
	}
	b.failed("offer", fmt.Errorf("ask the players of match %s: %w", p.Match, err))
	b.giveUp(ctx, p.Match, backRoom)
}

func (b *desk) ask(ctx context.Context, p *plan) error {
	if _, err := b.copied(ctx, offerScript, []any{p.Match, 0}); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, b.timing.Tell)
	defer cancel()
	for i, x := range p.tickets {
		note := offerNote{Match: p.Match, Queue: b.Name, Ticket: x.ID, Players: p.players(), Seconds: int(b.Accept.Seconds())}
		if err := b.tickets.tell.note(within, fmt.Sprintf("offer:%s:%d", p.Match, i), KindOffered, note, x.Players...); err != nil {
			return err
		}
	}
	_, err := b.copied(ctx, offerScript, []any{p.Match, b.Accept.Milliseconds()})
	return err
}
