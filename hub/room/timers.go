package room

import (
	"slices"
	"unicode/utf8"
)

// timers are those that the logic has set.
type timers struct {
	all    []timer
	serial int64 // of the last
}

type timer struct {
	at     int64 // the tick at which it is due
	serial int64 // grows with each that is set
	name   string
}

// set is Table.After at a tick.
func (t *timers) set(tick, ticks int64, name string) bool {
	t.cancel(name)
	if len(t.all) >= maxTimers || !utf8.ValidString(name) {
		return false
	}
	t.serial++
	t.all = append(t.all, timer{at: tick + min(max(1, ticks), maxTicks), serial: t.serial, name: name})
	return true
}

func (t *timers) cancel(name string) {
	t.all = slices.DeleteFunc(t.all, func(x timer) bool { return x.name == name })
}

// take takes out the first one that is due at a tick, among those up to the one with
// the serial last.
func (t *timers) take(tick, last int64) (name string, ok bool) {
	next := -1
	for i, x := range t.all {
		if x.at <= tick && x.serial <= last && (next < 0 || x.at < t.all[next].at) {
			next = i
		}
	}
	if next < 0 {
		return "", false
	}
	name = t.all[next].name
	t.all = slices.Delete(t.all, next, next+1)
	return name, true
}
