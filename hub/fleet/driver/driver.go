// Package driver starts nodes of a fleet and takes them away: the hands of the
// controller.
package driver

import (
	"context"

	"github.com/homing/homing/hub/fleet"
)

// Order is what a driver is to carry out.
type Order struct {
	ID      string `json:"id"` // the same order has the same one
	Cluster string `json:"cluster"`
	Region  string `json:"region,omitempty"`
	Nodes   int    `json:"nodes,omitempty"` // how many more; of Grow only
	Why     string `json:"why"`
}

// Driver starts nodes and takes them away. It is safe for concurrent use. Its methods
// block until the order is carried out, has failed, or ctx ends.
type Driver interface {
	// Name is what logs and the journal call it.
	Name() string
	// Grow starts order.Nodes more.
	Grow(ctx context.Context, order Order) error
	// Remove takes a node away that serves nobody any more.
	Remove(ctx context.Context, order Order, node fleet.Node) error
}
