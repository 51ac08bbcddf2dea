// Package apikey knows the keys of game backends: how one looks, what it may
// do, and the file that lists them by their hashes.
package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/homing/homing/api/admit"
	"github.com/homing/homing/hub"
)

// Scope is one thing that a key may do.
type Scope string

// The scopes.
const (
	ScopeNotify     Scope = "notify"     // POST /notify and /notify/batch
	ScopeBroadcast  Scope = "broadcast"  // POST /broadcast
	ScopePresence   Scope = "presence"   // GET /users/{id}, POST /users/query
	ScopeDisconnect Scope = "disconnect" // DELETE /users/{id}/connections
	ScopeRooms      Scope = "rooms"      // /rooms and all below it
	ScopeTopics     Scope = "topics"     // /topics and all below it; POST /notify with topics needs notify
	ScopeMatch      Scope = "match"      // /match/tickets and /match/queues
	ScopeHooks      Scope = "hooks"      // GET /hooks
	ScopeFriends    Scope = "friends"    // /users/{id}/friends
	ScopeAssign     Scope = "assign"     // POST /nodes/assign
	ScopeNodes      Scope = "nodes"      // GET /nodes and /nodes/{id}
	ScopeFleet      Scope = "fleet"      // /nodes/{id}/drain
)

// AllScopes lists every scope.
func AllScopes() []Scope {
	return []Scope{ScopeNotify, ScopeBroadcast, ScopePresence, ScopeDisconnect, ScopeRooms, ScopeMatch, ScopeTopics, ScopeHooks, ScopeFriends, ScopeAssign, ScopeNodes, ScopeFleet}
}

const (
	keyPrefix  = "hk_"
	keyEntropy = 32 // bytes
	hashPrefix = "sha256:"
)

// Hash is the SHA-256 of a key. A key has 256 random bits, so a plain hash
// keeps it secret.
type Hash [sha256.Size]byte

// HashOf returns the hash under which key is stored.
func HashOf(key string) Hash { return sha256.Sum256([]byte(key)) }

