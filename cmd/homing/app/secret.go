package app

import "crypto/rand"

// newSecret draws a secret of more than 256 bits, as printable text.
func newSecret() string { return rand.Text() + rand.Text() }
