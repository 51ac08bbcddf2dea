package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"gopkg.in/yaml.v3"
)

// Document is a configuration file: flags without their dashes, for every
// command that has them, and sections named after a command with flags for
// that command alone, which go first. A Document is not safe for concurrent
// use.
type Document struct {
	name string
	root section
	used map[string]int // line of each flag that was taken from here
}

// section is the options of one command, or of all at the top.
type section struct {
	line     int
	settings map[string]setting
	sections map[string]section
}

// setting is one option's value as it is written: kong reads it as it reads a
// flag's.
type setting struct {
	line   int
	list   bool
	values []string // one, unless it is a list
}

// Read reads the file called name. Its errors name the file and, where there
// is one, the line.
func Read(name string) (*Document, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parse(name, f)
}

// parse reads one YAML document, and nothing behind it.
func parse(name string, r io.Reader) (*Document, error) {
	d := &Document{name: name, used: make(map[string]int)}
	dec := yaml.NewDecoder(r)
	var first, second yaml.Node
	switch err := dec.Decode(&first); {
	case errors.Is(err, io.EOF):
		return d, nil // nothing but comments
	case err != nil:
		return nil, fmt.Errorf("%s: not YAML: %w", name, err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, d.fault(second.Line, "a second document: one file holds one; take the line --- away")
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: not YAML: %w", name, err)
	}
	root := first.Content[0]
	if root.ShortTag() == "!!null" && root.Value == "" {
		return d, nil // nothing but a marker
	}
	var err error
	d.root, err = d.section(root)
	return d, err
}

// fault is an error about one line of the file.
func (d *Document) fault(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", d.name, line, fmt.Errorf(format, args...))
}

func (d *Document) section(n *yaml.Node) (section, error) {
	s := section{line: n.Line, settings: map[string]setting{}, sections: map[string]section{}}
	if n.Kind != yaml.MappingNode {
		return s, d.fault(n.Line, "want options, as in front-listen: 0.0.0.0:8081")
	}
	lines := map[string]int{}
	for pair := range slices.Chunk(n.Content, 2) {
		key := pair[0]
		if key.Kind != yaml.ScalarNode {
			return s, d.fault(key.Line, "want the name of an option or a command")
		}
		if first, twice := lines[key.Value]; twice {
			return s, d.fault(key.Line, "%s: given twice, first in line %d", key.Value, first)
		}
		lines[key.Value] = key.Line
		if err := d.add(&s, key, pair[1]); err != nil {
			return s, err
		}
	}
	return s, nil
}

// add enters one pair of a mapping into s.
func (d *Document) add(s *section, key, node *yaml.Node) (err error) {
	value := target(node)
	if value.Kind == yaml.MappingNode {
		if value != node {
			return d.fault(key.Line, "%s: an alias may stand for a value or a list, not for options", key.Value)
		}
		s.sections[key.Value], err = d.section(value)
		return err
	}
	v := setting{line: key.Line, list: value.Kind == yaml.SequenceNode}
	scalars := []*yaml.Node{value}
	if v.list {
		scalars = value.Content
	}
	for _, n := range scalars {
		text, err := d.scalar(key.Value, target(n))
		if err != nil {
			return err
		}
		v.values = append(v.values, text)
	}
	s.settings[key.Value] = v
	return nil
}

// scalar returns a value as it is written.
func (d *Document) scalar(key string, n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", d.fault(n.Line, "%s: want a value, or a list of values", key)
	}
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
		return n.Value, nil
	case "!!null":
		return "", d.fault(n.Line, `%s: no value: give one, or take the line away; "" is an empty one`, key)
	default:
		return "", d.fault(n.Line, "%s: the tag %s is not understood", key, n.Tag)
	}
}

// target is what an alias stands for, and any other node itself.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
