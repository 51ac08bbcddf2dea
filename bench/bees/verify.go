package bees

import "slices"

// Verdict compares what clients read with what the plan sent them.
type Verdict struct {
	Expected   int // deliveries due, of accepted notifications
	Lost       int // due and never read
	Duplicated int // read more often than once
	Stray      int // read by a client that the plan did not name
}

func (v Verdict) plus(w Verdict) Verdict {
	return Verdict{
		Expected: v.Expected + w.Expected, Lost: v.Lost + w.Lost,
		Duplicated: v.Duplicated + w.Duplicated, Stray: v.Stray + w.Stray,
	}
}

// Sent says which notifications of a plan were sent, all of 0 up to and
// without N, and which of those were not accepted: those may have arrived or
// not.
type Sent struct {
	N       uint32
	Refused []uint32
}

// verify checks the clients from number first on. got is sorted in place.
func verify(p Plan, sent Sent, first int, got [][]uint32) Verdict {
	due := make([][]uint32, len(got)) // by client, ascending
	refused := make(map[uint32]bool, len(sent.Refused))
	for _, n := range sent.Refused {
		refused[n] = true
	}
	picker := NewPicker(p)
	var users []int32
	for n := range sent.N {
		users = picker.Online(n, users[:0])
		for _, u := range users {
			if i := int(u) - first; i >= 0 && i < len(due) {
				due[i] = append(due[i], n)
			}
		}
	}
	var v Verdict
	for i := range due {
		slices.Sort(got[i])
		v = v.plus(compare(due[i], got[i], refused))
	}
	return v
}

// compare walks two ascending lists side by side.
func compare(due, got []uint32, refused map[uint32]bool) (v Verdict) {
	for _, n := range due {
		for len(got) > 0 && got[0] < n {
			v.Stray++
			got = got[1:]
		}
		times := 0
		for len(got) > 0 && got[0] == n {
			times++
			got = got[1:]
		}
		v.Duplicated += max(0, times-1)
		if refused[n] {
			continue
		}
		v.Expected++
		if times == 0 {
			v.Lost++
		}
	}
	v.Stray += len(got)
	return v
}
