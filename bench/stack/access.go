package stack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

// Access is what lets callers and players in: API keys, and the secret that
// signs tokens.
type Access struct {
	dir     workDir
	further []string          // names of keys beside ownKey
	keys    map[string]string // API keys by name
	secret  []byte            // signs players' tokens
}

// ownKey is the name of the key that Key returns.
const ownKey = "bench"

// ownLimits let the load of a measurement through. Other keys have the limits
// that are the default.
const ownLimits = "    rate: 1000000000\n    in_flight: 1024\n    open: 4096\n"

// write makes the secret and the keys, and writes what the servers read of them.
func (a *Access) write(context.Context) error {
	a.secret = []byte(rand.Text() + rand.Text())
	if err := os.WriteFile(a.SecretFile(), a.secret, 0o600); err != nil {
		return fmt.Errorf("write the players' secret: %w", err)
	}
	return a.writeKeys()
}

// writeKeys makes API keys that may do everything.
func (a *Access) writeKeys() error {
	a.keys = make(map[string]string)
	var list strings.Builder
	list.WriteString("keys:\n")
	for _, name := range append([]string{ownKey}, a.further...) {
		var raw [32]byte
		_, _ = rand.Read(raw[:]) // never fails
		key := "hk_" + base64.RawURLEncoding.EncodeToString(raw[:])
		a.keys[name] = key
		fmt.Fprintf(&list, "  - name: %s\n    hash: sha256:%x\n    scopes: [notify, broadcast, presence, disconnect, rooms, match, topics, friends, assign, nodes, fleet]\n", name, sha256.Sum256([]byte(key)))
		if name == ownKey {
			list.WriteString(ownLimits)
		}
	}
	if err := os.WriteFile(a.dir.keysFile(), []byte(list.String()), 0o600); err != nil {
		return fmt.Errorf("write the API keys: %w", err)
	}
	if err := os.WriteFile(a.KeyFile(), []byte(a.Key()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the API key: %w", err)
	}
	return nil
}

// SecretFile holds the secret that signs players' tokens.
func (a *Access) SecretFile() string { return a.dir.secretFile() }

// KeyFile holds the API key.
func (a *Access) KeyFile() string { return a.dir.file("api.key") }

// Secret signs players' tokens (HS256).
func (a *Access) Secret() []byte { return a.secret }

// Key is an API key that may do everything.
func (a *Access) Key() string { return a.keys[ownKey] }

// KeyOf returns the API key of that name, one of Options.Keys.
func (a *Access) KeyOf(name string) string { return a.keys[name] }
