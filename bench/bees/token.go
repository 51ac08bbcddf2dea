package bees

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokens returns a source of players' tokens signed with an HS256 secret,
// good for an hour. Without a secret a token is the user's name and proves
// nothing.
func tokens(secret []byte) func(user int) (string, error) {
	if len(secret) == 0 {
		return func(user int) (string, error) { return string(User(user)), nil }
	}
	return func(user int) (string, error) { return Token(secret, string(User(user)), "") }
}

// Token signs a token for a user, and the service it plays unless that is
// empty, good for an hour.
func Token(secret []byte, user, service string) (string, error) {
	now := time.Now()
	claims := jwt.MapClaims{"sub": user, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	if service != "" {
		claims["svc"] = service
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign a token for %s: %w", user, err)
	}
	return s, nil
}
