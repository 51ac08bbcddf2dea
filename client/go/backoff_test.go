package client

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	var b Backoff
	lost := errors.New("lost")
	for i, millis := range []int{250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 32000} {
		got, want := b.Next(lost, nil), time.Duration(millis)*time.Millisecond
		if got < want/2 || got >= want*3/2 {
			t.Errorf("pause %d = %v, want about %v", i, got, want)
		}
	}
	b.Reset()
	if got := b.Next(&CloseError{Code: 1012}, nil); got < 0 || got >= 2*time.Second {
		t.Errorf("after 1012: %v", got)
	}
	if got := b.Next(&CloseError{Code: 1013}, nil); got < 2500*time.Millisecond || got >= 7500*time.Millisecond {
		t.Errorf("after 1013: %v", got)
	}
	if got := b.Next(&RefusedError{Status: 503, After: 20 * time.Second}, nil); got < 20*time.Second || got >= 23*time.Second {
		t.Errorf("after HTTP 503 that asks for 20 s: %v", got)
	}
	if got := b.Next(&RefusedError{Status: 503}, nil); got < 2500*time.Millisecond || got >= 7500*time.Millisecond {
		t.Errorf("after HTTP 503: %v", got)
	}
	b.Reset()
	if got := b.Next(lost, &Reconnect{After: time.Minute}); got > 6*time.Second {
		t.Errorf("after a hint that is long past: %v", got)
	}
	if got := b.Next(lost, &Reconnect{After: time.Minute, read: time.Now()}); got < 59*time.Second || got > 66*time.Second {
		t.Errorf("after a hint: %v", got)
	}
}

func TestAServerCannotMakeAClientWaitForEver(t *testing.T) {
	forever := time.Duration(math.MaxInt64)
	for _, b := range []Backoff{{}, {Longest: 2 * time.Minute}, {Longest: time.Second}} {
		longest := b.longest()
		for name, got := range map[string]time.Duration{
			"Retry-After": b.Next(&RefusedError{Status: 503, After: forever}, nil),
			"after_ms":    b.Next(io.EOF, &Reconnect{After: forever, read: time.Now()}),
		} {
			if got < longest || got > longest*11/10+time.Second {
				t.Errorf("%s: %v, want about %v", name, got, longest)
			}
		}
	}
}

func TestAServerCannotMakeAClientHammer(t *testing.T) {
	for name, next := range map[string]func(b *Backoff) time.Duration{
		"reconnect at once": func(b *Backoff) time.Duration { return b.Next(io.EOF, &Reconnect{}) },
		"1012":              func(b *Backoff) time.Duration { return b.Next(&CloseError{Code: 1012}, nil) },
		"no reason":         func(b *Backoff) time.Duration { return b.Next(io.EOF, nil) },
	} {
		var b Backoff
		var all time.Duration
		for range 20 {
			all += next(&b)
		}
		// 20 failures: eleven of the pauses are 16 s at least.
		if all < 11*16*time.Second {
			t.Errorf("%s: 20 dials in %v", name, all)
		}
	}
	var b Backoff
	for range 20 {
		if got := b.Next(&RefusedError{Status: 503, After: time.Millisecond}, nil); got < time.Second {
			t.Errorf("HTTP 503 that asks for 1 ms: %v", got)
		}
	}
}

// tableRow matches a row of the table "Reconnecting", in the document and in
// the package's comment.
var tableRow = regexp.MustCompile(`(?m)^(?:\||//\t)\s*(.+?)\s*\|\s*(.+?)\s*\|?$`)

// rows returns the table that begins with title, up to the first empty line.
func rows(t *testing.T, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(b), "the connection ended with")
	if !found {
		t.Fatalf("%s: no table", file)
	}
	text, _, _ = strings.Cut(text, "\n//\n")
	text, _, _ = strings.Cut(text, "\n\n")
	out := map[string]string{}
	for _, m := range tableRow.FindAllStringSubmatch(strings.ReplaceAll(text, "`", ""), -1) {
		if !strings.HasPrefix(m[1], "-") {
			out[m[1]] = m[2]
		}
	}
	return out
}

// code matches a close code or an HTTP status.
var code = regexp.MustCompile(`\b[1-9][0-9]{2,3}\b`)

// TestTheTablesAreTrue holds the package's comment and docs/protocol.md to
// each other, and both to what Permanent says.
func TestTheTablesAreTrue(t *testing.T) {
	document, comment := rows(t, "../../docs/protocol.md"), rows(t, "doc.go")
	if len(document) < 8 || fmt.Sprint(document) != fmt.Sprint(comment) {
		t.Errorf("the tables differ:\n%v\n%v", document, comment)
	}
	for when, then := range document {
		final := strings.HasPrefix(then, "not ")
		for _, digits := range code.FindAllString(when, -1) {
			n, _ := strconv.Atoi(digits)
			var err error = &CloseError{Code: n}
			if n < 1000 {
				err = &RefusedError{Status: n}
			}
			if Permanent(err) != final {
				t.Errorf("%v: permanent %t, and the table says: %s", err, Permanent(err), then)
			}
		}
	}
}

func TestPermanent(t *testing.T) {
	for _, err := range []error{
		&CloseError{Code: 1000}, &CloseError{Code: 4003}, &CloseError{Code: 1008}, &CloseError{Code: 1009},
		&RefusedError{Status: 403}, &RefusedError{Status: 426}, ErrProtocol, ErrAddress,
		fmt.Errorf("%w: %w", ErrTokenRefused, &RefusedError{Status: 401}), fmt.Errorf("%w: %w", ErrTokenRefused, ErrTokenFormat),
	} {
		if !Permanent(err) {
			t.Errorf("%v passes with time", err)
		}
	}
	for _, err := range []error{
		&CloseError{Code: 1001}, &CloseError{Code: 1011}, &CloseError{Code: 1012}, &CloseError{Code: 1013},
		&CloseError{Code: 4008}, &CloseError{Code: 4009}, &RefusedError{Status: 503}, &RefusedError{Status: 429}, io.EOF,
		&CloseError{Code: 1005}, &RefusedError{Status: 401}, &RefusedError{Status: 408}, &RefusedError{Status: 425}, &RefusedError{Status: 302}, ErrTokenFormat,
	} {
		if Permanent(err) {
			t.Errorf("%v is permanent", err)
		}
	}
}
