package redisx

import (
	"errors"
	"strings"
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

// A successor is a master whose history begins where the voted master's ends,
// and which a Sentinel promotes or has promoted.
func TestElectSuccessor(t *testing.T) {
	t.Parallel()
	const zeros = "0000000000000000000000000000000000000000"
	lives := func(role, replID, replID2 string) *member {
		m := answering(role)
		m.known.replID, m.known.replID2 = replID, replID2
		return m
	}
	dead := func(m *member) *member {
		m.health.failures = 9
		return m
	}
	three := func(promoted string, masters ...string) map[string]opinion {
		o := map[string]opinion{}
		for i, m := range masters {
			o[string(rune('1'+i))] = opinion{master: m}
		}
		o["1"] = opinion{master: masters[0], promoted: promoted}
		return o
	}
	type members = map[string]*member
	for name, c := range map[string]struct {
		opinions map[string]opinion
		members  members
		heirs    map[string]string
		want     string
	}{
		"promoted, not named yet":        {three("b", "a", "a", "a"), members{"a": lives(roleMaster, "1", zeros), "b": lives(roleMaster, "2", "1")}, nil, "b"},
		"named by one Sentinel":          {three("", "b", "a", "a"), members{"a": lives(roleMaster, "1", zeros), "b": lives(roleMaster, "2", "1")}, nil, "b"},
		"chosen, still a replica":        {three("b", "a", "a", "a"), members{"a": lives(roleMaster, "1", zeros), "b": lives(roleReplica, "1", zeros)}, nil, "a"},
		"made a master by hand":          {three("", "a", "a", "a"), members{"a": lives(roleMaster, "1", zeros), "b": lives(roleMaster, "2", "1")}, nil, "a"},
		"by hand, beside a promotion":    {three("c", "a", "a", "a"), members{"a": lives(roleMaster, "1", zeros), "b": lives(roleMaster, "2", "1"), "c": lives(roleReplica, "1", zeros)}, nil, "a"},
		"of a dead master":               {three("b", "a", "a", "a"), members{"a": dead(lives(roleMaster, "1", zeros)), "b": lives(roleMaster, "2", "1")}, nil, "b"},
		"dead itself":                    {three("b", "a", "a", "a"), members{"a": lives(roleMaster, "1", zeros), "b": dead(lives(roleMaster, "2", "1"))}, nil, "a"},
		"the old master, after the vote": {three("", "b", "b", "b"), members{"a": lives(roleMaster, "1", zeros), "b": lives(roleMaster, "2", "1")}, nil, "b"},
		"an empty master of old":         {three("", "b", "b", "a"), members{"a": lives(roleMaster, "9", zeros), "b": lives(roleMaster, "2", "1")}, nil, "b"},
		"two empty masters":              {three("b", "a", "a", "a"), members{"a": lives(roleMaster, "1", zeros), "b": lives(roleMaster, "2", zeros)}, nil, "a"},
		"a master without history":       {three("b", "a", "a", "a"), members{"a": lives(roleMaster, "", ""), "b": lives(roleMaster, "2", "")}, nil, "a"},
		"two failovers ahead":            {three("c", "a", "a", "b"), members{"a": lives(roleMaster, "1", zeros), "b": lives(roleMaster, "2", "1"), "c": lives(roleMaster, "3", "2")}, nil, "c"},
		"there and back":                 {three("a", "b", "b", "b"), members{"a": lives(roleMaster, "3", "2"), "b": lives(roleMaster, "2", "1")}, nil, "a"},
		"the dead one came back empty":   {three("b", "a", "a", "a"), members{"a": lives(roleMaster, "9", zeros), "b": lives(roleMaster, "2", "1")}, map[string]string{"a": "b"}, "b"},
		"and the promotion was given up": {three("", "a", "a", "a"), members{"a": lives(roleMaster, "9", zeros), "b": lives(roleMaster, "2", "1")}, map[string]string{"a": "b"}, "a"},
		"a memory that makes a circle":   {three("b", "a", "a", "b"), members{"a": lives(roleMaster, "3", "2"), "b": lives(roleMaster, "2", "1")}, map[string]string{"a": "b", "b": "a"}, "a"},
	} {
		heirs := c.heirs
		if heirs == nil {
			heirs = map[string]string{}
		}
		if got := elect(c.opinions, c.members, "a", heirs); got != c.want {
			t.Errorf("%s: elected %q, want %q", name, got, c.want)
		}
	}
	heirs := map[string]string{}
	both := members{"a": lives(roleMaster, "1", zeros), "b": lives(roleMaster, "2", "1")}
	elect(three("b", "a", "a", "a"), both, "a", heirs)
	if heirs["a"] != "b" {
		t.Errorf("heirs %v after a succession", heirs)
	}
	elect(three("", "b", "b", "b"), both, "b", heirs)
	if len(heirs) > 0 {
		t.Errorf("heirs %v after the Sentinels have agreed", heirs)
	}
}

// How many servers may be the next master.
func TestCopies(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	replica := func(change func(*member)) *member {
		m := answering(roleReplica)
		m.addr, m.healthy, m.copied = "r", true, ago(time.Second)
		if change != nil {
			change(m)
		}
		return m
	}
	sick := func(change func(*member)) *member {
		return replica(func(m *member) {
			m.healthy = false
			change(m)
		})
	}
	promotedAlready := func(m *member) {
		m.known.role, m.known.replID, m.known.replID2 = roleMaster, "new", "h"
		m.copied, m.met = time.Time{}, ago(2*time.Second)
	}
	for name, c := range map[string]struct {
		r     *member
		fed   time.Time
		feeds []string
		want  int
	}{
		"no replica, ever":                     {nil, time.Time{}, nil, 0},
		"gone for a moment":                    {nil, ago(9 * time.Second), nil, 1},
		"gone for long":                        {nil, ago(11 * time.Second), nil, 0},
		"healthy":                              {replica(nil), now, nil, 1},
		"healthy and fed":                      {replica(nil), now, []string{"r"}, 1},
		"fed under another address":            {replica(nil), now, []string{"other"}, 1},
		"and one that we do not know":          {replica(nil), now, []string{"r", "other"}, 2},
		"being promoted":                       {sick(func(m *member) { m.known.role, m.known.replID = roleMaster, "new" }), now, []string{"other"}, 1},
		"made a master long ago":               {sick(func(m *member) { m.known.role, m.known.replID, m.copied = roleMaster, "new", ago(11*time.Second) }), time.Time{}, nil, 0},
		"promoted before we came":              {sick(promotedAlready), time.Time{}, nil, 1},
		"an old master, not turned yet":        {sick(func(m *member) { promotedAlready(m); m.known.replID2 = "0" }), time.Time{}, nil, 0},
		"follows the one before":               {sick(func(m *member) { m.known.replID = "before" }), time.Time{}, nil, 1},
		"restarted, synchronizing":             {sick(func(m *member) { m.known.replID, m.copied = "new", time.Time{} }), time.Time{}, nil, 1},
		"its link is down":                     {sick(func(m *member) { m.known.linked = false }), time.Time{}, nil, 1},
		"down for the Sentinels, but fed":      {sick(func(*member) {}), now, []string{"r"}, 1},
		"lags":                                 {sick(func(m *member) { m.lagging = true }), time.Time{}, []string{"r"}, 1},
		"dead, and the master has not noticed": {sick(func(m *member) { m.health = health{failures: 1, refused: true} }), time.Time{}, []string{"r"}, 0},
	} {
		f := &topologyWatcher{fed: c.fed, members: map[string]*member{}}
		master := answering(roleMaster)
		master.addr, master.known.replicas = "m", c.feeds
		f.members["m"] = master
		if c.r != nil {
			f.members["r"] = c.r
		}
		if got := f.copies(master, now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	// Beside a healthy one that the master feeds.
	for name, c := range map[string]struct {
		other *member
		want  int
	}{
		"healthy":            {replica(nil), 2},
		"lags":               {sick(func(m *member) { m.lagging = true }), 1},
		"its link is down":   {sick(func(m *member) { m.known.linked = false }), 1},
		"synchronizes":       {sick(func(m *member) { m.known.replID, m.copied = "new", time.Time{} }), 1},
		"promoted":           {sick(func(m *member) { m.known.role, m.known.replID = roleMaster, "new" }), 2},
		"promoted, and dead": {sick(func(m *member) { m.known.role, m.known.replID, m.health.failures = roleMaster, "new", 2 }), 1},
		"promoted long ago":  {sick(func(m *member) { m.known.role, m.known.replID, m.copied = roleMaster, "new", ago(11*time.Second) }), 1},
		"before we came":     {sick(promotedAlready), 2},
		// The Sentinels saw it lose its connections before we looked.
		"down for the Sentinels, not fed any more": {sick(func(*member) {}), 2},

		"follows another yet": {sick(func(m *member) { m.known.replID = "before" }), 2},
	} {
		master := answering(roleMaster)
		master.known.replicas = []string{"r"}
		f := &topologyWatcher{members: map[string]*member{"m": master, "r": replica(nil), "other": c.other}}
		if got := f.copies(master, now); got != c.want {
			t.Errorf("beside a healthy one, %s: %d, want %d", name, got, c.want)
		}
	}
}

// A replica is left when it lags by more than the limit, and comes back when
// it has caught up to half of it; what cannot be told changes nothing.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	master, other := answering(roleMaster), answering(roleMaster)
	other.known.replID = "other"
	m := answering(roleReplica)
	for i, step := range []struct {
		master *member
		lag    time.Duration
		want   bool
	}{
		{master, maxLag, false},
		{master, maxLag + 1, true},
		{master, maxLag, true},
		{master, maxLag/2 + 1, true},
		{nil, 0, true},
		{master, maxLag / 2, false},
		{master, maxLag/2 + 1, false},
		{nil, time.Minute, false},
		{master, time.Minute, true},
		{other, time.Minute, false}, // it follows another history: nobody can tell
	} {
		m.catchUp(step.master, step.lag)
		if m.lagging != step.want {
			t.Fatalf("step %d: lagging is %v", i, m.lagging)
		}
	}
	m.lagging = true
	if why := judge(m, master, false, 4*time.Second); why != "lags behind by 4s" {
		t.Errorf("it is left because %q", why)
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
	p.parse("# Replication\r\nrole:slave\r\nmaster_link_status:up\r\nslave_repl_offset:41\r\nmaster_replid:abc\r\nmaster_replid2:def\r\nmaster_repl_offset:42\r\n")
	p.parse("# Server\r\nrun_id:xyz\r\n")
	if p.role != roleReplica || !p.linked || p.replID != "abc" || p.replID2 != "def" || p.offset != 42 || p.runID != "xyz" || p.memory != nil {
		t.Errorf("%+v", p)
	}
	p = probe{}
	p.parse("role:master\r\nconnected_slaves:2\r\n" +
		"slave0:ip=127.0.0.1,port=20000,state=online,offset=14,lag=0\r\n" +
		"slave1:ip=127.0.0.1,port=20001,state=wait_bgsave,offset=0,lag=0\r\n" +
		"slave2:ip=::1,port=20002,state=online,offset=14,lag=1\r\n")
	p.parse("# Memory\r\nused_memory:1000\r\nused_memory_human:1K\r\nmaxmemory:4000\r\nmaxmemory_policy:volatile-ttl\r\n")
	if got := strings.Join(p.replicas, " "); got != "127.0.0.1:20000 [::1]:20002" {
		t.Errorf("replicas %s, want those that are online", got)
	}
	if m := p.memory; m == nil || m.used != 1000 || m.limit != 4000 || !m.evicts() {
		t.Errorf("memory %+v", m)
	}
	if (&memory{limit: 1, policy: "noeviction"}).evicts() || (&memory{policy: "allkeys-lru"}).evicts() {
		t.Error("a server that evicts nothing, or has no limit, is said to evict")
	}
}
