// Package auth decides who a player is, from a JSON Web Token (RFC 7519)
// signed by the game's own account service: HS256 with a shared secret, RS256
// and ES256 with public keys from files or from a JWKS URL.
package auth
