package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/alecthomas/kong"
)

// notInFile are flags that mean nothing in the file.
var notInFile = map[string]bool{"config": true, "help": true, "version": true}

// Validate refuses what no command understands: a misspelled option must not
// pass for a default. With Resolve it makes a Document a kong.Resolver.
func (d *Document) Validate(app *kong.Application) error {
	return d.check(d.root, app.Node)
}

// check compares the names in s with the options of n and of the commands
// below it. It reports the first that is wrong, from top to bottom.
func (d *Document) check(s section, n *kong.Node) error {
	lines := map[string]int{}
	for name, v := range s.settings {
		lines[name] = v.line
	}
	for name, v := range s.sections {
		lines[name] = v.line
	}
	for _, name := range slices.SortedFunc(maps.Keys(lines), func(a, b string) int { return cmp.Compare(lines[a], lines[b]) }) {
		if err := d.checkName(s, n, name); err != nil {
			return err
		}
	}
	return nil
}

func (d *Document) checkName(s section, n *kong.Node, name string) error {
	command := child(n, name)
	sub, isSection := s.sections[name]
	switch {
	case isSection && command != nil:
		return d.check(sub, command)
	case isSection && understands(n, name):
		return d.fault(sub.line, "%s: want a value, not options below it", name)
	case isSection:
		return d.fault(sub.line, "%s: there is no such command%s", name, didYouMean(name, childNames(n)))
	}
	line := s.settings[name].line
	switch {
	case command != nil:
		return d.fault(line, "%s: a command: want its options below it", name)
	case notInFile[name]:
		return d.fault(line, "%s: cannot be set in the file", name)
	case understands(n, name):
		return nil
	case n.Type == kong.ApplicationNode:
		return d.fault(line, "%s: there is no such option or command%s", name, didYouMean(name, flagNames(n)))
	}
	return d.fault(line, "%s: homing %s has no such option%s", name, n.Path(), didYouMean(name, flagNames(n)))
}

// Resolve returns the value of one flag, or nil when the file has none or the
// environment goes first.
func (d *Document) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	v, ok := d.lookup(parent.Node(), flag.Name)
	if _, inEnv := envOf(flag); !ok || inEnv {
		return nil, nil //nolint:nilnil // kong's way of saying that there is none
	}
	value, err := v.as(flag)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", d.name, v.line, err)
	}
	d.used[flag.Name] = v.line
	return value, nil
}

// lookup finds a flag in the section of n, else in those of the commands above.
func (d *Document) lookup(n *kong.Node, flag string) (setting, bool) {
	if n == nil {
		return setting{}, false
	}
	if v, ok := d.sectionOf(n).settings[flag]; ok {
		return v, true
	}
	return d.lookup(n.Parent, flag)
}

func (d *Document) sectionOf(n *kong.Node) section {
	if n.Parent == nil {
		return d.root
	}
	return d.sectionOf(n.Parent).sections[n.Name]
}

// as returns what kong decodes into flag, having tried that it can. Text is
// decoded as it is on the command line, so that what a flag refuses is refused
// here: 25 is no duration.
func (v setting) as(flag *kong.Flag) (any, error) {
	isList := flag.Target.Kind() == reflect.Slice
	var value any
	switch {
	case v.list && !isList:
		return nil, fmt.Errorf("want one value, not a list")
	case v.list && flag.Tag.Sep != -1:
		value = kong.JoinEscaped(v.values, flag.Tag.Sep)
	case v.list:
		value = toAny(v.values)
	default:
		value = v.values[0]
	}
	scan := kong.Scan().PushTyped(value, kong.FlagValueToken)
	trial := reflect.New(flag.Target.Type()).Elem()
	return value, flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, trial)
}

func toAny(values []string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

func child(n *kong.Node, name string) *kong.Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func childNames(n *kong.Node) (out []string) {
	for _, c := range n.Children {
		out = append(out, c.Name)
	}
	return out
}

// understands reports whether n or a command below it has the flag.
func understands(n *kong.Node, flag string) bool { return slices.Contains(flagNames(n), flag) }

// flagNames are the flags of n and of the commands below it.
func flagNames(n *kong.Node) (out []string) {
	for _, f := range n.Flags {
		if !notInFile[f.Name] {
			out = append(out, f.Name)
		}
	}
	for _, c := range n.Children {
		out = append(out, flagNames(c)...)
	}
	return out
}
