package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/homing/homing/hub"
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
	if t := id.Topics; t != nil {
		if err := errors.Join(hub.CheckTopics(t.Member), t.MayJoin.Check(), t.MayPublish.Check()); err != nil {
			return "", fmt.Errorf("sign a token: %w", err)
		}
	}
	now := time.Now()
	c := jwt.MapClaims{"sub": string(id.User), "iat": now.Unix(), "exp": now.Add(ttl).Unix()}
	if id.Service != "" {
		c["svc"] = string(id.Service)
	}
	if id.Friends != nil {
		c["friends"] = id.Friends
	}
	if t := id.Topics; t != nil {
		c["topics"], c["may_join"], c["may_publish"] = t.Member, t.MayJoin, t.MayPublish
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
}
