package clients

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokens makes the tokens of users first up to and without first+count.
// Without a secret a token is the user's name and proves nothing.
func tokens(secret []byte, first, count int) ([]string, error) {
	all := make([]string, count)
	for i := range all {
		all[i] = string(User(first + i))
		if len(secret) == 0 {
			continue
		}
		var err error
		if all[i], err = Token(secret, all[i], ""); err != nil {
			return nil, err
		}
	}
	return all, nil
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
