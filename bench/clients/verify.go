package clients

import "slices"

// Verdict compares what clients read with what the plan sent them.
type Verdict struct {
	Expected   int // deliveries due, of accepted notifications, to clients that are not apart
	Lost       int // of those, never read
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

// verify checks the clients from number first on. got is sorted in place. It
// draws the whole plan once and keeps no more than a mark for each client.
func verify(p Plan, sent Sent, first int, got [][]uint32) (v Verdict) {
	refused := make(map[uint32]bool, len(sent.Refused))
	for _, n := range sent.Refused {
		refused[n] = true
	}
	for _, g := range got {
		slices.Sort(g)
	}
	read := make([]int, len(got)) // by client, how much of what it got is accounted for
	picker, users := NewPicker(p), []int32(nil)
	for n := range sent.N {
		users = picker.Online(n, users[:0])
		due := !refused[n]
		for _, u := range users {
			if i := int(u) - first; i >= 0 && i < len(got) {
				read[i] += v.check(got[i][read[i]:], n, due)
			}
		}
	}
	for i := range got {
		v.Stray += len(got[i]) - read[i]
	}
	return v
}

// check looks for n, which its client should have got if it was due, at the
// front of an ascending list, and returns how much of the list that accounts
// for.
func (v *Verdict) check(got []uint32, n uint32, due bool) int {
	i := 0
	for i < len(got) && got[i] < n {
		i++
	}
	v.Stray += i
	times := 0
	for i < len(got) && got[i] == n {
		i++
		times++
	}
	v.Duplicated += max(0, times-1)
	if due {
		v.Expected++
		if times == 0 {
			v.Lost++
		}
	}
	return i
}
