package auth

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"github.com/homing/homing/hub"
)

// claims are those that we read (RFC 7519 §4.1): sub is the user. The parser
// only keeps their text; decode reads it, once the signature is right.
type claims struct {
	text []byte

	user     hub.UserID
	service  hub.Service // empty without svc
	topics   Topics
	issuer   string
	audience jwt.ClaimStrings
	expires  *jwt.NumericDate // nil when missing, as the next two
	starts   *jwt.NumericDate
	issued   *jwt.NumericDate

	wantsFriends bool
	friends      []hub.UserID // nil when missing, or not wanted
}

// UnmarshalJSON keeps the text.
func (c *claims) UnmarshalJSON(text []byte) error {
	c.text = bytes.Clone(text)
	return nil
}

// Getters for jwt.Validator; none fails.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.expires, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.issued, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.starts, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return string(c.user), nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.audience, nil }

// decode reads the text. Its error is an ErrBadClaims that names every claim
// of ours that cannot be read. Names are compared as they are written.
func (c *claims) decode() error {
	var raw struct {
		Subject   jsontext.Value `json:"sub"`
		Service   jsontext.Value `json:"svc"`
		Issuer    jsontext.Value `json:"iss"`
		Audience  jsontext.Value `json:"aud"`
		Expires   jsontext.Value `json:"exp"`
		NotBefore jsontext.Value `json:"nbf"`
		IssuedAt  jsontext.Value `json:"iat"`
		Friends   jsontext.Value `json:"friends"`
		Topics    jsontext.Value `json:"topics"`
		Join      jsontext.Value `json:"may_join"`
		Publish   jsontext.Value `json:"may_publish"`
	}
	if err := json.Unmarshal(c.text, &raw, jsontext.AllowInvalidUTF8(true)); err != nil {
		if name, ok := repeated(err); ok {
			return ErrBadClaims.because("%s: given twice", name)
		}
		return ErrBadClaims.because("want one JSON object")
	}
	var bad []string
	for _, r := range []struct {
		name string
		text jsontext.Value
		read func(jsontext.Value) error
	}{
		{"sub", raw.Subject, c.readSubject},
		{"svc", raw.Service, c.readService},
		{"iss", raw.Issuer, func(v jsontext.Value) error { return readString(v, &c.issuer) }},
		{"aud", raw.Audience, c.readAudience},
		{"exp", raw.Expires, func(v jsontext.Value) error { return readDate(v, &c.expires) }},
		{"nbf", raw.NotBefore, func(v jsontext.Value) error { return readDate(v, &c.starts) }},
		{"iat", raw.IssuedAt, func(v jsontext.Value) error { return readDate(v, &c.issued) }},
		{"friends", raw.Friends, c.readFriends},
		{"topics", raw.Topics, c.readTopics},
		{"may_join", raw.Join, func(v jsontext.Value) error { return readPatterns(v, &c.topics.MayJoin) }},
		{"may_publish", raw.Publish, func(v jsontext.Value) error { return readPatterns(v, &c.topics.MayPublish) }},
	} {
		if err := r.read(r.text); err != nil {
			bad = append(bad, r.name+": "+err.Error())
		}
	}
	if len(bad) > 0 {
		return ErrBadClaims.because("%s", strings.Join(bad, "; "))
	}
	return nil
}

// repeated returns the claim that err says is there more than once.
func repeated(err error) (name string, ok bool) {
	if !errors.Is(err, jsontext.ErrDuplicateName) {
		return "", false
	}
	at, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return "a claim", true
	}
	return strconv.QuoteToASCII(at.JSONPointer.LastToken()), true
}

// missing reports whether a claim is not there; null counts as such.
func missing(v jsontext.Value) bool { return len(v) == 0 || v.Kind() == 'n' }

func readString(v jsontext.Value, out *string) error {
	if missing(v) {
		return nil
	}
	if v.Kind() != '"' {
		return errors.New("want a string")
	}
	return json.Unmarshal(v, out, jsontext.AllowInvalidUTF8(true))
}

// readSubject takes a string, or an integer as it is written: many account
// services sign the number that their database gave the player.
func (c *claims) readSubject(v jsontext.Value) error {
	if missing(v) {
		return errors.New("missing")
	}
	var text string
	switch v.Kind() {
	case '"':
		if err := readString(v, &text); err != nil {
			return err
		}
	case '0':
		text = string(v)
		if strings.ContainsAny(text, ".eE") || text == "-0" {
			return errors.New("want a string, or an integer without fraction and exponent")
		}
	default:
		return errors.New("want a string or an integer")
	}
	c.user = hub.UserID(text)
	return c.user.Check()
}

