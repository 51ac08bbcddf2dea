package times_test

import (
	"testing"

	"github.com/homing/homing/bench/times"
)

func TestTravel(t *testing.T) {
	sum := times.New()
	for part := range 2 {
		h := times.New()
		for i := range 1000 {
			if err := h.RecordValue(int64(1 + i + 1000*part)); err != nil {
				t.Fatal(err)
			}
		}
		text, err := times.Encode(h)
		if err != nil {
			t.Fatal(err)
		}
		if err := times.Add(sum, text); err != nil {
			t.Fatal(err)
		}
	}
	if n, median := sum.TotalCount(), sum.ValueAtQuantile(50); n != 2000 || median < 990 || median > 1010 {
		t.Errorf("%d times, median %d", n, median)
	}
	if err := times.Add(sum, "nonsense"); err == nil {
		t.Error("nonsense was read")
	}
}
