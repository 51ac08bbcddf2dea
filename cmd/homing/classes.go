package main

import "github.com/homing/homing/hub/room"

// roomClasses are the kinds of rooms that a front opens.
func roomClasses() []*room.Class {
	relay := room.DefaultClass()
	relay.Name, relay.Seats = "relay", 16
	return []*room.Class{&relay}
}
