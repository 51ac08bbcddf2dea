package clients

import "testing"

func TestParseSources(t *testing.T) {
	own, err := ParseSources("10.0.0.5, 10.0.0.6")
	if err != nil || len(own) != 2 || own[1].String() != "10.0.0.6" {
		t.Fatalf("ParseSources = %v, %v", own, err)
	}
}

func TestParseSourcesRefuses(t *testing.T) {
	if own, err := ParseSources(""); err != nil || own != nil {
		t.Errorf("of nothing: %v, %v", own, err)
	}
	for _, bad := range []string{"eth0", "10.0.0.5,", "::1", "10.0.0.5;10.0.0.6"} {
		if own, err := ParseSources(bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, own)
		}
	}
}