func (c *claims) readService(v jsontext.Value) error {
	var text string
	if err := readString(v, &text); err != nil || text == "" {
		return err
	}
	c.service = hub.Service(text)
	return c.service.Check()
}

func (c *claims) readFriends(v jsontext.Value) error {
	if !c.wantsFriends || missing(v) {
		return nil
	}
	list := []hub.UserID{}
	if err := json.Unmarshal(v, &list, jsontext.AllowInvalidUTF8(true)); err != nil {
		return errors.New("want a list of strings")
	}
	var field *hub.FieldError
	if err := hub.CheckFriends(c.user, list); errors.As(err, &field) {
		return errors.New(field.Detail)
	}
	c.friends = list
	return nil
}

func (c *claims) readAudience(v jsontext.Value) error {
	if missing(v) {
		return nil
	}
	list := []string{""}
	var err error
	if v.Kind() == '"' {
		err = readString(v, &list[0])
	} else {
		err = json.Unmarshal(v, &list, jsontext.AllowInvalidUTF8(true))
	}
	if err != nil {
		return errors.New("want a string or a list of strings")
	}
	c.audience = list
	return nil
}

func (c *claims) readTopics(v jsontext.Value) error {
	if missing(v) {
		return nil
	}
	if err := json.Unmarshal(v, &c.topics.Member); err != nil {
		return errors.New("want a list of topics")
	}
	var field *hub.FieldError
	if err := hub.CheckTopics(c.topics.Member); errors.As(err, &field) {
		return errors.New(field.Detail)
	}
	return nil
}

func readPatterns(v jsontext.Value, out *hub.TopicPatterns) error {
	if missing(v) {
		return nil
	}
	if err := json.Unmarshal(v, out); err != nil {
		return errors.New("want a list of topics, or of beginnings and a star")
	}
	return out.Check()
}

// lastDate is the end of the year 9999, in seconds. What is later was meant in
// milliseconds, and would never expire.
const lastDate = 253402300799

func readDate(v jsontext.Value, out **jwt.NumericDate) error {
	if missing(v) {
		return nil
	}
	if v.Kind() != '0' {
		return errors.New("want a number of seconds")
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	if err != nil || math.Abs(seconds) > lastDate {
		return errors.New("beyond the year 9999: want seconds, not milliseconds")
	}
	whole, part := math.Modf(seconds)
	*out = &jwt.NumericDate{Time: time.Unix(int64(whole), int64(part*1e9))}
	return nil
}

// reasonOf names what the validator found. Claims that are wrong whenever the
// token is used go before those that are wrong at the moment.
func (c *claims) reasonOf(err error, cfg *Config) error {
	var bad []string
	if errors.Is(err, jwt.ErrTokenRequiredClaimMissing) {
		bad = c.lacking(cfg)
	}
	if errors.Is(err, jwt.ErrTokenInvalidAudience) {
		bad = append(bad, "aud: names others than this server")
	}
	if errors.Is(err, jwt.ErrTokenInvalidIssuer) {
		bad = append(bad, "iss: not the issuer that this server trusts")
	}
	switch {
	case len(bad) > 0:
		return ErrBadClaims.because("%s", strings.Join(bad, "; "))
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired.because("exp was %v ago", since(c.expires))
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return ErrNotYetValid.because("nbf is in %v", -since(c.starts))
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return ErrNotYetValid.because("iat is in %v", -since(c.issued))
	}
	return fmt.Errorf("%w: %w", ErrBadClaims, err)
}

// lacking names the claims that cfg requires and that are not there.
func (c *claims) lacking(cfg *Config) (out []string) {
	if c.expires == nil && !cfg.AllowNoExpiry {
		out = append(out, "exp: missing")
	}
	if cfg.Audience != "" && len(c.audience) == 0 {
		out = append(out, "aud: missing")
	}
	if cfg.Issuer != "" && c.issuer == "" {
		out = append(out, "iss: missing")
	}
	return out
}

func since(d *jwt.NumericDate) time.Duration { return time.Since(d.Time).Round(time.Second) }
