//go:build !race

package relay

const modelSchedules = 10_000
