package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/homing/homing/client/conformance"
)

// party is one agent and the clients that it runs.
type party struct {
	agent     *conformance.Agent
	travelers []*traveler
}

// traveler is one client, and what it was given.
type traveler struct {
	user string

	mu        sync.Mutex
	next      int             // number of the notification that it must be given next
	heard     map[string]int  // what was published, by who and how often
	published map[string]bool // of its own, answered
	states    []string        // each, and how often in a row
	state     string
	ends      map[string]int // close codes that led to waiting
	faults    []string
}

// maxFaults bounds what is told of one client.
const maxFaults = 5

func (t *traveler) fault(format string, args ...any) {
	if len(t.faults) < maxFaults {
		t.faults = append(t.faults, t.user+": "+fmt.Sprintf(format, args...))
	}
}

// listen takes what the agent says until it ends.
func (p *party) listen(ctx context.Context) {
	for {
		m, err := p.agent.Next(ctx)
		if err != nil {
			return
		}
		i, _ := m["client"].(float64) // none: the first
		if int(i) < len(p.travelers) {
			p.travelers[int(i)].take(m)
		}
	}
}

func (t *traveler) take(m map[string]any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch m["event"] {
	case "notify":
		t.given(m)
	case "state":
		t.state, _ = m["state"].(string)
		t.states = append(t.states, t.state)
		if t.state == "waiting" {
			t.ends[fmt.Sprint(firstOf(m["code"], m["status"], "lost"))]++
		}
	case "resumed":
		if m["recovered"] != true {
			t.fault("not recovered")
		}
	case "published":
		t.published[fmt.Sprint(m["as"])] = true
	case "refused":
		t.fault("refused: %v", m)
	}
}

func firstOf(all ...any) any {
	for _, x := range all {
		if x != nil {
			return x
		}
	}
	return nil
}

func (t *traveler) given(m map[string]any) {
	data, _ := m["data"].(map[string]any)
	if said, ok := data["said"].(string); ok {
		if t.heard[said]++; t.heard[said] > 1 {
			t.fault("%s is heard again", said)
		}
		return
	}
	n, ok := data["n"].(float64)
	switch {
	case !ok:
		t.fault("a notification of nobody's: %v", m)
	case int(n) != t.next:
		t.fault("given %d, want %d", int(n), t.next)
		t.next = max(t.next, int(n)+1)
	default:
		t.next++
	}
}

// path is the sequence of states, with what repeats counted.
func (t *traveler) path() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	s := t.states
	for i := 0; i < len(s); {
		for size := 4; size >= 1; size-- { // the rounds of a reconnect
			n := rounds(s[i:], size)
			if n > 1 || size == 1 {
				if n > 1 {
					fmt.Fprintf(&b, " (%s)×%d", strings.Join(s[i:i+size], " "), n)
				} else {
					b.WriteString(" " + s[i])
				}
				i += n * size
				break
			}
		}
	}
	return strings.TrimSpace(b.String())
}

// rounds is how often s begins with its first size words.
func rounds(s []string, size int) (n int) {
	for (n+1)*size <= len(s) {
		for k := range size {
			if s[n*size+k] != s[k] {
				return n
			}
		}
		n++
	}
	return n
}
