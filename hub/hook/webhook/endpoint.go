package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/homing/homing/hub/hook"
)

// Config says where events are sent. Without a URL nothing is sent.
type Config struct {
	URL        string        `name:"url" help:"Where events are posted, http or https. Empty: this server sends none." placeholder:"URL"`
	SecretFile string        `help:"File of the secrets that sign them, one a line, each whsec_ and base64; 'homing hook secret' makes one. Each event is signed with all of them. Changes are noticed." type:"path" placeholder:"FILE"`
	Timeout    time.Duration `help:"How long a request may take." default:"15s"`
}

// maxTimeout bounds Config.Timeout.
const maxTimeout = 2 * time.Minute

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	if c.URL == "" {
		return nil
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return errors.New("--hook-url: not a URL") // the reason quotes it, and it may have a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("--hook-url: %q: want http://host or https://host", u.Redacted())
	case u.Fragment != "":
		return fmt.Errorf("--hook-url: %q: want no fragment", u.Redacted())
	case c.SecretFile == "":
		return errors.New("--hook-secret-file: none given: events are signed")
	case c.Timeout < 100*time.Millisecond || c.Timeout > maxTimeout:
		return fmt.Errorf("--hook-timeout: %v: want 100ms to %v", c.Timeout, maxTimeout)
	}
	return nil
}

const (
	// secretsPoll is how often the file of secrets is read again.
	secretsPoll = 10 * time.Second
	// maxAnswer is how much of an answer's body is read, and maxHead of its head.
	maxAnswer = 4 << 10
	maxHead   = 16 << 10
	// quoted is how much of it an error quotes.
	quoted = 200
	// idleMost is how many idle connections are kept, and for how long.
	idleMost = 32
	idleFor  = 90 * time.Second
)

// Endpoint is a game backend. It is safe for concurrent use.
type Endpoint struct {
	cfg    Config
	client *http.Client
	log    *slog.Logger

	mu      sync.Mutex
	signers signers
	file    []byte    // as last read
	read    time.Time // when
}

// New returns the backend that c names, which must be valid and have a URL. It
// reads the file of secrets.
func New(c Config, log *slog.Logger) (*Endpoint, error) {
	all, file, err := readSecrets(c.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("--hook-secret-file: %w", err)
	}
	return &Endpoint{
		cfg: c, log: log, signers: all, file: file, read: time.Now(),
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment,
				ForceAttemptHTTP2:      true,
				DisableCompression:     true,
				MaxIdleConnsPerHost:    idleMost,
				IdleConnTimeout:        idleFor,
				MaxResponseHeaderBytes: maxHead,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close closes idle connections.
func (e *Endpoint) Close() { e.client.CloseIdleConnections() }

// Post sends an event once. 2xx is delivered, 410 is gone, all else has failed; a
// redirect is not followed.
func (e *Endpoint) Post(ctx context.Context, id string, body []byte) hook.Answer {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	req, err := e.request(ctx, id, body)
	if err != nil {
		return hook.Answer{Err: err}
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return hook.Answer{Err: err}
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what it says is for the log only
	return answer(resp, text, time.Now())
}

func (e *Endpoint) request(ctx context.Context, id string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("--hook-url: not a URL")
	}
	now := time.Now()
	signature, err := e.current(now).sign(id, now, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Homing")
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return req, nil
}

// answer says what a response means.
func answer(resp *http.Response, text []byte, now time.Time) hook.Answer {
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return hook.Answer{Verdict: hook.Delivered}
	case resp.StatusCode == http.StatusGone:
		return hook.Answer{Verdict: hook.Gone, Err: errors.New(resp.Status)}
	}
	err := fmt.Errorf("%s: %q", resp.Status, text[:min(quoted, len(text))])
	return hook.Answer{After: retryAfter(resp.Header.Get("Retry-After"), now), Err: err}
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// current returns what signs now. It reads the file again now and then; one that
// cannot be used leaves the secrets as they are.
func (e *Endpoint) current(now time.Time) signers {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Sub(e.read) < secretsPoll {
		return e.signers
	}
	e.read = now
	all, file, err := readSecrets(e.cfg.SecretFile)
	switch {
	case err != nil:
		e.log.Warn("hook: the file of secrets cannot be used; those before stay", "err", err)
	case !bytes.Equal(file, e.file):
		e.log.Info("hook: the secrets have changed", "secrets", len(all))
		e.signers, e.file = all, file
	}
	return e.signers
}
