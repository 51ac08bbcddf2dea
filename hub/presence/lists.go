package presence

import (
	"context"
	"errors"
	"fmt"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/hub/relay"
)

// Lists is a Store whose changes the users hear of who are online: the processes that
// hold them are told, and read the list anew.
type Lists struct {
	*Store

	index Index
	relay Sender
}

// NewLists returns Lists that are kept in s.
func NewLists(s *Store, ix Index, rl Sender) *Lists { return &Lists{s, ix, rl} }

// Put is Store.Put, and has the processes that hold user told. With an error they may
// not have been: it is to be called again.
func (l *Lists) Put(ctx context.Context, user hub.UserID, friends []hub.UserID) error {
	if err := l.Store.Put(ctx, user, friends); err != nil {
		return err
	}
	return l.tell(ctx, user)
}

// Delete is Store.Delete, and has the processes that hold user told, as Put.
func (l *Lists) Delete(ctx context.Context, user hub.UserID) error {
	if err := l.Store.Delete(ctx, user); err != nil {
		return err
	}
	return l.tell(ctx, user)
}

func (l *Lists) tell(ctx context.Context, user hub.UserID) error {
	at, err := l.index.Entries(ctx, []hub.UserID{user})
	if err != nil {
		return outage.During("looking for a user whose friends have changed", err)
	}
	body := (&Message{Changed: []hub.UserID{user}}).Bytes()
	var out []relay.Outgoing
	for _, h := range at[0].Processes {
		out = append(out, relay.Outgoing{To: h.Process, Body: body})
	}
	if len(out) == 0 {
		return nil
	}
	err = l.relay.Send(ctx, out)
	for i := range out {
		if err == nil && out[i].Refused {
			err = errors.Join(hub.ErrUnavailable, relay.ErrFull)
		}
	}
	if err != nil {
		return fmt.Errorf("telling a front process of a list of friends: %w", err)
	}
	return nil
}
