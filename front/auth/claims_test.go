package auth

import (
	"encoding/base64"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/homing/homing/hub"
)

// signedText signs claims given as the account service wrote them.
func signedText(t *testing.T, text string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	head := encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(text))
	signature, err := jwt.SigningMethodHS256.Sign(head, testSecret)
	if err != nil {
		t.Fatal(err)
	}
	return head + "." + encode(signature)
}

func TestNumbersAsSubject(t *testing.T) {
	cfg := defaults(t)
	cfg.Secret, cfg.AllowNoExpiry = testSecret, true
	v := newVerifier(t, cfg)
	for sub, want := range map[string]string{ // "" is refused
		`"42"`:                     "42",
		`42`:                       "42",
		`0`:                        "0",
		`-7`:                       "-7",
		`9007199254740993`:         "9007199254740993", // no float64
		`18446744073709551616`:     "18446744073709551616",
		`-0`:                       "",
		`4.0`:                      "",
		`1e3`:                      "",
		`true`:                     "",
		`{"id":42}`:                "",
		`["42"]`:                   "",
		`null`:                     "",
		strings.Repeat("1", 1_000): "",
	} {
		id, err := v.VerifyNow(signedText(t, `{"sub":`+sub+`}`))
		if string(id.User) != want || (err == nil) != (want != "") {
			t.Errorf("sub %s: %q, %v; want %q", sub, id.User, err, want)
		}
		if err != nil && (!errors.Is(err, ErrBadClaims) || !strings.Contains(detail(err), "sub: ")) {
			t.Errorf("sub %s: %v: does not name the claim", sub, err)
		}
	}
}

// detail is what the client is told.
func detail(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Error()
	}
	return ""
}

func TestRefusalsNameTheClaim(t *testing.T) {
	for _, c := range []struct {
		text   string
		change func(*Config)
		want   error
		detail string
	}{
		{`{"exp":9e9}`, nil, ErrBadClaims, "sub: missing"},
		{`{"sub":"José","exp":9e9}`, nil, ErrBadClaims, "sub: "},
		{`{"sub":"a","svc":7,"exp":9e9}`, nil, ErrBadClaims, "svc: want a string"},
		{`{"sub":"a","svc":"A B","exp":9e9}`, nil, ErrBadClaims, "svc: "},
		{`{"sub":"a"}`, nil, ErrBadClaims, "exp: missing"},
		{`{"sub":"a","exp":"soon"}`, nil, ErrBadClaims, "exp: want a number"},
		{`{"sub":"a","exp":1900000000000}`, nil, ErrBadClaims, "exp: beyond the year 9999: want seconds"},
		{`{"sub":"a","exp":1e999}`, nil, ErrBadClaims, "exp: beyond the year 9999"},
		{`{"sub":"a","exp":9e9,"nbf":[]}`, nil, ErrBadClaims, "nbf: want a number"},
		{`{"sub":"a","exp":9e9,"iat":"x"}`, nil, ErrBadClaims, "iat: want a number"},
		{`{"sub":true,"exp":false,"nbf":""}`, nil, ErrBadClaims, "sub: want a string or an integer; exp: want a number of seconds; nbf: "},
		{`{"sub":"a","exp":9e9,"iss":7}`, nil, ErrBadClaims, "iss: want a string"},
		{`{"sub":"a","exp":9e9,"aud":7}`, nil, ErrBadClaims, "aud: want a string or a list"},
		{`{"sub":"a","exp":9e9,"aud":["x",7]}`, nil, ErrBadClaims, "aud: want a string or a list"},
		{`{"sub":"a","exp":9e9}`, func(c *Config) { c.Audience, c.Issuer = "us", "them" }, ErrBadClaims, "aud: missing; iss: missing"},
		{`{"sub":"a","exp":9e9,"aud":"x","iss":"y"}`, func(c *Config) { c.Audience, c.Issuer = "us", "them" }, ErrBadClaims, "aud: names others than this server; iss: not the issuer"},
		{`{"sub":"a","exp":9e9}`, func(c *Config) { c.MaxAge = time.Hour }, ErrBadClaims, "iat: missing"},
		{`{"sub":"a","exp":9e9,"iat":1}`, func(c *Config) { c.MaxAge = time.Hour }, ErrExpired, "iat was "},
		{`{"sub":"a","exp":1}`, nil, ErrExpired, "exp was "},
		{`{"sub":"a","exp":9e9,"nbf":8e9}`, nil, ErrNotYetValid, "nbf is in "},
		{`{"sub":"a","exp":9e9,"iat":8e9}`, nil, ErrNotYetValid, "iat is in "},
		{`{"sub":"a","sub":"b","exp":9e9}`, nil, ErrBadClaims, `"sub": given twice`},
		{`{"Sub":"a","exp":9e9}`, nil, ErrBadClaims, "sub: missing"},
		{`["a"]`, nil, ErrBadClaims, "want one JSON object"},
		{strings.Repeat("[", 3000) + strings.Repeat("]", 3000), nil, ErrBadClaims, "want one JSON object"},
	} {
		cfg := defaults(t)
		cfg.Secret = testSecret
		if c.change != nil {
			c.change(&cfg)
		}
		id, err := newVerifier(t, cfg).VerifyNow(signedText(t, c.text))
		if !errors.Is(err, c.want) || !strings.Contains(detail(err), c.detail) || !reflect.DeepEqual(id, Identity{}) {
			t.Errorf("%.60s: %q, %v; want %q", c.text, detail(err), err, c.detail)
		}
	}
}

