package auth

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"
)

func TestSecretsThatOthersMayRead(t *testing.T) {
	file := writeFile(t, "secret", testSecret)
	for mode, warned := range map[fs.FileMode]bool{0o600: false, 0o400: false, 0o440: false, 0o644: true, 0o660: true, 0o602: true} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		WarnOfExposure(&Config{HS256SecretFile: file}, slog.New(slog.NewTextHandler(&out, nil)))
		if got := strings.Contains(out.String(), file); got != warned {
			t.Errorf("mode %v: warned %v, want %v: %s", mode, got, warned, out.String())
		}
	}
}
