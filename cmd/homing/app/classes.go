package app

import (
	"fmt"
	"os"

	"github.com/homing/homing/hub/room"
)

// relayClass is the class of rooms that every front has.
const relayClass = "relay"

// roomClasses are the kinds of rooms that a front opens: its own ones, those of a
// file, if there is one, and the relay.
func roomClasses(own []*room.Class, file string) ([]*room.Class, error) {
	relay := room.DefaultClass()
	relay.Name, relay.Seats = relayClass, 16
	all := append([]*room.Class{&relay}, own...)
	if file == "" {
		return all, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("room.classes: %w", err)
	}
	more, err := room.ParseClasses(text)
	if err != nil {
		return nil, fmt.Errorf("room.classes: %s: %w", file, err)
	}
	return append(all, more...), nil
}
