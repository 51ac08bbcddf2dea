package match

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/homing/homing/hub"
)

// Config is what an operator can choose about matchmaking.
type Config struct {
	Queues string `help:"YAML file of the queues in which players wait for a match; see docs/matchmaking.md. Empty: there is no matchmaking. All processes must be given the same." default:"" placeholder:"FILE"`
}

// queueSpec is a queue as the file has it.
type queueSpec struct {
	Name       string     `yaml:"name"`
	Mode       string     `yaml:"mode"`
	Class      string     `yaml:"class"`
	Teams      int        `yaml:"teams"`
	TeamSize   int        `yaml:"team_size"`
	Steps      []stepSpec `yaml:"steps"`
	Parties    []int      `yaml:"parties"`
	Labels     []string   `yaml:"labels"`
	Expire     span       `yaml:"expire"`
	Heartbeat  span       `yaml:"heartbeat"`
	Accept     span       `yaml:"accept"`
	MaxTickets int        `yaml:"max_tickets"`
	ByPlayers  bool       `yaml:"by_players"`
}

type stepSpec struct {
	After    span    `yaml:"after"`
	Window   float64 `yaml:"window"`
	Players  int     `yaml:"players"`
	AnyLabel bool    `yaml:"any_label"`
}

// span is a duration with its unit.
type span time.Duration

// UnmarshalYAML reads a text such as 25s. A number without a unit is refused.
func (s *span) UnmarshalYAML(n *yaml.Node) error {
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || n.Value == "0" {
		return fmt.Errorf("line %d: %q, want a duration such as 25s", n.Line, n.Value)
	}
	*s = span(d)
	return nil
}

// LoadQueues reads a file of queues. Its errors name the file, the line and the
// field.
func LoadQueues(file string) ([]*Queue, error) {
	b, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	queues, err := ParseQueues(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return queues, nil
}

// ParseQueues reads queues in YAML. It refuses unknown fields, repeated names, and a
// text without queues.
func ParseQueues(b []byte) ([]*Queue, error) {
	specs, entries, err := entriesIn(b)
	if err != nil {
		return nil, err
	}
	if len(specs) == 0 || len(specs) > MaxQueues {
		return nil, fmt.Errorf("queues: %d, want 1 to %d", len(specs), MaxQueues)
	}
	var queues []*Queue
	for i := range specs {
		q := specs[i].queue()
		err := checkQueue(q)
		if slices.ContainsFunc(queues, func(o *Queue) bool { return o.Name == q.Name }) {
			err = hub.Invalid("name", "%q is there already", q.Name)
		}
		if f, ok := errors.AsType[*hub.FieldError](err); ok {
			return nil, fmt.Errorf("line %d: queue %q: %s: %s", lineOf(&entries[i], f.Field), q.Name, f.Field, f.Detail)
		}
		queues = append(queues, q)
	}
	return queues, nil
}

// CheckQueues reports the first of some queues that cannot work, or has the name of
// one before it, and that there are too many.
func CheckQueues(queues []*Queue) error {
	if len(queues) > MaxQueues {
		return fmt.Errorf("%d queues, want at most %d", len(queues), MaxQueues)
	}
	names := make(map[string]bool, len(queues))
	for _, q := range queues {
		if err := checkQueue(q); err != nil {
			return fmt.Errorf("queue %q: %w", q.Name, err)
		}
		if names[q.Name] {
			return fmt.Errorf("two queues have the name %q", q.Name)
		}
		names[q.Name] = true
	}
	return nil
}

// entriesIn returns the queues that the text has, and where they stand in it.
func entriesIn(b []byte) (specs []queueSpec, at []yaml.Node, err error) {
	var file struct {
		Queues []queueSpec `yaml:"queues"`
	}
	var nodes struct {
		Queues []yaml.Node `yaml:"queues"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, plain(err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("more than one YAML document: want all queues in the first")
	}
	if err := yaml.Unmarshal(b, &nodes); err != nil {
		return nil, nil, plain(err)
	}
	return file.Queues, nodes.Queues, nil
}

// queue is what s says, with the defaults of what it does not say.
func (s *queueSpec) queue() *Queue {
	q := &Queue{
		Name: s.Name, Mode: s.Mode, Class: s.Class, Teams: s.Teams, TeamSize: s.TeamSize,
		Parties: s.Parties, Labels: s.Labels, Expire: cmp.Or(time.Duration(s.Expire), DefaultExpire),
		Heartbeat: time.Duration(s.Heartbeat), Accept: time.Duration(s.Accept), MaxTickets: s.MaxTickets,
		ByPlayers: s.ByPlayers,
	}
	for _, step := range s.Steps {
		q.Steps = append(q.Steps, Step{After: time.Duration(step.After), Window: step.Window, Players: step.Players, AnyLabel: step.AnyLabel})
	}
	if len(q.Steps) == 0 {
		q.Steps = []Step{{}} // all accept all
	}
	return q
}

// checkQueue reports the first field that cannot work.
func checkQueue(q *Queue) error {
	if err := q.Validate(); err != nil {
		return err
	}
	if !queueName.MatchString(q.Class) {
		return hub.Invalid("class", "%q, want the class of its rooms, which matches %s", q.Class, queueName)
	}
	return nil
}

// lineOf is the line of the field that a path such as steps[1].window names, as far
// as it is there.
func lineOf(n *yaml.Node, path string) int {
	for name := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		next := child(n, name)
		if next == nil {
			break
		}
		n = next
	}
	return n.Line
}

// child is the field, or the entry, of a node that name stands for; nil: none.
func child(n *yaml.Node, name string) *yaml.Node {
	switch i, err := strconv.Atoi(name); {
	case n.Kind == yaml.SequenceNode && err == nil && i < len(n.Content):
		return n.Content[i]
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

// plain leaves the names of our types out of what the reader says.
func plain(err error) error {
	wrong, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	what, _, _ := strings.Cut(wrong.Errors[0], " in type ")
	what, _, _ = strings.Cut(what, " into match.")
	return errors.New(what)
}