func (h Hash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// ParseHash is the inverse of Hash.String.
func ParseHash(s string) (Hash, error) {
	var h Hash
	digits, ok := strings.CutPrefix(s, hashPrefix)
	if n, err := hex.Decode(h[:], []byte(digits[:min(len(digits), 2*len(h))])); !ok || err != nil || n != len(h) || len(digits) != 2*n {
		return Hash{}, fmt.Errorf("%q: want sha256: and %d hexadecimal digits", s, 2*sha256.Size)
	}
	return h, nil
}

// Spec is one key as the file lists it.
type Spec struct {
	Name   string        `yaml:"name"`           // for logs; as hub.Service
	Hash   string        `yaml:"hash"`           // Hash.String of the key
	Scopes []Scope       `yaml:"scopes"`         // at least one
	From   []hub.Service `yaml:"from,omitempty"` // services it may speak for; none: any, or nobody's

	// Of each of these 0 is the server's default.
	Rate     float64 `yaml:"rate,omitempty"`      // units of cost per second
	Burst    int     `yaml:"burst,omitempty"`     // units at once; with a rate of its own 0 is a second's worth
	InFlight int     `yaml:"in_flight,omitempty"` // requests worked on at once
	Open     int     `yaml:"open,omitempty"`      // requests under way at once, batches and waits among them

	StoreBytes int64 `yaml:"store_bytes,omitempty"` // bytes that it may have stored at a time, on all inbox shards together
}

// Generate draws a key. The key is to be told to the backend once and kept
// nowhere; what it returns beside it goes into the file of keys.
func Generate(name string, scopes []Scope) (key string, spec Spec, err error) {
	secret := make([]byte, keyEntropy)
	_, _ = rand.Read(secret) // never fails: crypto/rand.Read crashes the program instead
	key = keyPrefix + base64.RawURLEncoding.EncodeToString(secret)
	spec = Spec{Name: name, Hash: HashOf(key).String(), Scopes: scopes}
	return key, spec, spec.check()
}

// YAML is the entry to append to the file of keys, under "keys:".
func (s Spec) YAML() string {
	b, err := yaml.Marshal([]Spec{s})
	if err != nil {
		panic(fmt.Sprintf("marshal key %s: %v", s.Name, err)) // strings and numbers always do
	}
	return "  " + strings.TrimSuffix(strings.ReplaceAll(string(b), "\n", "\n  "), "  ")
}

func (s Spec) check() error {
	if err := hub.Service(s.Name).Check(); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if _, err := ParseHash(s.Hash); err != nil {
		return fmt.Errorf("hash: %w", err)
	}
	if len(s.Scopes) == 0 {
		return errors.New("scopes: none: want at least one")
	}
	for _, sc := range s.Scopes {
		if !slices.Contains(AllScopes(), sc) {
			return fmt.Errorf("scopes: %q: want one of %v", sc, AllScopes())
		}
	}
	for _, f := range s.From {
		if err := f.Check(); err != nil {
			return fmt.Errorf("from: %w", err)
		}
	}
	if !(s.Rate >= 0) || math.IsInf(s.Rate, 1) || s.Burst < 0 || s.InFlight < 0 || s.Open < 0 {
		return fmt.Errorf("rate: %v, burst: %d, in_flight: %d, open: %d: want 0 or more", s.Rate, s.Burst, s.InFlight, s.Open)
	}
	if s.StoreBytes < 0 {
		return fmt.Errorf("store_bytes: %d: want 0 or more", s.StoreBytes)
	}
	return nil
}

// Limits are what a key may take up. A Rate of 0 is without limit, a Burst of 0
// a second's worth.
type Limits struct {
	Rate  float64 // units of cost per second
	Burst int     // units at once
	Share admit.Limits
}

// limits are those of s, and of fallback where s says nothing.
func (s *Spec) limits(fallback Limits) Limits {
	l := fallback
	if s.Rate != 0 {
		l.Rate, l.Burst = s.Rate, s.Burst
	}
	if s.InFlight != 0 {
		l.Share.Work = s.InFlight
	}
	if s.Open != 0 {
		l.Share.Open = s.Open
	}
	return l
}

// Key is a known key. It is safe for concurrent use.
type Key struct {
	spec   Spec
	hash   Hash // zero: it is in no file
	limits Limits
	budget *budget
	share  *admit.Share
}

// newKey takes from before what a reload must not reset: how much of the rate
// is used up, and what is under way.
func newKey(spec Spec, fallback Limits, before *Key) *Key {
	k := &Key{spec: spec, limits: spec.limits(fallback)}
	if before != nil && before.limits.Rate == k.limits.Rate && before.limits.Burst == k.limits.Burst {
		k.budget = before.budget
	} else {
		k.budget = newBudget(k.limits.Rate, k.limits.Burst)
	}
	if before != nil && before.limits.Share == k.limits.Share {
		k.share = before.share
	} else {
		k.share = admit.NewShare(k.limits.Share)
	}
	return k
}

// Loopback is who a caller without a key is, where a server lets callers on
// its own machine in. Its name cannot stand in a file. It has no rate.
func Loopback(share admit.Limits) *Key {
	return newKey(Spec{Name: "~loopback", Scopes: AllScopes()}, Limits{Share: share}, nil)
}

// Name is unique among the keys of a file.
func (k *Key) Name() string { return k.spec.Name }

// Account is who is charged for what the key stores.
func (k *Key) Account() hub.Account {
	return hub.Account{Name: k.spec.Name, Quota: k.spec.StoreBytes}
}

// Allows says whether the key has scope.
func (k *Key) Allows(scope Scope) bool { return slices.Contains(k.spec.Scopes, scope) }

// MaySpeakFor says whether the key may send with from. A key limited to some
// services must name one of them.
func (k *Key) MaySpeakFor(from hub.Service) bool {
	return len(k.spec.From) == 0 || slices.Contains(k.spec.From, from)
}

// Share is what the key takes up.
func (k *Key) Share() *admit.Share { return k.share }
