// Package rehearsal plays a day of players against the rules of a fleet, in virtual time,
// and shows what would have happened: nodes, players who found no place, hours paid for.
// The rules are those of hub/fleet/scale, the very code that runs live; nodes and
// players are a model, which is as follows.
//
// A trace says how many players want to be there at any time. Players leave by
// themselves, so that half of a node's are others after a while, and new ones come until
// there are as many as the trace says. They are spread evenly over the nodes that are
// ready, or packed into the fullest. Who finds no place waits, and is refused after a
// minute. A node that drains sends its players away over some minutes; they come back as
// new ones. A zone that fails takes its nodes, and their players come back, too. Rooms
// are shared out as players are.
package rehearsal
