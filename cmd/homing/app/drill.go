package app

import (
	"context"
	"errors"

	"github.com/homing/homing/bench/drill"
)

type drillCmd struct {
	drill.Options `embed:""`
}

// brokenStatus is the exit status of a drill that ran and found the promise
// broken; 1 is a drill that could not run.
const brokenStatus = 3

func (c *drillCmd) Run(ctx context.Context, s streams) error {
	err := drill.Run(ctx, c.Options, s.out, s.err)
	if errors.Is(err, drill.ErrBroken) {
		return exitError(brokenStatus)
	}
	return err
}
