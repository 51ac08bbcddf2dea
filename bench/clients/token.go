package clients

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/homing/homing/hub"
)

// tokens makes the tokens of a swarm's users. Without a secret a token is the user's
// name and proves nothing.
func tokens(s *swarm) ([]string, error) {
	all := make([]string, s.Count)
	for i := range all {
		all[i] = string(User(s.First + i))
		if len(s.Secret) == 0 {
			continue
		}
		claims := jwt.MapClaims{}
		if s.Topics > 0 {
			claims["topics"], claims["may_join"] = []hub.Topic{Topic(s.First+i, s.Topics)}, []string{"*"}
		}
		var err error
		if all[i], err = Sign(s.Secret, all[i], claims); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Token signs a token for a user, and the service it plays unless that is
// empty, good for an hour.
func Token(secret []byte, user, service string) (string, error) {
	claims := jwt.MapClaims{}
	if service != "" {
		claims["svc"] = service
	}
	return Sign(secret, user, claims)
}

// Sign signs a token of claims for a user.
func Sign(secret []byte, user string, claims jwt.MapClaims) (string, error) {
	now := time.Now()
	claims["sub"], claims["iat"], claims["exp"] = user, now.Unix(), now.Add(time.Hour).Unix()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign a token for %s: %w", user, err)
	}
	return s, nil
}
