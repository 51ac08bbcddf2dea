package auth

import "time"

// Mint signs an HS256 token for id that is valid from now for ttl; id.Expires
// is not used. The secret is at least 32 bytes.
func Mint(secret []byte, id Identity, ttl time.Duration) (string, error) { return "", nil }
