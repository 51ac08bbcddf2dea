package main

import (
	"fmt"

	"github.com/homing/homing/bench/roomclass"
	"github.com/homing/homing/hub/room"
)

// classConfig chooses the kinds of rooms that a front opens.
type classConfig struct {
	Classes []string `help:"Kinds of rooms that this front opens: relay, and for measurements bench-SEATS-HZ, with -binary and -immediate after it or without." default:"relay" placeholder:"CLASS"`
}

// Validate reports the first class that there is not.
func (c *classConfig) Validate() error {
	if _, err := c.all(); err != nil {
		return fmt.Errorf("room.classes: %w", err)
	}
	return nil
}

func (c *classConfig) all() ([]*room.Class, error) {
	var all []*room.Class
	for _, name := range c.Classes {
		class, err := classOf(name)
		if err != nil {
			return nil, err
		}
		all = append(all, class)
	}
	return all, nil
}

func classOf(name string) (*room.Class, error) {
	if name != "relay" {
		return roomclass.Parse(name)
	}
	relay := room.DefaultClass()
	relay.Name, relay.Seats = name, 16
	return &relay, nil
}
