package auth

import (
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// silent is a key set that logs and counts for nobody.
func silent(t *testing.T, url string) *keySet {
	t.Helper()
	cfg := defaults(t)
	cfg.JWKSURL = url
	return newKeySet(&cfg, discard, newMetrics(prometheus.NewRegistry()))
}

func TestRedirectsAreHeldToTheRule(t *testing.T) {
	a := newAccounts(t, map[string]crypto.Signer{"k": ecKey})
	var to string
	from := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }))
	t.Cleanup(from.Close)
	secure := httptest.NewTLSServer(from.Config.Handler)
	t.Cleanup(secure.Close)
	for _, c := range []struct{ from, to, want string }{
		{from.URL, a.URL, ""},
		{from.URL, "http://accounts.example/jwks", "plain http is for loopback only"},
		{from.URL, "ftp://127.0.0.1/jwks", "want https://"},
		{from.URL, from.URL, "more than 3 redirects"},
		{secure.URL, a.URL, "redirect from https to http"},
	} {
		s := silent(t, c.from)
		if c.from == secure.URL {
			s.client.Transport = secure.Client().Transport
		}
		to = c.to
		keys, err := s.get(t.Context())
		if c.want == "" && (err != nil || len(keys) != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s to %s: %d keys, %v; want %q", c.from, c.to, len(keys), err, c.want)
		}
	}
}

func TestOneNameForKeysOfTwoAlgorithms(t *testing.T) {
	a := newAccounts(t, nil)
	other := newEC()
	ec, rsa, ec2 := setOf(t, map[string]crypto.Signer{"k": ecKey}), setOf(t, map[string]crypto.Signer{"k": rsaKey}), setOf(t, map[string]crypto.Signer{"k": other})
	body := func(set string) string { return strings.TrimSuffix(strings.TrimPrefix(set, `{"keys":[`), "]}") }
	for _, order := range [][]string{{ec, rsa, ec2}, {rsa, ec2, ec}} {
		a.answer(http.StatusOK, `{"keys":[`+body(order[0])+","+body(order[1])+","+body(order[2])+"]}")
		v := runVerifier(t, a, nil)
		for name, token := range map[string]string{
			"ES256": es256(t, ecKey, "k"), "the second ES256": es256(t, other, "k"),
			"RS256": sign(t, jwt.SigningMethodRS256, rsaKey, claimsWith(nil), "kid", "k"),
		} {
			if _, err := v.Verify(within(t, 5*time.Second), token); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := v.Verify(within(t, 5*time.Second), es256(t, newEC(), "k")); !errors.Is(err, ErrBadSignature) {
			t.Errorf("a stranger's: %v", err)
		}
	}
}

func TestManyKeysOfASet(t *testing.T) {
	set := map[string]crypto.Signer{}
	for i := range maxTried + 1 {
		set[fmt.Sprint("k", i)] = newEC()
	}
	set["mine"] = ecKey
	a := newAccounts(t, set)
	v := runVerifier(t, a, nil)
	if _, err := v.Verify(within(t, 5*time.Second), es256(t, ecKey, "mine")); err != nil {
		t.Errorf("named: %v", err)
	}
	if _, err := v.Verify(within(t, 5*time.Second), sign(t, jwt.SigningMethodES256, ecKey, claimsWith(nil))); !errors.Is(err, ErrUnknownKey) || !strings.Contains(detail(err), "with no kid") {
		t.Errorf("one of %d, without a name: %v", len(set), err)
	}
	for i := range maxSetKeys {
		set[fmt.Sprint("more", i)] = ecKey
	}
	a.answer(http.StatusOK, setOf(t, set))
	if _, err := silent(t, a.URL).get(t.Context()); err == nil || !strings.Contains(err.Error(), "want at most 64") {
		t.Errorf("%d keys: %v", len(set), err)
	}
}
