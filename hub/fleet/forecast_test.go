package fleet

import (
	"testing"
	"time"
)

func TestForesee(t *testing.T) {
	node := func(id, region string, state State, capacity, connections, reserved int) Node {
		return Node{ID: id, Cluster: "game", Region: region, State: state, Capacity: capacity, Reserved: reserved, Load: Load{Connections: connections, Rooms: 2}}
	}
	leaving := node("a", "eu", Ready, 1000, 600, 0)
	s := &Snapshot{Nodes: []Node{
		leaving, node("b", "eu", Ready, 1000, 600, 100), node("c", "eu", Ready, 1000, 700, 0),
		node("d", "eu", Red, 1000, 0, 0), node("e", "us", Ready, 1000, 0, 0), node("f", "eu", Draining, 1000, 0, 0),
	}}
	f := Foresee(s, &leaving, 20, time.Minute)
	if !f.Fits || f.Connections != 600 || f.Rooms != 2 || f.PerSecond != 20 || f.Seconds != 30 || f.Closed != 0 || len(f.To) != 2 {
		t.Fatalf("%+v", f)
	}
	for _, d := range f.To {
		if d.Connections != 300 || d.PerSecond != 10 || d.Free != 300 || !d.Fits {
			t.Errorf("%+v", d)
		}
	}
	if f := Foresee(s, &leaving, 5, time.Minute); f.Closed != 300 || f.Seconds != 60 {
		t.Errorf("too slow for the deadline: %+v", f)
	}
	if f := Foresee(s, &leaving, 0, 5*time.Minute); f.PerSecond != 2 || f.Closed != 0 {
		t.Errorf("evenly: %+v", f)
	}
	s.Nodes[2].Load.Connections = 800
	if f := Foresee(s, &leaving, 20, time.Minute); f.Fits || f.Why != "100 of 600 connections find no room on the 2 other nodes" {
		t.Errorf("%+v", f)
	}
	s.Nodes[2].Capacity = 0
	if f := Foresee(s, &leaving, 20, time.Minute); !f.Fits {
		t.Errorf("a node without a bound has room: %+v", f)
	}
	if f := Foresee(&Snapshot{Nodes: []Node{leaving}}, &leaving, 20, time.Minute); f.Fits || len(f.To) != 0 {
		t.Errorf("alone: %+v", f)
	}
}
