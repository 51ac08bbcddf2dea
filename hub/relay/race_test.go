//go:build race

package relay

// modelSchedules is fewer with the race detector, whose runtime can die in
// bubbles of testing/synctest (golang/go#78156).
const modelSchedules = 500
