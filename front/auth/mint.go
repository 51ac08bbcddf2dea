package auth

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Mint signs an HS256 token for id that is valid from now for ttl, which is
// more than 0; id.Expires is not used. The secret is at least 32 bytes.
func Mint(secret []byte, id Identity, ttl time.Duration) (string, error) {
	if len(secret) < minSecret {
		return "", fmt.Errorf("sign a token: secret of %d bytes: want at least %d", len(secret), minSecret)
	}
	if ttl <= 0 {
		return "", fmt.Errorf("sign a token: valid for %v: want more than 0", ttl)
	}
	if err := id.User.Check(); err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	if id.Service != "" {
		if err := id.Service.Check(); err != nil {
			return "", fmt.Errorf("sign a token: %w", err)
		}
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   string(id.User),
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
		},
		Service: string(id.Service),
	})
	return token.SignedString(secret)
}
