package room

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"gopkg.in/yaml.v3"
)

// classFile is a file of classes. What a class leaves out is as in DefaultClass.
type classFile struct {
	Classes []yaml.Node `yaml:"classes"`
}

// classEntry is one class in such a file.
type classEntry struct {
	Name        string        `yaml:"name"`
	Seats       int           `yaml:"seats"`
	Hz          int           `yaml:"hz"`
	Binary      bool          `yaml:"binary"`
	Reserve     time.Duration `yaml:"reserve"`
	Grace       time.Duration `yaml:"grace"`
	Idle        time.Duration `yaml:"idle"`
	MemberRate  float64       `yaml:"member_rate"`
	MemberBytes float64       `yaml:"member_bytes"`
	RoomBytes   float64       `yaml:"room_bytes"`
	StateKeys   int           `yaml:"state_keys"`
	StateBytes  int           `yaml:"state_bytes"`
	LogBytes    int           `yaml:"log_bytes"`
	Checkpoint  time.Duration `yaml:"checkpoint"`
	Immediate   bool          `yaml:"immediate"`
	Says        string        `yaml:"says"`
}

// ParseClasses reads a file of classes without logic of their own, in YAML:
//
//	classes:
//	  - name: lobby
//	    seats: 50
//	    hz: 10
//	    says: state # what a member says is its state (Latest); else an event (Plain)
//
// Unknown fields, repeated names and classes that cannot work are errors, which say
// where they are.
func ParseClasses(text []byte) ([]*Class, error) {
	var f classFile
	if err := strictly(text, &f); err != nil {
		return nil, err
	}
	var all []*Class
	for i := range f.Classes {
		c, err := parseClass(&f.Classes[i])
		if err == nil {
			err = unlessNamed(all, c)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", f.Classes[i].Line, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("no classes")
	}
	return all, nil
}

func strictly(text []byte, v any) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func parseClass(n *yaml.Node) (*Class, error) {
	c := DefaultClass()
	e := classEntry{
		Seats: c.Seats, Hz: c.Hz, Reserve: c.Reserve, Grace: c.Grace, Idle: c.Idle,
		MemberRate: c.MemberRate, MemberBytes: c.MemberBytes, RoomBytes: c.RoomBytes,
		StateKeys: c.StateKeys, StateBytes: c.StateBytes, LogBytes: c.LogBytes,
	}
	text, err := yaml.Marshal(n)
	if err != nil {
		return nil, err
	}
	if err := strictly(text, &e); err != nil {
		return nil, err
	}
	c.Name, c.Seats, c.Hz, c.Binary = e.Name, e.Seats, e.Hz, e.Binary
	c.Reserve, c.Grace, c.Idle, c.Checkpoint, c.Immediate = e.Reserve, e.Grace, e.Idle, e.Checkpoint, e.Immediate
	c.MemberRate, c.MemberBytes, c.RoomBytes = e.MemberRate, e.MemberBytes, e.RoomBytes
	c.StateKeys, c.StateBytes, c.LogBytes = e.StateKeys, e.StateBytes, e.LogBytes
	switch e.Says {
	case "", "event":
	case "state":
		c.New = func() Logic { return Latest{} }
	default:
		return nil, fmt.Errorf("class %s: says %q: want event or state", e.Name, e.Says)
	}
	return &c, c.Validate()
}

// unlessNamed reports that a class of c's name is among all.
func unlessNamed(all []*Class, c *Class) error {
	for _, other := range all {
		if other.Name == c.Name {
			return fmt.Errorf("class %s: stands twice", c.Name)
		}
	}
	return nil
}
