package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/homing/homing/hub/hook"
)

// Config says where events are sent. Without a URL nothing is sent.
type Config struct {
	URL           string        `name:"url" help:"Where events are posted, http or https. Empty: this server sends none, but for what --hook-endpoints says." placeholder:"URL"`
	SecretFile    string        `help:"File of the secrets that sign them, one a line, each whsec_ and base64; 'homing hook secret' makes one. Each event is signed with all of them. Changes are noticed." type:"path" placeholder:"FILE"`
	Format        string        `help:"What is posted: json, events as docs/hooks.md describes them; or slack, a message in words for a chat, which needs no secret." default:"json" placeholder:"json|slack"`
	Timeout       time.Duration `help:"How long a request may take." default:"15s"`
	ForbidPrivate bool          `help:"Connect to public addresses alone, whatever a name resolves to, and through no proxy. For operators who let others say where events are sent."`

	Secret string `kong:"-"` // instead of SecretFile
}

// maxTimeout bounds Config.Timeout.
const maxTimeout = 2 * time.Minute

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	if c.URL == "" {
		return nil
	}
	if field, err := c.problem(); err != nil {
		return fmt.Errorf("--hook-%s: %w", field, err)
	}
	return nil
}

// problem is the first option that cannot work, and why. No error quotes more of a URL
// than its scheme and host.
func (c *Config) problem() (field string, err error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return "url", errURL // the reason quotes it
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "url", fmt.Errorf("%q: want http://host or https://host", origin(u))
	case u.Fragment != "":
		return "url", fmt.Errorf("%q: want no fragment", origin(u))
	case !slices.Contains([]string{"", formatJSON, formatSlack}, c.Format):
		return "format", fmt.Errorf("%q: want json or slack", c.Format)
	case c.Timeout < 100*time.Millisecond || c.Timeout > maxTimeout:
		return "timeout", fmt.Errorf("%v: want 100ms to %v", c.Timeout, maxTimeout)
	}
	return "secret-file", c.secretProblem()
}

// secretProblem says why events cannot be signed.
func (c *Config) secretProblem() error {
	switch {
	case c.SecretFile == "" && c.Secret == "" && c.Format != formatSlack:
		return errors.New("none given: events are signed")
	case c.SecretFile != "" && c.Secret != "":
		return errors.New("a secret is given beside it")
	}
	return nil
}

var errURL = errors.New("not a URL")

// origin is what may be said of u: user, path and query may hold secrets.
func origin(u *url.URL) string { return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() }

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
	chat   *chat // nil: events are posted as they are
	log    *slog.Logger

	mu      sync.Mutex
	signers signers
	file    []byte    // as last read
	read    time.Time // when
}

// New returns the backend that c names, which must be valid and have a URL. It
// reads the file of secrets. Close it.
func New(c Config, log *slog.Logger) (*Endpoint, error) {
	e := &Endpoint{cfg: c, log: log, read: time.Now()}
	var err error
	switch {
	case c.Secret != "":
		e.signers, err = parse([]byte(c.Secret))
	case c.SecretFile != "":
		e.signers, e.file, err = readSecrets(c.SecretFile)
	}
	if err != nil {
		return nil, fmt.Errorf("--hook-secret-file: %w", err)
	}
	e.client = &http.Client{
		Transport:     newTransport(&c),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if c.Format == formatSlack {
		e.chat = newChat(e.send)
	}
	return e, nil
}

// newTransport returns what connects to the endpoint of c. A dial and a handshake do not
// end with the request that began them, because another may use the connection: they
// have a bound of their own, or connections to a host that says nothing would pile up.
// One of HTTP/2 is shared, and stays when a request on it times out: pings find that it
// is dead.
func newTransport(c *Config) *http.Transport {
	dialer := &net.Dialer{Timeout: c.Timeout}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    c.Timeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: c.Timeout, PingTimeout: c.Timeout},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idleMost,
		IdleConnTimeout:        idleFor,
		MaxResponseHeaderBytes: maxHead,
	}
	if c.ForbidPrivate {
		t.Proxy = nil // whom a proxy connects to is not seen here
		dialer.Control = refusePrivate
	}
	return t
}

// Close closes idle connections.
func (e *Endpoint) Close() { e.client.CloseIdleConnections() }

// Post sends an event, or a batch, once. 2xx is delivered, 410 is gone, all else has
// failed; a redirect is not followed.
func (e *Endpoint) Post(ctx context.Context, id string, body []byte) hook.Answer {
	if e.chat != nil {
		return e.chat.post(ctx, id, body)
	}
	return e.send(ctx, id, body)
}

// send makes the request.
func (e *Endpoint) send(ctx context.Context, id string, body []byte) hook.Answer {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	req, err := e.request(ctx, id, body)
	if err != nil {
		return hook.Answer{Err: err}
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return hook.Answer{Why: failure(err), Err: cause(err)}
	}
	defer resp.Body.Close()
	//bound:hook-answer
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what it says is for the log only
	return answer(resp, text, time.Now())
}

func (e *Endpoint) request(ctx context.Context, id string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errURL
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Homing")
	now := time.Now()
	all := e.current(now)
	if len(all) == 0 {
		return req, nil // a chat
	}
	signature, err := all.sign(id, now, body)
	if err != nil {
		return nil, err
	}
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
	why := hook.Refused
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		why = hook.Redirected
	}
	err := fmt.Errorf("%s: %q", resp.Status, text[:min(quoted, len(text))])
	return hook.Answer{Why: why, After: retryAfter(resp.Header.Get("Retry-After"), now), Err: err}
}

// failure says why no response came.
func failure(err error) hook.Failure {
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errPrivate):
		return hook.Private
	case ok && timeout.Timeout():
		return hook.TimedOut
	}
	return hook.Unreachable
}

// cause is err without the URL that net/http puts before it, with all but a password.
func cause(err error) error {
	if of, ok := errors.AsType[*url.Error](err); ok {
		return of.Err
	}
	return err
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
	if e.cfg.SecretFile == "" || now.Sub(e.read) < secretsPoll {
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
