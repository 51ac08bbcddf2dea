package roster

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // marks a key, and protects nothing
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// ticketKey is what tickets are signed with. It is drawn by the first process that needs
// one and stands in Redis, where all who assign players and all nodes find it.
type ticketKey struct {
	secret []byte
	mark   string // by which scripts tell whether the key is theirs
}

func makeKey(text string) *ticketKey {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // as above
	return &ticketKey{[]byte(text), hex.EncodeToString(sum[:])[:8]}
}

// mark is that of the key that r knows; empty: it knows none.
func (r *Roster) mark() string {
	if k := r.key.Load(); k != nil {
		return k.mark
	}
	return ""
}

// learn takes the key that a script has answered; "": the one that r knows is right.
func (r *Roster) learn(text string) {
	if text != "" {
		r.key.Store(makeKey(text))
	}
}

// ticket is what a player shows at the node that it was assigned to.
type ticket struct {
	assignment string
	players    int // who may use it
	lapses     time.Time
	node       string
}

// sumLength is how many bytes of the HMAC a ticket carries.
const sumLength = 16

// maxTicket bounds the text of a ticket, so that no work is done for a long one.
const maxTicket = 512

func (k *ticketKey) sign(t *ticket) string {
	body := base64.RawURLEncoding.EncodeToString([]byte(strings.Join([]string{
		t.assignment, strconv.Itoa(t.players), strconv.FormatInt(t.lapses.UnixMilli(), 10), t.node,
	}, " ")))
	return body + "." + base64.RawURLEncoding.EncodeToString(k.sum(body))
}

func (k *ticketKey) sum(body string) []byte {
	h := hmac.New(sha256.New, k.secret)
	h.Write([]byte("homing node ticket\n")) // the key may sign other things too
	h.Write([]byte(body))
	return h.Sum(nil)[:sumLength]
}

// parse reads a ticket; false: it was not signed with k.
func (k *ticketKey) parse(text string) (t ticket, ok bool) {
	body, sum, _ := strings.Cut(text, ".")
	if len(text) > maxTicket {
		return t, false
	}
	given, err := base64.RawURLEncoding.Strict().DecodeString(sum)
	if err != nil || !hmac.Equal(k.sum(body), given) {
		return t, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	parts := strings.SplitN(string(b), " ", 4)
	if err != nil || len(parts) != 4 {
		return t, false
	}
	lapses, _ := strconv.ParseInt(parts[2], 10, 64) // we have signed it
	t = ticket{assignment: parts[0], lapses: time.UnixMilli(lapses), node: parts[3]}
	t.players, _ = strconv.Atoi(parts[1])
	return t, true
}
