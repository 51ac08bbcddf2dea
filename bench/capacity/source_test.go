package capacity

import (
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/bench"
	homingfront "github.com/homing/homing/front"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/redisx"
)

const root = "../.."

// standard imports what is not ours: constants need no more.
type standard struct{ types.Importer }

func (s standard) Import(path string) (*types.Package, error) {
	if strings.Contains(path, ".") {
		return types.NewPackage(path, filepath.Base(path)), nil
	}
	return s.Importer.Import(path)
}

// constants returns the value of each numeric constant of a package, exported
// or not; those of durations are in seconds.
func constants(t *testing.T, dir string) func(name string) float64 {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	c := types.Config{Importer: standard{importer.Default()}, Error: func(error) {}, IgnoreFuncBodies: true}
	pkg, _ := c.Check(dir, set, files, nil) // what comes from other packages of ours is missing
	return func(name string) float64 {
		t.Helper()
		x, ok := pkg.Scope().Lookup(name).(*types.Const)
		if !ok {
			t.Fatalf("%s: no constant %s", dir, name)
		}
		v, _ := constant.Float64Val(constant.ToFloat(x.Val()))
		if x.Type().String() == "time.Duration" {
			v /= float64(time.Second)
		}
		return v
	}
}

// defaults fills in the defaults of flags.
func defaults[T any](t *testing.T) (flags T) {
	t.Helper()
	if err := kong.ApplyDefaults(&flags); err != nil {
		t.Fatal(err)
	}
	return flags
}

func same(t *testing.T, what string, here, there float64) {
	t.Helper()
	if math.Abs(here-there) > 1e-9*math.Abs(there) {
		t.Errorf("%s: the model has %v, its source %v", what, here, there)
	}
}

// TestConstantsAreTheSources holds what the model copies to where it comes
// from. Where it fails the model, and docs/capacity.md, must follow.
func TestConstantsAreTheSources(t *testing.T) {
	relay, redis := constants(t, "hub/relay"), constants(t, "redisx")
	same(t, "ackGather", ackGather, math.Ceil(relay("ackAfter")/relay("grain"))*relay("grain"))
	same(t, "maxShards", maxShards, redis("maxShards"))
	same(t, "maxReplicas", maxReplicas, redis("maxNodes")-1)
	same(t, "poolSize", poolSize, float64(defaults[redisx.Config](t).PoolSize))
	same(t, "fillLevel", fillLevel, 1-1/constants(t, "front/loop")("headroom"))
	same(t, "admitted", admitted, constants(t, "front/admission")("kept"))

	conf, err := os.ReadFile(filepath.Join(root, "deploy/redis/common.conf"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^repl-backlog-size (\d+)mb$`).FindSubmatch(conf)
	if m == nil {
		t.Fatalf("no repl-backlog-size in\n%s", conf)
	}
	mb, _ := strconv.Atoi(string(m[1]))
	same(t, "backlog", backlog, float64(mb<<20))
}

// TestCostsArePerSecond: what processes ask of Redis was measured, and is
// counted, once a second.
func TestCostsArePerSecond(t *testing.T) {
	same(t, "probes", 1, constants(t, "redisx")("probeInterval"))
	same(t, "canaries", 1, constants(t, "hub/relay")("canaryEvery"))
	same(t, "readings of leases", 1, lease.DefaultTiming().Refresh.Seconds())
}

// TestDefaultsAreTheSources holds the workload to the system of 2014 as the
// benchmark has it, and the rest to what is measured and run by default.
func TestDefaultsAreTheSources(t *testing.T) {
	in, ref := input(t, "--users", "1M"), constants(t, "bench")
	perUser := 3600 / ref("refUsers")
	same(t, "--targets", float64(in.Targets), ref("refTargets"))
	same(t, "--online", float64(in.Online), ref("refOnline"))
	same(t, "--per-user", in.PerUser, ref("refDeliveries")*perUser)
	same(t, "--connects-per-user", in.Churn, ref("refConnects")*perUser)
	same(t, "--admit-rate", in.AdmitRate, float64(defaults[homingfront.Config](t).AdmitRate))

	measured := defaults[bench.Options](t)
	same(t, "benchTargets", benchTargets, float64(measured.Targets))
	same(t, "benchOnline", benchOnline, float64(measured.Online))
	same(t, "benchEnvelopes", benchEnvelopes, float64(measured.Workers))
}
