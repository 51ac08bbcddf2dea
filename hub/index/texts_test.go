package index

import "testing"

func TestTexts(t *testing.T) {
	var x texts
	if x.ref(nil) != 0 || x.get(0) != "" {
		t.Fatal("the empty string is not 0")
	}
	x.unref(0)
	a, b := x.ref([]byte("a")), x.ref([]byte("b"))
	if a == b || x.ref([]byte("a")) != a || x.get(a) != "a" || x.get(b) != "b" {
		t.Fatalf("a is %d %q, b is %d %q", a, x.get(a), b, x.get(b))
	}
	x.unref(a)
	if x.get(a) != "a" {
		t.Fatal("freed while in use")
	}
	x.unref(a)
	if c := x.ref([]byte("c")); c != a || x.get(c) != "c" {
		t.Errorf("the freed number %d was not used again: c is %d", a, c)
	}
	if again := x.ref([]byte("a")); again == a || x.get(again) != "a" {
		t.Errorf("a is %d %q now", again, x.get(again))
	}
	if len(x.all) != 4 {
		t.Errorf("%d texts, want 3 and the empty one", len(x.all)-1)
	}
}
