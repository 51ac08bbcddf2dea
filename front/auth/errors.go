package auth

import (
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// An Error is a reason to refuse a token. Its code and text are stable and
// safe to tell the client; the errors that wrap it carry details for the log.
type Error struct{ code, text string }

// Error says what is wrong with the token.
func (e *Error) Error() string { return e.text }

// Code is the stable name of the reason, such as "token_expired".
func (e *Error) Code() string { return e.code }

// The reasons to refuse a token; Verify's errors wrap one of them.
var (
	ErrMissing      = &Error{"token_missing", "no token"}
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

// reasonOf names what the parser found. Claims that are wrong whenever the
// token is used go before those that are wrong at the moment.
func reasonOf(err error) error {
	if e, ok := errors.AsType[*Error](err); ok { // from our own look-up of the key
		return e
	}
	for _, r := range []struct{ is, reason error }{
		{jwt.ErrTokenMalformed, ErrMalformed},
		{jwt.ErrTokenSignatureInvalid, ErrBadSignature},
		{jwt.ErrTokenUnverifiable, ErrBadSignature},
		{jwt.ErrTokenInvalidAudience, ErrBadClaims},
		{jwt.ErrTokenInvalidIssuer, ErrBadClaims},
		{jwt.ErrTokenRequiredClaimMissing, ErrBadClaims},
		{jwt.ErrTokenExpired, ErrExpired},
		{jwt.ErrTokenNotValidYet, ErrNotYetValid},
		{jwt.ErrTokenUsedBeforeIssued, ErrNotYetValid},
	} {
		if errors.Is(err, r.is) {
			return r.reason
		}
	}
	return ErrBadClaims
}

// Curable reports whether a fresh key set may cure the error of a Verifier.
func Curable(err error) bool {
	return errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrKeysUnavailable)
}
