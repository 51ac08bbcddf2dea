package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

// Permanent reports whether an error of Dial, Receive or Run will not pass
// with time: the server refused this client, somebody ended the connection on
// purpose, or one side does not speak the protocol. The package's comment has
// the list. HTTP 401 is not among them, since a fresh token may be accepted;
// ErrTokenRefused is.
func Permanent(err error) bool {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return permanentStatus(r.Status) || errors.Is(err, ErrTokenRefused)
	}
	switch CloseCode(err) {
	case 1000, 4003, 4010: // on purpose, or another device has come instead
		return true
	case 1002, 1003, 1007, 1008, 1009, 1010: // the protocol, or policy
		return true
	}
	return errors.Is(err, ErrProtocol) || errors.Is(err, ErrAddress) || errors.Is(err, ErrTokenRefused)
}

// permanentStatus reports whether an HTTP status says that the client is at
// fault, and not its token or the moment.
func permanentStatus(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}

// Backoff decides how long to wait before the next dial. The zero value is
// ready for use. It is not safe for concurrent use.
type Backoff struct {
	Longest time.Duration // at most, of what a server asks for; not above 0: 2 min

	failures int // in a row
}

const (
	firstPause = 250 * time.Millisecond
	longestPow = 7 // 250 ms << 7 = 32 s
	restart    = time.Second
	overloaded = 5 * time.Second
	steady     = 10 * time.Second // a connection that lasted this long was no failure
)

// Next returns the pause after err, all of it jittered so that clients which
// lost the same server do not return together: what is left of hint's when
// there is one; a little more than a refusal asks for; about a second after
// close code 1012; about five after 1013, HTTP 429 and 503; else 250 ms,
// doubled at each failure in a row up to half a minute. Hints and 1012 do not
// shorten the pause of a client that fails again and again.
func (b *Backoff) Next(err error, hint *Reconnect) time.Duration {
	b.failures++
	switch code := CloseCode(err); {
	case hint != nil:
		return max(b.afterHint(hint), b.grown(b.failures-1))
	case asked(err) > 0:
		told := max(min(asked(err), b.longest()), restart)
		return told + jitter(told/10+restart)
	case code == 1012:
		return max(jitter(2*restart), b.grown(b.failures-1))
	case code == 1013 || unavailable(err):
		return overloaded/2 + jitter(overloaded)
	}
	return b.grown(b.failures)
}

// afterHint is what is left of hint's wait, and up to a tenth of it, or a
// quarter of a second, more.
func (b *Backoff) afterHint(hint *Reconnect) time.Duration {
	return min(hint.left(), b.longest()) + jitter(max(min(hint.After, b.longest())/10, firstPause))
}

// grown is the pause after so many failures in a row; 0 after none.
func (b *Backoff) grown(failures int) time.Duration {
	if failures < 1 {
		return 0
	}
	pause := firstPause << min(failures-1, longestPow)
	return pause/2 + jitter(pause)
}

func (b *Backoff) longest() time.Duration { return positive(b.Longest, defaultLongestWait) }

// asked is how long a refusal asks to wait.
func asked(err error) time.Duration {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return r.After
	}
	return 0
}

// unavailable reports whether the server said that it cannot serve just now.
func unavailable(err error) bool {
	r, ok := errors.AsType[*RefusedError](err)
	return ok && (r.Status == http.StatusServiceUnavailable || r.Status == http.StatusTooManyRequests)
}

// Reset forgets past failures; call it after a connection that lasted.
func (b *Backoff) Reset() { b.failures = 0 }

// jitter draws from 0 up to and without d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// sleep waits for d, or reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
