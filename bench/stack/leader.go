package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// askLeader is how long one server may take to say whether it leads.
const askLeader = time.Second

// ErrNoLeader says that no server makes a queue's matches now.
var ErrNoLeader = errors.New("no API server makes the queue's matches")

// Leader returns which API server makes the matches of a queue, by its metrics. It
// waits for one until ctx ends.
func (s *APIs) Leader(ctx context.Context, queue string) (int, error) {
	for {
		for i, a := range s.servers {
			if a.running() && leads(ctx, s.Admin(i), queue) {
				return i, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %s: %w", ErrNoLeader, queue, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// running reports whether the process has not ended.
func (a *api) running() bool {
	select {
	case <-a.Exited():
		return false
	default:
		return true
	}
}

// leads reports whether the server says that it leads. One that does not answer does
// not.
func leads(ctx context.Context, admin, queue string) bool {
	ctx, cancel := context.WithTimeout(ctx, askLeader)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/metrics", nil)
	if err != nil {
		return false
	}
	resp, err := scraper.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), fmt.Sprintf("homing_match_leads{queue=%q} ", queue)); ok {
			return value == "1"
		}
	}
	return false
}

// scraper keeps no connections: a server may end between two questions.
var scraper = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
