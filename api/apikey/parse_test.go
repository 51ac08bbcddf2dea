package apikey

import (
	"strings"
	"testing"
)

func TestParseErrorsQuoteNoContents(t *testing.T) {
	for text, want := range map[string]string{
		"s3cretOfPlayers":               "line 1: want keys:",
		"keys: {s3cret: 1}":             "line 1: want keys:",
		"keys:\n  - {nam: s3cret}":      "line 2: field nam not found: want keys:",
		"keys: []\n---\nkeys: [s3cret]": "more than one YAML document",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
