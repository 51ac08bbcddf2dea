package driver

import (
	"context"
	"log/slog"

	"github.com/homing/homing/hub/fleet"
)

// DryRun tells in the log what it was asked to do, and does nothing: rules that are
// tried run with it. What it was asked for never comes about, which the rules tell as
// late.
type DryRun struct {
	Log *slog.Logger
}

// Name is "dry-run".
func (DryRun) Name() string { return "dry-run" }

// Grow tells of the order.
func (d DryRun) Grow(_ context.Context, o Order) error {
	d.Log.Info("dry run: nodes would be started", "order", o.ID, "cluster", o.Cluster, "region", o.Region, "nodes", o.Nodes, "why", o.Why)
	return nil
}

// Remove tells of the order.
func (d DryRun) Remove(_ context.Context, o Order, node fleet.Node) error {
	d.Log.Info("dry run: a node would be removed", "order", o.ID, "cluster", o.Cluster, "region", o.Region, "node", node.ID, "why", o.Why)
	return nil
}