// TestClaimsOfOthersAreNotRead looks at what a stranger can make us say.
func TestClaimsOfOthersAreNotRead(t *testing.T) {
	cfg := defaults(t)
	cfg.Secret = testSecret
	token := signedText(t, `{"sub":7.5}`)
	if _, err := newVerifier(t, cfg).VerifyNow(token[:len(token)-6] + "AAAAAA"); !errors.Is(err, ErrBadSignature) || strings.Contains(err.Error(), "sub") {
		t.Errorf("%v, want nothing but a bad signature", err)
	}
}

// TestFriendsAreReadWhereTheyAreWanted looks at the claim friends.
func TestFriendsAreReadWhereTheyAreWanted(t *testing.T) {
	many := make([]string, hub.MaxFriends+1)
	for i := range many {
		many[i] = `"f` + strconv.Itoa(i) + `"`
	}
	full := strings.Join(many[1:], ",")
	cfg := defaults(t)
	cfg.Secret = testSecret
	v := newVerifier(t, cfg)
	claims := func(friends string) string { return signedText(t, `{"sub":"a","exp":9e9,"friends":`+friends+`}`) }
	if id, err := v.VerifyNow(claims(`7`)); err != nil || id.Friends != nil {
		t.Errorf("where they are not wanted: %v, %v", id, err)
	}
	v.ReadFriends()
	for text, want := range map[string]int{`null`: -1, `[]`: 0, `["b"]`: 1, `[` + full + `]`: hub.MaxFriends} {
		id, err := v.VerifyNow(claims(text))
		if err != nil || len(id.Friends) != max(0, want) || (id.Friends == nil) != (want < 0) {
			t.Errorf("%.20s: %d friends, %v", text, len(id.Friends), err)
		}
	}
	for text, want := range map[string]string{
		`7`:                              "friends: want a list of strings",
		`[7]`:                            "friends: want a list of strings",
		`["b","b"]`:                      "friends: b is named twice",
		`["a"]`:                          "friends: a user is no friend",
		`["b c"]`:                        "friends: bad user id",
		`[` + many[0] + `,` + full + `]`: "friends: 301 users, want at most 300",
	} {
		if _, err := v.VerifyNow(claims(text)); !errors.Is(err, ErrBadClaims) || !strings.Contains(detail(err), want) {
			t.Errorf("%.20s: %v, %q; want %q", text, err, detail(err), want)
		}
	}
}
