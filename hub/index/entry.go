package index

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/homing/homing/hub"
)

// The value under a user's key is a list of entries, one per process that
// holds connections of the user, separated by single spaces:
//
//	<process>=<service>*<n>,<service>*<n> <process>=*1
//
// A connection of no service counts under the empty name. What stands behind
// the '=' is called the process's holds; it is never empty. Two holds are none:
// a process keeps the place of a user who has just left with '~', and whoever
// tells that a user has gone, a process or a sweep, marks that with '!' and a time
// until it is told. Where moves are told, the time when the user came stands among
// the entries, as "?<time>" until others have heard of it, then as "+<time>".

// lingering is the holds of a user who has left a moment ago.
const lingering = "~"

// gone begins the holds of a user of whom it is being told that it has gone. A
// process asks the index for such a mark by this alone.
const gone = "!"

// holdsNone reports whether no connection holds the user.
func holdsNone(holds string) bool { return holds == lingering || isGone(holds) }

func isGone(holds string) bool { return strings.HasPrefix(holds, gone) }

// appendHolds appends the written form of services, sorted by name so that
// equal holdings are equal strings. Counts below 1 are left out.
func appendHolds(dst []byte, services []hub.ServiceCount) []byte {
	byName := func(a, b hub.ServiceCount) int { return cmp.Compare(a.Service, b.Service) }
	if !slices.IsSortedFunc(services, byName) {
		services = slices.SortedFunc(slices.Values(services), byName)
	}
	start := len(dst)
	for _, s := range services {
		if s.Count < 1 {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, s.Service...)
		dst = append(dst, '*')
		dst = strconv.AppendInt(dst, int64(s.Count), 10)
	}
	return dst
}

// nextEntry takes the first well-formed entry off a user's value; pid and
// holds are views of it. Anything malformed is passed over, so that a value
// written by a later version does not hide the entries beside it.
func nextEntry(value string) (pid hub.ProcessID, holds, rest string, ok bool) {
	for value != "" {
		var entry string
		entry, value, _ = strings.Cut(value, " ")
		if len(entry) > hub.ProcessIDLen+1 && entry[hub.ProcessIDLen] == '=' {
			return hub.ProcessID(entry[:hub.ProcessIDLen]), entry[hub.ProcessIDLen+1:], value, true
		}
	}
	return "", "", "", false
}

// entries yields the process and the holds of every entry in a user's value.
func entries(value string) iter.Seq2[hub.ProcessID, string] {
	return func(yield func(hub.ProcessID, string) bool) {
		for {
			pid, holds, rest, ok := nextEntry(value)
			if !ok || !yield(pid, holds) {
				return
			}
			value = rest
		}
	}
}

// sinceOf is when the user of a value came, zero when it does not say.
func sinceOf(value string) time.Time {
	for one := range strings.SplitSeq(value, " ") {
		if one == "" || one[0] != '?' && one[0] != '+' {
			continue
		}
		if us, err := strconv.ParseInt(one[1:], 10, 64); err == nil {
			return time.UnixMicro(us)
		}
	}
	return time.Time{}
}

// holdsOf returns what a user's value says that pid holds, "" for nothing.
func holdsOf(value string, pid hub.ProcessID) string {
	for p, holds := range entries(value) {
		if p == pid {
			return holds
		}
	}
	return ""
}

// holdsAny tells whether holds names at least one of services; no services
// means any.
func holdsAny(holds string, services []hub.Service) bool {
	if holdsNone(holds) {
		return false
	}
	if len(services) == 0 {
		return true
	}
	for holds != "" {
		var one string
		one, holds, _ = strings.Cut(holds, ",")
		name, _, _ := strings.Cut(one, "*")
		if slices.Contains(services, hub.Service(name)) {
			return true
		}
	}
	return false
}

// parseHolds is the inverse of appendHolds; malformed parts are left out.
func parseHolds(holds string) []hub.ServiceCount {
	var out []hub.ServiceCount
	for one := range strings.SplitSeq(holds, ",") {
		name, count, _ := strings.Cut(one, "*")
		if n, err := strconv.Atoi(count); err == nil && n > 0 {
			out = append(out, hub.ServiceCount{Service: hub.Service(name), Count: n})
		}
	}
	return out
}
