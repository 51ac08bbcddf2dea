package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestNoticesAreCurrent(t *testing.T) {
	const file = "../../THIRD-PARTY-NOTICES"
	want, err := notices(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what is linked has changed: go run ./deploy/notices > THIRD-PARTY-NOTICES")
	}
	for _, s := range []string{"The Go standard library", "github.com/redis/go-redis/v9 v", "github.com/gobwas/ws v", "go.uber.org/automaxprocs v"} {
		if !strings.Contains(string(want), "\n"+s) {
			t.Errorf("nothing of %s", s)
		}
	}
	for _, s := range []string{"GNU GENERAL PUBLIC", "GNU LESSER", "GNU AFFERO", "Business Source", "Server Side Public"} {
		if strings.Contains(string(want), s) {
			t.Errorf("a license that we may not link: %s", s)
		}
	}
}

func TestLicense(t *testing.T) {
	text, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"Apache License", "Version 2.0, January 2004", "END OF TERMS AND CONDITIONS"} {
		if !strings.Contains(string(text), s) {
			t.Errorf("LICENSE lacks %q", s)
		}
	}
}
