package config

import (
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// prefix begins the names of our environment variables.
const prefix = "HOMING_"

// variable is the environment variable of a flag: HOMING_ and its name in
// upper case with underscores.
func variable(flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Environment is a kong option. Each flag that takes accepts has a variable.
func Environment(takes func(command *kong.Node, flag *kong.Flag) bool) kong.Option {
	return kong.PostBuild(func(k *kong.Kong) error {
		visit(k.Model.Node, func(n *kong.Node, f *kong.Flag) {
			if takes(n, f) {
				f.Tag.Envs = []string{variable(f.Name)}
				f.Envs = f.Tag.Envs
			}
		})
		return nil
	})
}

// visit calls f with every flag of n and of the commands below it.
func visit(n *kong.Node, f func(*kong.Node, *kong.Flag)) {
	for _, flag := range n.Flags {
		f(n, flag)
	}
	for _, c := range n.Children {
		visit(c, f)
	}
}

// envOf returns the variable that flag takes its value from.
func envOf(flag *kong.Flag) (string, bool) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return name, true
		}
	}
	return "", false
}

// Unread is a variable that looks like ours and that no command reads.
type Unread struct {
	Name    string
	Nearest string // the variable that may have been meant; empty when none is alike
}

// FindUnread returns those of environ, whose entries are NAME=VALUE, that begin
// with HOMING_ and belong to no flag of any command. Those that Kubernetes sets
// for a service called homing-something are passed over.
func FindUnread(app *kong.Application, environ []string) (out []Unread) {
	var known []string
	visit(app.Node, func(_ *kong.Node, f *kong.Flag) { known = append(known, f.Envs...) })
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix) || slices.Contains(known, name) || isServiceLink(name, value) {
			continue
		}
		out = append(out, Unread{Name: name, Nearest: nearest(name, known)})
	}
	return out
}

// serviceLink matches the variables that Kubernetes sets for each service.
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?$`)

func isServiceLink(name, value string) bool {
	return serviceLink.MatchString(name) ||
		strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}
