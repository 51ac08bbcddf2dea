package hub

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// UserID names a player across all games of the company: 1 to MaxUserID
// bytes of printable ASCII without space, so that it can stand in a key, a
// URL path and a log line as it is. Homing gives it no meaning.
type UserID string

// Service names a game or backend: 1 to MaxService bytes of lower-case
// letters, digits, '.', '_' and '-'. The empty Service is a connection whose
// token names none; it is reached by notifications that name no services.
type Service string

// ProcessID names one life of one process. It is drawn afresh at every start,
// so what a dead process left behind is never mistaken for its successor's.
// It is 11 characters of base64url (64 random bits).
type ProcessID string

// Limits on identifiers, in bytes.
const (
	MaxUserID    = 128
	MaxService   = 64
	ProcessIDLen = 11
)

// Errors that the identifier checks wrap.
var (
	ErrBadUserID    = errors.New("bad user id")
	ErrBadService   = errors.New("bad service name")
	ErrBadProcessID = errors.New("bad process id")
)

// NewProcessID draws an identity for a process that starts now.
func NewProcessID() ProcessID {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand.Read crashes the program instead
	return ProcessID(base64.RawURLEncoding.EncodeToString(b[:]))
}

// Check reports why u cannot be a user id, wrapping ErrBadUserID, or nil.
func (u UserID) Check() error {
	if u == "" || len(u) > MaxUserID {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrBadUserID, len(u), MaxUserID)
	}
	for i := range len(u) {
		if u[i] < '!' || u[i] > '~' {
			return fmt.Errorf("%w: byte %#02x at %d, want printable ASCII without space", ErrBadUserID, u[i], i)
		}
	}
	return nil
}

// Check reports why s cannot name a service, wrapping ErrBadService, or nil.
// The empty Service is refused: whoever accepts it says so.
func (s Service) Check() error {
	if s == "" || len(s) > MaxService {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrBadService, len(s), MaxService)
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("%w: byte %#02x at %d, want a-z, 0-9, '.', '_' or '-'", ErrBadService, c, i)
		}
	}
	return nil
}

// Check reports why p cannot be a process id, wrapping ErrBadProcessID, or nil.
func (p ProcessID) Check() error {
	if len(p) != ProcessIDLen {
		return fmt.Errorf("%w: %d bytes, want %d", ErrBadProcessID, len(p), ProcessIDLen)
	}
	for i := range len(p) {
		switch c := p[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return fmt.Errorf("%w: byte %#02x at %d, want base64url", ErrBadProcessID, c, i)
		}
	}
	return nil
}
