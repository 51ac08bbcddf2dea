package app

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/homing/homing/bench/capacity"
)

type planCmd struct {
	capacity.Input `embed:""`

	Costs string `help:"File with figures of your own machine, as homing bench SCENARIO --json prints them; what it lacks is as we measured it." type:"existingfile" placeholder:"FILE"`
	JSON  bool   `help:"Print one JSON object instead of tables."`
}

// Help is shown below the flags.
func (*planCmd) Help() string {
	return `Everything printed is calculated from costs measured on one machine, which it
lists. Example, with costs of this machine:

  homing bench notify --json > costs.json
  homing plan --users 10M --costs costs.json`
}

func (c *planCmd) Run(s streams) error {
	costs, err := c.costs()
	if err != nil {
		return err
	}
	p, err := capacity.Make(c.Input, costs)
	if err != nil {
		return err
	}
	if !c.JSON {
		return p.Write(s.out)
	}
	if err := json.NewEncoder(s.out).Encode(p); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	return nil
}

func (c *planCmd) costs() (capacity.Costs, error) {
	costs := capacity.Measured()
	if c.Costs == "" {
		return costs, nil
	}
	b, err := os.ReadFile(c.Costs)
	if err == nil {
		costs, err = costs.With(b)
	}
	if err != nil {
		return nil, fmt.Errorf("--costs: %s: %w", c.Costs, err)
	}
	return costs, nil
}
