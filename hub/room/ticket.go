package room

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
)

// Ticket lets a user take a seat of a room.
type Ticket struct {
	Room  string     `json:"room"`
	Epoch uint64     `json:"epoch"` // of the room's owner
	User  hub.UserID `json:"user"`
	Until int64      `json:"until"` // Unix seconds
}

// Refusals of tickets.
var (
	ErrBadTicket     = errors.New("not a ticket of ours")
	ErrExpiredTicket = errors.New("the ticket has expired")
)

// maxTicket bounds the text of a ticket, so that no work is done for a long one.
const maxTicket = 2048

// Sign returns the text of t: its JSON and an HMAC-SHA256 with key, both in
// base64url, with a point between them. key has at least 32 bytes.
func (t *Ticket) Sign(key []byte) string {
	b, _ := json.Marshal(t) // strings and numbers always marshal
	body := base64.RawURLEncoding.EncodeToString(b)
	return body + "." + base64.RawURLEncoding.EncodeToString(mac(key, body))
}

func mac(key []byte, body string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("homing seat ticket\n")) // the key may sign other things too
	h.Write([]byte(body))
	return h.Sum(nil)
}

// ParseTicket reads a ticket that was signed with one of keys. The errors are
// ErrBadTicket and ErrExpiredTicket.
func ParseTicket(text string, keys [][]byte, now time.Time) (Ticket, error) {
	body, sum, ok := strings.Cut(text, ".")
	if !ok || len(text) > maxTicket {
		return Ticket{}, ErrBadTicket
	}
	given, err := base64.RawURLEncoding.Strict().DecodeString(sum)
	if err != nil || !signed(keys, body, given) {
		return Ticket{}, ErrBadTicket
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	var t Ticket
	if err != nil || json.Unmarshal(b, &t) != nil {
		return Ticket{}, ErrBadTicket
	}
	if now.Unix() >= t.Until {
		return Ticket{}, ErrExpiredTicket
	}
	return t, nil
}

// signed reports whether sum is of body, with one of keys.
func signed(keys [][]byte, body string, sum []byte) bool {
	ok := false
	for _, key := range keys {
		ok = hmac.Equal(mac(key, body), sum) || ok
	}
	return ok
}
