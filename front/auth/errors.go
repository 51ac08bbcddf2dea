package auth

import "errors"

// An Error is a reason to refuse a token. Its code is stable and safe to tell
// the client; the errors that wrap it carry details for the log.
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

// Code returns the code of the Error that err wraps, "internal" for any other
// error, and "ok" for nil.
func Code(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.code
	}
	return "internal"
}
