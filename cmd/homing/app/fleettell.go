package app

import (
	"github.com/homing/homing/hub/fleet/control"
	"github.com/homing/homing/hub/hook"
)

// decisionEvent is what the event fleet.decision has of an entry of the journal.
type decisionEvent struct {
	Text    string `json:"text"`
	Kind    string `json:"kind"`
	Action  string `json:"action,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	Region  string `json:"region,omitempty"`
	Node    string `json:"node,omitempty"`
	Nodes   int    `json:"nodes,omitempty"`
	Why     string `json:"why,omitempty"`
	Result  string `json:"result,omitempty"`
}

// tellDecisions returns what publishes entries of the journal as events; nil without a
// publisher. It does not block.
func tellDecisions(p *hook.Publisher) func(control.Entry) {
	if p == nil {
		return nil
	}
	return func(e control.Entry) {
		d := decisionEvent{Text: e.String(), Kind: string(e.Kind), Node: e.Node, Why: e.Why, Result: string(e.Result)}
		subject := "fleet"
		if x := e.Decision; x != nil {
			d.Action, d.Cluster, d.Region, d.Nodes = string(x.Action), x.Cluster, x.Region, x.Nodes
			if d.Node == "" {
				d.Node = x.Node
			}
			if d.Why == "" {
				d.Why = x.Why
			}
			subject = x.Cluster + "/" + x.Region
		}
		p.Publish(hook.Event{Type: "fleet.decision", Subject: subject, Time: e.At, Data: d}) // what is lost is counted
	}
}
