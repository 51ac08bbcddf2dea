// Package abuse plays hostile players, holders of an API key, and addresses:
// each does, as fast as it is let, one thing that costs the other side more
// than itself. They run in a process of their own with the least share of the
// CPU, as bounded loops that end by themselves.
package abuse
