package drill

import "testing"

func TestCompareWhatWasStored(t *testing.T) {
	for name, c := range map[string]struct {
		want, got      []int
		missing, wrong int
	}{
		"all":                   {[]int{1, 3}, []int{1, 3}, 0, 0},
		"one more, not refused": {[]int{1, 3}, []int{1, 2, 3}, 0, 0},
		"one gone":              {[]int{1, 3}, []int{3}, 1, 0},
		"out of order":          {[]int{1, 3}, []int{3, 1}, 0, 1},
		"twice":                 {[]int{1}, []int{1, 1}, 0, 1},
	} {
		if missing, wrong := compare(c.want, c.got); missing != c.missing || wrong != c.wrong {
			t.Errorf("%s: %d missing, %d wrong", name, missing, wrong)
		}
	}
}
