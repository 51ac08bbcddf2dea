package redisx

import (
	"math/rand/v2"
	"time"
)

// choose says where a subscription that is at the address current ("" when it
// is nowhere) should go, and why. It returns nil to stay: because current is
// as good as any, or because nothing better is to be had. A server that
// answers is not left for nothing.
func choose(nodes []Node, current string, avoid func(addr string) bool) (to *Node, reason string) {
	at := find(nodes, current)
	switch {
	case at != nil && at.Healthy && at.Role == Replica:
		return nil, ""
	case at != nil && at.Healthy:
		// Not at once: a replica fresh from a synchronization is reported
		// healthy a while before messages come through it.
		return pick(nodes, func(n *Node) bool {
			return n.Role == Replica && time.Since(n.since) >= feedSettle && !avoid(n.Addr)
		}), moveReplica
	case at != nil:
		reason = moveUnhealthy
	default:
		reason = moveVanished
	}
	for _, wanted := range []func(*Node) bool{
		func(n *Node) bool { return n.Role == Replica && !avoid(n.Addr) },
		func(n *Node) bool { return n.Role == Master && !avoid(n.Addr) },
		func(n *Node) bool { return current == "" }, // nowhere to be is worse than a server that failed
	} {
		if n := pick(nodes, wanted); n != nil {
			return n, reason
		}
	}
	return nil, ""
}

func find(nodes []Node, addr string) *Node {
	for i := range nodes {
		if nodes[i].Addr == addr {
			return &nodes[i]
		}
	}
	return nil
}

// pick returns a random one of the healthy nodes that are wanted, or nil.
func pick(nodes []Node, wanted func(*Node) bool) *Node {
	var chosen *Node
	seen := 0
	for i := range nodes {
		if n := &nodes[i]; n.Healthy && wanted(n) {
			if seen++; rand.IntN(seen) == 0 {
				chosen = n
			}
		}
	}
	return chosen
}
