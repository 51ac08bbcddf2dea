package redisx

import (
	"errors"
	"testing"
	"time"
)

// answering is a member that answered with the role at its last look.
func answering(role string) *member {
	return &member{node: &node{addr: "x"}, asked: true, known: probe{role: role, linked: true, replID: "h"}}
}

func silent(failures int) *member {
	m := answering(roleMaster)
	m.health.failures, m.lastErr = failures, errors.New("timeout")
	return m
}

func TestElect(t *testing.T) {
	t.Parallel()
	says := func(masters ...string) map[string]opinion {
		o := map[string]opinion{}
		for i, m := range masters {
			o[string(rune('1'+i))] = opinion{master: m}
		}
		return o
	}
	for name, c := range map[string]struct {
		opinions map[string]opinion
		members  map[string]*member
		current  string
		want     string
	}{
		"nobody speaks":                             {says(), nil, "", ""},
		"first":                                     {says("a"), nil, "", "a"},
		"most votes":                                {says("a", "b", "b"), nil, "a", "b"},
		"an isolated old master that answers":       {says("a", "b", "b"), map[string]*member{"a": answering(roleMaster), "b": silent(9)}, "b", "b"},
		"tie: the one that answers as a master":     {says("a", "b"), map[string]*member{"a": silent(2), "b": answering(roleMaster)}, "a", "b"},
		"tie: a replica does not count as a master": {says("a", "b"), map[string]*member{"b": answering(roleReplica)}, "a", "a"},
		"tie: the current one":                      {says("a", "b"), nil, "b", "b"},
	} {
		if got := elect(c.opinions, c.members, c.current, map[string]string{}); got != c.want {
			t.Errorf("%s: elected %q, want %q", name, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	master := answering(roleMaster)
	change := func(f func(*member)) *member {
		m := answering(roleReplica)
		f(m)
		return m
	}
	for name, c := range map[string]struct {
		m       *member
		master  *member
		shunned bool
		healthy bool
	}{
		"healthy":                       {answering(roleReplica), master, false, true},
		"healthy while no master is up": {answering(roleReplica), nil, false, true},
		"one failure is forgiven":       {change(func(m *member) { m.health.failures = 1 }), master, false, true},
		"two are not":                   {change(func(m *member) { m.health.failures = 2 }), master, false, false},
		"nor is a refusal":              {change(func(m *member) { m.health = health{failures: 1, refused: true} }), master, false, false},
		"not asked":                     {change(func(m *member) { m.asked = false }), master, false, false},
		"promoted":                      {answering(roleMaster), master, false, false},
		"link down":                     {change(func(m *member) { m.known.linked = false }), master, false, false},
		"another history":               {change(func(m *member) { m.known.replID = "other" }), master, false, false},
		"down for the Sentinels":        {answering(roleReplica), master, true, false},
	} {
		if got := judge(c.m, c.master, c.shunned, 0); (got == "") != c.healthy {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestShunned(t *testing.T) {
	t.Parallel()
	up, down := []replicaOpinion{{"r", true}}, []replicaOpinion{{"r", false}}
	for _, c := range []struct {
		says []([]replicaOpinion)
		want bool
	}{
		{nil, false},
		{[][]replicaOpinion{up, up, down}, false},
		{[][]replicaOpinion{up, down}, false},
		{[][]replicaOpinion{up, down, down}, true},
		{[][]replicaOpinion{nil, nil, down}, true},
	} {
		o := map[string]opinion{}
		for i, r := range c.says {
			o[string(rune('1'+i))] = opinion{replicas: r}
		}
		if got := shunned(o, "r"); got != c.want {
			t.Errorf("%v: %v", c.says, got)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	long := time.Now().Add(-time.Minute)
	m := Node{Addr: "m", Role: Master, Healthy: true, since: long}
	a := Node{Addr: "a", Role: Replica, Healthy: true, since: long}
	fresh := Node{Addr: "a", Role: Replica, Healthy: true, since: time.Now()}
	sick := Node{Addr: "a", Role: Replica}
	deadMaster := Node{Addr: "m", Role: Master}
	for name, c := range map[string]struct {
		nodes   []Node
		current string
		avoid   string
		to      string
		reason  string
	}{
		"a replica first":                    {[]Node{a, m}, "", "", "a", moveVanished},
		"the master without replicas":        {[]Node{m}, "", "", "m", moveVanished},
		"the master while replicas are sick": {[]Node{sick, m}, "", "", "m", moveVanished},
		"not the one that failed":            {[]Node{a, m}, "", "a", "m", moveVanished},
		"rather that than nothing":           {[]Node{a}, "", "a", "a", moveVanished},
		"nothing to be had":                  {[]Node{sick, deadMaster}, "", "", "", ""},
		"stay at a healthy replica":          {[]Node{a, m}, "a", "", "", ""},
		"leave a sick replica":               {[]Node{sick, m}, "a", "", "m", moveUnhealthy},
		"but not for nothing":                {[]Node{sick, deadMaster}, "a", "", "", ""},
		"leave one that is gone":             {[]Node{a, m}, "b", "", "a", moveVanished},
		"back to a settled replica":          {[]Node{a, m}, "m", "", "a", moveReplica},
		"not to a fresh one":                 {[]Node{fresh, m}, "m", "", "", moveReplica},
	} {
		to, reason := choose(c.nodes, c.current, func(addr string) bool { return addr == c.avoid })
		switch {
		case to == nil && c.to != "", to != nil && to.Addr != c.to:
			t.Errorf("%s: %v, want %q", name, to, c.to)
		case to != nil && reason != c.reason:
			t.Errorf("%s: reason %s, want %s", name, reason, c.reason)
		}
	}
}

func TestLag(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	var h history
	for i := range historySize + 10 { // 100 bytes a second, more than it keeps
		h.add(at(float64(i)), int64(i)*100)
	}
	for _, c := range []struct {
		second float64
		offset int64
		bytes  int64
		lag    time.Duration
	}{
		{60.5, 6000, 0, 0},
		{60.5, 6050, 0, 0},                              // ahead of what we saw of the master
		{59.9, 5900, 0, 0},                              // asked before the master's next sample
		{60.5, 5950, 50, 500 * time.Millisecond},        // it lacks the newest sample
		{60.5, 5800, 200, 1500 * time.Millisecond},      // and the one before
		{60.5, 0, 6000, 50*time.Second + time.Second/2}, // for longer than we remember
	} {
		bytes, lag := h.lag(at(c.second), c.offset)
		if bytes != c.bytes || lag != c.lag {
			t.Errorf("offset %d at %v: %d bytes, %s; want %d, %s", c.offset, c.second, bytes, lag, c.bytes, c.lag)
		}
	}
	var none history
	if bytes, lag := none.lag(start, 0); bytes != 0 || lag != 0 {
		t.Errorf("without history: %d, %s", bytes, lag)
	}
}

func TestParseInfo(t *testing.T) {
	t.Parallel()
	var p probe
	p.parse("# Replication\r\nrole:slave\r\nmaster_link_status:up\r\nmaster_replid:abc\r\nmaster_repl_offset:42\r\n")
	p.parse("# Server\r\nrun_id:xyz\r\n")
	if p.role != roleReplica || !p.linked || p.replID != "abc" || p.offset != 42 || p.runID != "xyz" {
		t.Errorf("%+v", p)
	}
}
