package app

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/bench"
)

// scenarioFlags are the flags of each scenario, those that all have aside.
var scenarioFlags = map[string]string{
	"idle":        "conns clients rate duration " + systemFlags + runningFlags,
	"connect":     "conns clients rate " + systemFlags + runningFlags,
	"clients":     "conns npm " + callFlags + systemFlags,
	"notify":      "conns clients " + callFlags + "peak max-rate limit " + systemFlags + runningFlags,
	"limit":       "conns " + callFlags + "workers bees",
	"broadcast":   "conns clients rate duration payload limit " + systemFlags + runningFlags,
	"topic":       "conns rate duration payload limit " + systemFlags,
	"storm":       "conns apart " + callFlags + systemFlags + runningFlags,
	"slow":        "conns apart " + callFlags + systemFlags + runningFlags,
	"abuse":       "conns kinds " + callFlags + systemFlags,
	"soak":        "conns " + callFlags + systemFlags + runningFlags,
	"growth":      "conns max-rate by steps " + callFlags + systemFlags,
	"peers":       "conns max-rate peers rooms topics " + callFlags + playFlags + systemFlags,
	"room":        playFlags + systemFlags,
	"match":       "rate seconds cancel kill failover workers apis shards admit-rate replicas binary log-dir",
	"assign":      "conns apis shards admit-rate replicas binary log-dir",
	"friends":     "conns logins friends friends-online " + callFlags + systemFlags,
	"homing-2014": "rate duration payload max-rate scale phase " + systemFlags,
	"relay":       "conns " + callFlags + systemFlags,
}

const (
	callFlags    = "targets online rate duration payload "
	playFlags    = "size hz players says seconds binary-frames no-gather beside peak max-players "
	systemFlags  = "workers bees apis shards admit-rate replicas binary log-dir "
	runningFlags = "api front api-key-file secret-file agents agent-secret-file "
)

func benchParser(t *testing.T) *kong.Kong {
	t.Helper()
	var c struct {
		Bench benchCmd `cmd:""`
	}
	p, err := kong.New(&c, kong.Name("homing"), kong.Writers(io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScenariosKnowTheirOwnFlagsOnly(t *testing.T) {
	var names []string
	for _, node := range benchParser(t).Model.Children[0].Children {
		if node.Name == "agent" || node.Name == "echo" || node.Name == "socketio" {
			continue
		}
		names = append(names, node.Name)
		var got []string
		for _, f := range node.Flags {
			got = append(got, f.Name)
		}
		want := append(strings.Fields(scenarioFlags[node.Name]), "json", "html")
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("bench %s has %v, want %v", node.Name, got, want)
		}
	}
	all := bench.Names()
	slices.Sort(names)
	slices.Sort(all)
	if !slices.Equal(names, all) {
		t.Errorf("commands %q, scenarios %q", names, all)
	}
}

func TestScenariosRefuse(t *testing.T) {
	for args, want := range map[string]string{
		"idle --kinds acks":    "unknown flag --kinds",
		"notify --scale 2":     "unknown flag --scale",
		"growth --api http://": "unknown flag --api",
		"notify --online 301":  "--online: 301",
		"limit --workers 257":  "--workers: 257",
		"match --bees 3":       "unknown flag --bees",
		"match --cancel 1.5":   "--cancel: 1.5",
	} {
		_, err := benchParser(t).Parse(strings.Fields("bench " + args))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bench %s: %v, want %q", args, err, want)
		}
	}
}

// TestDocumentedBenchesParse parses every command that the documents show
// between backquotes or on a line of its own.
func TestDocumentedBenchesParse(t *testing.T) {
	command := regexp.MustCompile("(?m)(?:`|^ *)(?:bin/)?homing (bench [a-z][a-z0-9-]*[^`\n>|]*)")
	found := 0
	for _, file := range []string{"../../../README.md", "../../../docs/benchmarks.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range command.FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(m[1], "bench agent") {
				continue // its files are placeholders
			}
			found++
			if _, err := benchParser(t).Parse(strings.Fields(m[1])); err != nil {
				t.Errorf("%s: homing %s: %v", file, m[1], err)
			}
		}
	}
	if found < 10 {
		t.Errorf("%d commands found, want at least 10", found)
	}
}
