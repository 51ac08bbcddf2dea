package auth

import (
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// An Error is a reason to refuse a token. Its code and text are stable and
// safe to tell the client; the errors that wrap it carry details for the log.
type Error struct{ code, text string }

// Error says what is wrong with the token.
func (e *Error) Error() string { return e.text }

// Is reports whether target is the same reason, whatever its details.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.code == e.code
}

// because returns e with details that the client is told.
func (e *Error) because(format string, args ...any) *Error {
	return &Error{e.code, e.text + ": " + fmt.Sprintf(format, args...)}
}

// Code is the stable name of the reason, such as "token_expired".
func (e *Error) Code() string { return e.code }

// The reasons to refuse a token; Verify's errors wrap one of them.
var (
	ErrMissing      = &Error{"token_missing", "no token: offer it as the subprotocol bearer.TOKEN, or as ?token=TOKEN"}
	ErrMalformed    = &Error{"token_malformed", "not a signed JSON Web Token"}
	ErrExpired      = &Error{"token_expired", "the token has expired"}
	ErrNotYetValid  = &Error{"token_not_yet_valid", "the token is not valid yet"}
	ErrBadSignature = &Error{"token_bad_signature", "the signature or its algorithm is not accepted"}
	ErrUnknownKey   = &Error{"token_unknown_key", "the token's key is not known"}
	ErrBadClaims    = &Error{"token_bad_claims", "a claim is missing or not accepted"}
)

// ErrKeysUnavailable is the one error of Verify that is not the token's fault:
// it names a key, and no key set has been fetched since the start.
var ErrKeysUnavailable = errors.New("the key set has not been fetched yet")

// Code returns the code of the Error that err wraps, "keys_unavailable" for
// ErrKeysUnavailable, "internal" for any other error, and "ok" for nil.
func Code(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.code
	}
	if errors.Is(err, ErrKeysUnavailable) {
		return "keys_unavailable"
	}
	return "internal"
}

// reasonOf names what the parser found before it looked at the claims.
func reasonOf(err error) error {
	if e, ok := errors.AsType[*Error](err); ok { // from our own look-up of the key
		return e
	}
	if errors.Is(err, jwt.ErrTokenMalformed) {
		return ErrMalformed
	}
	return ErrBadSignature
}

// Curable reports whether a fresh key set may cure the error of a Verifier.
func Curable(err error) bool {
	return errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrKeysUnavailable)
}
