package auth

import (
	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// ring is the keys of a set. It is never changed.
type ring struct {
	byAlg  map[string][]jwt.VerificationKey
	byName map[keyName][]jwt.VerificationKey
}

// keyName is what a token says of its key. A set may use one kid for keys of
// several algorithms (RFC 7517 §4.5).
type keyName struct{ kid, alg string }

func newRing(keys []jwkset.JWK) *ring {
	r := &ring{byAlg: map[string][]jwt.VerificationKey{}, byName: map[keyName][]jwt.VerificationKey{}}
	for _, jwk := range keys {
		key := jwk.Key()
		alg, err := algOf(key)
		if err != nil {
			continue
		}
		name := keyName{jwk.Marshal().KID, alg}
		r.byAlg[alg] = append(r.byAlg[alg], key)
		r.byName[name] = append(r.byName[name], key)
	}
	return r
}

// find returns the keys that token names, or all of its algorithm's when it
// names none: at most maxTried, and at least one without an error.
func (r *ring) find(token *jwt.Token) ([]jwt.VerificationKey, error) {
	alg := token.Method.Alg()
	header, named := token.Header["kid"]
	if !named {
		return few(r.byAlg[alg], "no kid", alg)
	}
	kid, ok := header.(string)
	if !ok {
		return nil, ErrMalformed.because("kid: want a string")
	}
	keys := r.byName[keyName{kid, alg}]
	if len(keys) == 0 && r.knows(kid) {
		return nil, ErrBadSignature.because("the key of this kid is not for %s", alg)
	}
	return few(keys, "this kid", alg)
}

func (r *ring) knows(kid string) bool {
	for _, alg := range []string{algRS256, algES256} {
		if len(r.byName[keyName{kid, alg}]) > 0 {
			return true
		}
	}
	return false
}

// few returns keys when they can be tried one by one.
func few(keys []jwt.VerificationKey, name, alg string) ([]jwt.VerificationKey, error) {
	if n := len(keys); n == 0 || n > maxTried {
		return nil, ErrUnknownKey.because("the key set has %d keys for %s with %s, want 1 to %d", n, alg, name, maxTried)
	}
	return keys, nil
}
