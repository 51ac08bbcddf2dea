package app

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// build says what this binary was built from. No field is empty.
type build struct {
	version  string // the module's; "(devel)" outside a release
	revision string // the commit, with "+dirty" when files were changed; "unknown" without version control
	compiler string // the Go release
}

func readBuild() build {
	b := build{version: "unknown", revision: "unknown", compiler: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.version = info.Main.Version
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if r := settings["vcs.revision"]; r != "" {
		b.revision = r
	}
	if settings["vcs.modified"] == "true" {
		b.revision += "+dirty"
	}
	return b
}

// String is what --version prints.
func (b build) String() string { return b.version + " " + b.revision + " " + b.compiler }

// collector is homing_build_info.
func (b build) collector() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "homing_build_info",
		Help:        "Always 1; the labels say what the process was built from.",
		ConstLabels: prometheus.Labels{"version": b.version, "revision": b.revision, "go_version": b.compiler},
	}, func() float64 { return 1 })
}
