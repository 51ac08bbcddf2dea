package webhook

import (
	"errors"
	"fmt"
	"net/http"
)

// Verifier checks what was signed with the secrets of a file. It is safe for
// concurrent use.
type Verifier struct{ signers signers }

// LoadVerifier reads a file of secrets, as Config.SecretFile names it.
func LoadVerifier(file string) (*Verifier, error) {
	all, _, err := readSecrets(file)
	if err != nil {
		return nil, err
	}
	return &Verifier{all}, nil
}

// Verify returns nil when one of the secrets has signed the body of a request with
// these headers, within the last five minutes.
func (v *Verifier) Verify(body []byte, headers http.Header) error {
	var errs []error
	for _, s := range v.signers {
		err := s.Verify(body, headers)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("verify %s: %w", headers.Get("webhook-id"), errors.Join(errs...))
}
