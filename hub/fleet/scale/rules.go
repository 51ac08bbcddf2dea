package scale

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/homing/homing/hub"
)

// Rules say how large one cluster is to be. They come from a file, see Load, and do not
// change.
type Rules struct {
	Cluster string `yaml:"cluster"` // whose nodes are counted
	Region  string `yaml:"region"`  // empty: those of all regions together

	// MinReady is how many nodes are ready at least, at any time. A schedule may ask
	// for more. Default 1; 0 allows none.
	MinReady *int `yaml:"min_ready"`
	// Max is how many nodes there are at most, starting and draining ones among them.
	// It has no default: it is what the fleet may cost.
	Max int `yaml:"max"`

	// Node is what one node carries.
	Node Capacity `yaml:"node"`
	// AverageLoad is the load of all nodes together above which there are too few, as a
	// share of what they carry. 0: 0.7.
	AverageLoad float64 `yaml:"average_load"`
	// NodeLoad is the load of the fullest node above which one more is needed, for
	// players who cannot move. 0: such a node alone changes nothing.
	NodeLoad float64 `yaml:"node_load"`
	// Headroom is how much must be free on nodes that are ready. 0: nothing.
	Headroom Capacity `yaml:"headroom"`

	// StartUp is how long a node takes from the order to being ready. The load is looked
	// at as it will be then, if it goes on as in the last Trend. 0: 2 minutes.
	StartUp time.Duration `yaml:"start_up"`
	// Trend is how far back the look-ahead looks. 0: 10 minutes. Negative: nothing is
	// looked ahead.
	Trend time.Duration `yaml:"trend"`

	Out Pace `yaml:"out"` // Default: at most every 3 minutes, any number
	In  Pace `yaml:"in"`  // Default: at most every hour, one node

	Schedule []Slot      `yaml:"schedule"`
	When     []Condition `yaml:"when"`
}

// Capacity is a number of players and of rooms. 0: it is not looked at.
type Capacity struct {
	Players int `yaml:"players"` // connections
	Rooms   int `yaml:"rooms"`
}

// Pace is how fast a fleet grows or shrinks.
type Pace struct {
	Every time.Duration `yaml:"every"` // between two steps, at least
	Step  int           `yaml:"step"`  // nodes in one, at most. 0: see Rules
}

const (
	defaultAverageLoad = 0.7
	defaultStartUp     = 2 * time.Minute
	defaultTrend       = 10 * time.Minute
	defaultOutEvery    = 3 * time.Minute
	defaultInEvery     = time.Hour
	// maxNodes bounds a cluster, and so what a slip in a file can order.
	maxNodes = 10_000
	// maxTrend bounds the samples that a state keeps.
	maxTrend = 2 * time.Hour
	maxRules = 100 // of a file
)

var clusterName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Load reads the rules of the file called name: a list under "clusters". Its errors are
// the file's or wrap hub.ErrInvalid, and say in which cluster and option.
func Load(name string) ([]*Rules, error) {
	f, err := os.Open(name) //nolint:gosec // the operator's file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rules, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return rules, nil
}

// Parse reads rules as Load does.
func Parse(r io.Reader) ([]*Rules, error) {
	var file struct {
		Clusters []*Rules `yaml:"clusters"`
	}
	dec := yaml.NewDecoder(r)
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", hub.ErrInvalid, err)
	}
	if n := len(file.Clusters); n == 0 || n > maxRules {
		return nil, fmt.Errorf("%w: clusters: 1 to %d are needed, %d are there", hub.ErrInvalid, maxRules, n)
	}
	seen := make(map[[2]string]bool)
	for i, r := range file.Clusters {
		if r == nil {
			return nil, fmt.Errorf("%w: clusters[%d] is empty", hub.ErrInvalid, i)
		}
		if err := r.Complete(); err != nil {
			return nil, fmt.Errorf("clusters[%d] (%s): %w", i, r.Cluster, err)
		}
		key := [2]string{r.Cluster, r.Region}
		if seen[key] {
			return nil, fmt.Errorf("%w: clusters[%d]: %s %s has rules already", hub.ErrInvalid, i, r.Cluster, r.Region)
		}
		seen[key] = true
	}
	return file.Clusters, nil
}

