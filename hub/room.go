package hub

import (
	"fmt"
	"time"
)

// Account says who is charged for what is kept in Redis on behalf of a caller.
// The zero Account is nobody's: it is not charged, and bounded by what all may
// keep together only.
type Account struct {
	Name  string // unique among the deployment's callers: an API key's name
	Quota int64  // bytes that it may have stored at a time; 0: the deployment's default
}

// Pot is where something is kept on behalf of callers.
type Pot string

// The pots.
const (
	PotInbox Pot = "inbox" // notifications stored for users
	PotOnce  Pot = "once"  // idempotency keys and their replies
	PotMatch Pot = "match" // tickets of players who want a match

	PotFriends Pot = "friends" // users' lists of friends
)

// RoomError refuses what would have to be kept: the pot has no room for it, or
// the account has used up its share. Nothing else about the request is wrong.
type RoomError struct {
	Pot     Pot
	Account string        // whose share is used up; empty: the pot is full for all
	After   time.Duration // when to try again; above zero
	Detail  string        // how full it is
}

func (e *RoomError) Error() string {
	if e.Account != "" {
		return fmt.Sprintf("%s: the quota of %s is used up: %s", e.Pot, e.Account, e.Detail)
	}
	return fmt.Sprintf("%s: no room: %s", e.Pot, e.Detail)
}
