package control

import (
	"fmt"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/scale"
)

// Shadow is rules that are asked what they would want, and decide nothing.
type Shadow struct {
	Name  string // of their file
	Rules []*scale.Rules
}

// shade is what a cluster's rules in the shadow remember.
type shade struct {
	state  scale.State
	wanted int // that was told; -1: nothing was
	live   int
}

// shade asks the rules in the shadow, and tells where what they want changes.
func (c *Controller) shade(snap *fleet.Snapshot, live map[string]int) (entries []Entry) {
	for i := range c.Shadow {
		s := &c.Shadow[i]
		for _, r := range s.Rules {
			key := s.Name + "/" + nameOf(r)
			x, seen := c.shades[key]
			if !seen {
				x.wanted = -1
			}
			state, p := r.Plan(x.state, snap)
			x.state = state
			c.met.shadow.WithLabelValues(s.Name, r.Cluster, r.Region).Set(float64(p.Wanted))
			want, runs := live[nameOf(r)]
			if p.Wanted != x.wanted || want != x.live {
				x.wanted, x.live = p.Wanted, want
				if p.Wanted != want {
					entries = append(entries, Entry{Kind: KindShadow, By: s.Name, Why: differs(r, &p, want, runs)})
				} else if seen {
					entries = append(entries, Entry{Kind: KindShadow, By: s.Name, Why: fmt.Sprintf("%s wants %d, as the rules that run", ofRules(r), want)})
				}
			}
			c.shades[key] = x
		}
	}
	return entries
}

func differs(r *scale.Rules, p *scale.Plan, live int, runs bool) string {
	if !runs {
		return fmt.Sprintf("%s wants %d nodes (%s); no rules run for it", ofRules(r), p.Wanted, p.Why())
	}
	return fmt.Sprintf("%s wants %d nodes (%s), the rules that run want %d", ofRules(r), p.Wanted, p.Why(), live)
}

// ofRules is whose rules they are, in words.
func ofRules(r *scale.Rules) string { return of(r.Cluster, r.Region) }

func of(cluster, region string) string {
	if region == "" {
		return cluster
	}
	return cluster + " " + region
}
