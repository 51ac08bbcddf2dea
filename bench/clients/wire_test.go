package clients

import (
	"slices"
	"testing"
)

func TestStampRoundTrip(t *testing.T) {
	data := AppendData(nil, 1234567890123456789, 4294967295, 120)
	if len(data) != 120 {
		t.Errorf("%d bytes of data, want 120", len(data))
	}
	s, ok := parseStamp(slices.Concat([]byte(`{"t":"notify","id":"a","data":`), data, []byte("}")))
	if !ok || s.at != 1234567890123456789 || s.n != 4294967295 {
		t.Errorf("stamp = %+v, %v", s, ok)
	}
	for _, bad := range []string{"", `{"t":"notify"}`, `"data":{"at":12}`, `"data":{"at":`} {
		if _, ok := parseStamp([]byte(bad)); ok {
			t.Errorf("stamp found in %q", bad)
		}
	}
}

func FuzzParseStamp(f *testing.F) {
	f.Add(AppendData(nil, 12, 7, 60))
	f.Fuzz(func(_ *testing.T, b []byte) { parseStamp(b) })
}
