package scale

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"github.com/homing/homing/hub"
)

// Condition is a rule that the file spells out, in the language of
// github.com/expr-lang/expr over the fields of Facts: "lag_ms > 50 && ready < 20".
type Condition struct {
	If string `yaml:"if"`
	// Add and AtLeast say how many nodes are wanted while it is true: that many more than
	// there are, or that many in all. 0: it asks for none.
	Add     int `yaml:"add"`
	AtLeast int `yaml:"at_least"`
	// Hold keeps the fleet from shrinking while it is true.
	Hold bool   `yaml:"hold"`
	Why  string `yaml:"why"` // for people; empty: the condition itself

	program *vm.Program
}

// Facts are what conditions may ask for.
type Facts struct {
	Ready       int     `expr:"ready"`
	Starting    int     `expr:"starting"` // and those that are ordered
	Draining    int     `expr:"draining"`
	Red         int     `expr:"red"`
	Players     int     `expr:"players"` // connections of all nodes
	Rooms       int     `expr:"rooms"`
	Seats       int     `expr:"seats"`
	Load        float64 `expr:"load"`     // of ready nodes together, 0 to 1 and above
	MaxLoad     float64 `expr:"max_load"` // of the fullest
	CPU         float64 `expr:"cpu"`      // mean of ready nodes, 0 to 1
	MaxCPU      float64 `expr:"max_cpu"`  // of the busiest
	LagMillis   float64 `expr:"lag_ms"`   // of the latest event loop
	Trend       float64 `expr:"trend"`    // players per minute
	Hour        int     `expr:"hour"`     // of the day, UTC
	Weekday     int     `expr:"weekday"`  // 0 is Sunday, UTC
	MinuteOfDay int     `expr:"minute"`   // UTC
	FreePlayers int     `expr:"free"`     // how many more ready nodes take
	FreeRooms   int     `expr:"free_rooms"`
}

// maxCondition bounds a condition, in bytes, and so what it takes to read and run it:
// the language has no loops but over what it is given, and it is given none.
const maxCondition = 1024

func (c *Condition) complete(most int) (err error) {
	if len(c.If) == 0 || len(c.If) > maxCondition {
		return fmt.Errorf("if: %w: it must have 1 to %d bytes", hub.ErrInvalid, maxCondition)
	}
	if c.program, err = expr.Compile(c.If, expr.Env(Facts{}), expr.AsBool(), expr.DisableAllBuiltins()); err != nil {
		return fmt.Errorf("if: %w: %w", hub.ErrInvalid, err)
	}
	switch {
	case c.Add < 0 || c.AtLeast < 0 || c.Add > most || c.AtLeast > most:
		return fmt.Errorf("add and at_least are %d and %d: %w: they must be 0 to max", c.Add, c.AtLeast, hub.ErrInvalid)
	case c.Add == 0 && c.AtLeast == 0 && !c.Hold:
		return fmt.Errorf("if: %w: nothing follows from it: give add, at_least or hold", hub.ErrInvalid)
	}
	return nil
}

// true reports whether the condition holds. One that fails, as by dividing by zero, does
// not, and says so.
func (c *Condition) true(f *Facts) (bool, error) {
	result, err := expr.Run(c.program, *f)
	if err != nil {
		return false, err
	}
	return result.(bool), nil // AsBool has seen to it
}

func (c *Condition) why() string {
	if c.Why != "" {
		return c.Why
	}
	return c.If
}

// Effect is what follows from the condition, in words.
func (c *Condition) Effect() string {
	var parts []string
	if c.Add > 0 {
		parts = append(parts, fmt.Sprintf("%d more", c.Add))
	}
	if c.AtLeast > 0 {
		parts = append(parts, fmt.Sprintf("%d at least", c.AtLeast))
	}
	if c.Hold {
		parts = append(parts, "none is taken away")
	}
	return strings.Join(parts, ", ")
}
