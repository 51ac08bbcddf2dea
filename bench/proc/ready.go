package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// pollInterval is how often the state of a starting process is looked at.
const pollInterval = 50 * time.Millisecond

var errNotReady = errors.New("not ready")

// WaitReady polls url until it answers 200, the process ends, or ctx does.
func (p *Process) WaitReady(ctx context.Context, url string) error {
	return p.WaitFor(ctx, func() error { return probe(ctx, url) })
}

// WaitFor calls ready until it returns nil, the process ends, or ctx does.
func (p *Process) WaitFor(ctx context.Context, ready func() error) error {
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it was ready; its log ends:\n%s", p.name, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last: %w); its log ends:\n%s", p.name, ctx.Err(), err, p.Tail())
		case <-time.After(pollInterval):
		}
	}
}

// probe asks once.
func probe(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("probe %s: %w", url, err)
	}
	req.Close = true
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return fmt.Errorf("probe %s: %w", url, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // only for the message
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s: HTTP %d %s", errNotReady, url, resp.StatusCode, body)
	}
	return nil
}
