package admission

import "testing"

func TestTheTimeToComeBackIsBoundedAndSpread(t *testing.T) {
	l := New(10, 0.1)
	for range 10 {
		if _, ok := l.Admit(); !ok {
			t.Fatal("refused though there is room")
		}
	}
	seen := map[int]int{}
	for range 10_000 {
		after, ok := l.Admit()
		if ok || after < 1 || after > MaxRetry {
			t.Fatalf("admitted %v, back after %d s; want a refusal with 1 to %d", ok, after, MaxRetry)
		}
		seen[after]++
	}
	for after := 1; after <= MaxRetry; after++ {
		if seen[after] == 0 {
			t.Errorf("nobody comes back after %d s", after)
		}
	}
	if n := seen[MaxRetry]; n > 1000 {
		t.Errorf("%d of 10,000 come back in the same second", n)
	}
	for range MaxRetry * 10 {
		l.Refill()
	}
	if _, ok := l.Admit(); !ok || l.owed != 0 {
		t.Errorf("admitted %v after the longest time, %v are owed", ok, l.owed)
	}
}

// Clients without a valid token are refused at no cost to the others, and their
// tokens are only checked so often while nobody can come in.
func TestClientsWithoutATokenAreOwedNothing(t *testing.T) {
	l := New(10, 0.1)
	for range 1000 {
		if _, ok := l.Check(); !ok {
			t.Fatal("a token is not checked though there is room")
		}
	}
	for range 10 {
		if _, ok := l.Admit(); !ok {
			t.Fatal("refused though there is room")
		}
	}
	checked := 0
	for range 1000 {
		after, ok := l.Check()
		if ok {
			checked++
		} else if after != 1 {
			t.Fatalf("back after %d s, want 1", after)
		}
	}
	if checked != 40 || l.owed != 0 {
		t.Errorf("%d tokens checked, %v owed; want 40 and 0", checked, l.owed)
	}
}

func TestNoLimit(t *testing.T) {
	l := New(0, 0.1)
	for range 10_000 {
		_, checked := l.Check()
		_, admitted := l.Admit()
		if !checked || !admitted || !l.Handshake() {
			t.Fatal("refused without a limit")
		}
		l.Refill()
	}
}
