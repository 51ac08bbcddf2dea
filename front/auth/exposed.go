package auth

import (
	"io/fs"
	"log/slog"
	"os"
)

// othersMay are the permissions that a secret's file should not give: to write
// it for its group, and anything for everybody.
const othersMay fs.FileMode = 0o027

// WarnOfExposure logs a warning when others than its owner and group may read
// the file of the secret, or others than its owner may change it: whoever
// knows the secret can sign tokens for any player. Errors are New's to find.
func WarnOfExposure(cfg *Config, log *slog.Logger) {
	if cfg.HS256SecretFile == "" {
		return
	}
	st, err := os.Stat(cfg.HS256SecretFile)
	if err != nil || st.Mode()&othersMay == 0 {
		return
	}
	log.Warn("others may read or change the secret that players' tokens are signed with; give it mode 0600 or 0640",
		"file", cfg.HS256SecretFile, "mode", st.Mode().Perm().String())
}
