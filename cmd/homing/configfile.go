package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// configFile is what --config names: flags without their dashes, for every
// command that has them, and sections named after a command with flags for
// that command alone, which go first.
type configFile map[string]any

// configFlag is --config. It is kong.ConfigFlag, except that a file which
// cannot be right is refused before the options are judged: what looks like a
// missing option may be a misspelled one.
type configFlag string

// BeforeResolve adds the file's values to those that options are taken from.
func (configFlag) BeforeResolve(k *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	name, _ := ctx.FlagValue(trace.Flag).(configFlag)
	file, err := k.LoadConfig(string(name))
	if err != nil {
		return err
	}
	if err := file.Validate(k.Model); err != nil {
		return fmt.Errorf("--config %s: %w", name, err)
	}
	ctx.AddResolver(file)
	return nil
}

// readConfig is a kong.ConfigurationLoader.
func readConfig(r io.Reader) (kong.Resolver, error) {
	var c map[string]any
	if err := yaml.NewDecoder(r).Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("not YAML with options: %w", err)
	}
	return configFile(c), nil
}

// Resolve returns the value of one flag, or nil.
func (c configFile) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for n := parent.Node(); n != nil; n = n.Parent {
		if v, ok := c.section(n.Name)[flag.Name]; ok {
			return v, nil
		}
	}
	return c[flag.Name], nil
}

// Validate refuses what no command understands: a misspelled option must not
// pass for a default.
func (c configFile) Validate(app *kong.Application) error {
	for key, value := range c {
		command := child(app.Node, key)
		section, isSection := value.(map[string]any)
		switch {
		case command == nil && !understands(app.Node, key):
			return fmt.Errorf("%s: there is no such option or command", key)
		case command == nil:
		case !isSection:
			return fmt.Errorf("%s: want this command's options below it", key)
		}
		for option := range section {
			if command != nil && !understands(command, option) {
				return fmt.Errorf("%s: %s: the command has no such option", key, option)
			}
		}
	}
	return nil
}

func (c configFile) section(command string) map[string]any {
	s, _ := c[command].(map[string]any)
	return s
}

func child(n *kong.Node, name string) *kong.Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// understands reports whether n or a command below it has the flag.
func understands(n *kong.Node, flag string) bool {
	for _, f := range n.Flags {
		if f.Name == flag {
			return true
		}
	}
	for _, c := range n.Children {
		if understands(c, flag) {
			return true
		}
	}
	return false
}