// Complete gives r its defaults and checks it. It must have returned nil before r is
// used. Its error wraps hub.ErrInvalid and names the option.
func (r *Rules) Complete() error {
	r.setDefaults()
	for _, check := range r.checks() {
		if !check.ok {
			return fmt.Errorf("%w: %s is %v: it must %s", hub.ErrInvalid, check.option, check.is, check.must)
		}
	}
	for i := range r.Schedule {
		if err := r.Schedule[i].complete(r.Max); err != nil {
			return fmt.Errorf("schedule[%d].%w", i, err)
		}
	}
	for i := range r.When {
		if err := r.When[i].complete(r.Max); err != nil {
			return fmt.Errorf("when[%d].%w", i, err)
		}
	}
	return nil
}

// check is whether an option is as it must be.
type check struct {
	ok     bool
	option string
	is     any
	must   string
}

func (r *Rules) checks() []check {
	return append(r.checkSizes(), []check{
		{r.AverageLoad > 0 && r.AverageLoad <= 1, "average_load", r.AverageLoad, "be above 0, 1 at most"},
		{r.NodeLoad >= 0 && r.NodeLoad <= 1, "node_load", r.NodeLoad, "be 0 to 1"},
		{r.StartUp > 0 && r.StartUp <= time.Hour, "start_up", r.StartUp, "be an hour at most"},
		{r.Trend <= maxTrend, "trend", r.Trend, fmt.Sprintf("be %v at most", maxTrend)},
		{r.Out.Every > 0 && r.In.Every > 0, "every", r.In.Every, "be longer than nothing"},
		{r.Out.Step > 0 && r.In.Step > 0, "step", r.In.Step, "be 1 or more"},
		{len(r.Schedule) <= maxRules, "schedule", len(r.Schedule), fmt.Sprintf("have %d entries at most", maxRules)},
		{len(r.When) <= maxRules, "when", len(r.When), fmt.Sprintf("have %d entries at most", maxRules)},
	}...)
}

func (r *Rules) checkSizes() []check {
	return []check{
		{clusterName.MatchString(r.Cluster), "cluster", r.Cluster, "be a name of a-z, 0-9, '.', '_' and '-'"},
		{r.Max >= 1 && r.Max <= maxNodes, "max", r.Max, fmt.Sprintf("be 1 to %d", maxNodes)},
		{*r.MinReady >= 0 && *r.MinReady <= r.Max, "min_ready", *r.MinReady, "be 0 to max"},
		{r.Node.Players >= 0 && r.Node.Rooms >= 0 && r.Node != Capacity{}, "node", r.Node, "say how many players or rooms one carries"},
		{r.Headroom.Players >= 0 && r.Headroom.Rooms >= 0, "headroom", r.Headroom, "not be negative"},
		{r.Headroom.Players == 0 || r.Node.Players > 0, "headroom.players", r.Headroom.Players, "come with node.players"},
		{r.Headroom.Rooms == 0 || r.Node.Rooms > 0, "headroom.rooms", r.Headroom.Rooms, "come with node.rooms"},
	}
}

func (r *Rules) setDefaults() {
	if r.MinReady == nil {
		r.MinReady = new(1)
	}
	setDefault(&r.AverageLoad, defaultAverageLoad)
	setDefault(&r.StartUp, defaultStartUp)
	setDefault(&r.Trend, defaultTrend)
	setDefault(&r.Out.Every, defaultOutEvery)
	setDefault(&r.Out.Step, max(r.Max, 1))
	setDefault(&r.In.Every, defaultInEvery)
	setDefault(&r.In.Step, 1)
}

func setDefault[T comparable](option *T, value T) {
	var zero T
	if *option == zero {
		*option = value
	}
}
