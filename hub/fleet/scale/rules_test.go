package scale

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBadRules(t *testing.T) {
	for text, want := range map[string]string{
		"":              "clusters: 1 to 100",
		"clusters: []":  "clusters: 1 to 100",
		"clusters: [~]": "clusters[0] is empty",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, limit: 3}]":                                                           "field limit not found",
		"clusters: [{max: 2, node: {players: 1}}]":                                                                                    "cluster is",
		"clusters: [{cluster: game, node: {players: 1}}]":                                                                             "max is 0",
		"clusters: [{cluster: game, max: 100000, node: {players: 1}}]":                                                                "max is 100000",
		"clusters: [{cluster: game, max: 2}]":                                                                                         "node is",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, min_ready: 3}]":                                                       "min_ready is 3",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, headroom: {rooms: 3}}]":                                               "headroom.rooms is 3",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, average_load: 70}]":                                                   "average_load is 70",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, start_up: 2h}]":                                                       "start_up is 2h",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, trend: 20h}]":                                                         "trend is 20h",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, out: {step: -1}}]":                                                    "step is",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, schedule: [{from: x, to: '1:00', min_ready: 1}]}]":                    `schedule[0].from is "x"`,
		"clusters: [{cluster: game, max: 2, node: {players: 1}, schedule: [{from: '1:00', to: '1:00', min_ready: 1}]}]":               "schedule[0].to",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, schedule: [{from: '1:00', to: '2:00', min_ready: 9}]}]":               "schedule[0].min_ready is 9",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, schedule: [{from: '1:00', to: '2:00', zone: Berlin, min_ready: 1}]}]": `schedule[0].zone is "Berlin"`,
		"clusters: [{cluster: game, max: 2, node: {players: 1}, schedule: [{from: '1:00', to: '2:00', days: [fr], min_ready: 1}]}]":   `schedule[0].days has "fr"`,
		"clusters: [{cluster: game, max: 2, node: {players: 1}, when: [{if: 'playrs > 1', add: 1}]}]":                                 "when[0].if",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, when: [{if: 'players', add: 1}]}]":                                    "when[0].if",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, when: [{if: 'players > 1'}]}]":                                        "nothing follows",
		"clusters: [{cluster: game, max: 2, node: {players: 1}, when: [{if: 'players > 1', add: 9}]}]":                                "add and at_least",
		"clusters: [{cluster: a, max: 2, node: {players: 1}}, {cluster: a, max: 2, node: {players: 1}}]":                              "has rules already",
	} {
		if _, err := Parse(strings.NewReader(text)); !errors.Is(err, hub.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestSchedule looks at days, midnights and the days on which clocks change.
func TestSchedule(t *testing.T) {
	r := rules(t, `
schedule:
- {name: evening, from: '18:00', to: '02:00', days: [fri, Sat], zone: Europe/Berlin, min_ready: 8}
- {name: peak, from: '20:00', to: '24:00', zone: Europe/Berlin, min_ready: 5}`)
	for at, want := range map[string]int{
		"2026-06-05T15:59:00Z": 1, // a Friday in summer: 17:59 there
		"2026-06-05T16:00:00Z": 8,
		"2026-06-05T23:59:00Z": 8, // 01:59 there, of Friday's slot
		"2026-06-06T00:00:00Z": 1,
		"2026-06-07T16:00:00Z": 1, // Sunday
		"2026-06-07T18:00:00Z": 5,
		"2026-06-07T21:59:00Z": 5,
		"2026-06-07T22:00:00Z": 1,
		"2026-10-24T23:59:00Z": 8, // Sunday, 01:59, before the clocks go back
		"2026-10-25T18:59:00Z": 1, // and after that evening: 19:59
		"2026-10-25T19:00:00Z": 5,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if least, _ := r.Effective(when); least != want {
			t.Errorf("%s: %d, want %d", at, least, want)
		}
	}
}

// TestConditionThatFails has it told, and the other rules go on.
func TestConditionThatFails(t *testing.T) {
	w := newWorld(t, "min_ready: 2\nwhen: [{if: '100 / (ready - ready) > 1 && 5 % (ready - 1) == 0', add: 3}]", 0)
	if did := w.step(0); len(did) != 2 || did[0] != "hold" || did[1] != "grow 1" {
		t.Errorf("%v", did)
	}
}
