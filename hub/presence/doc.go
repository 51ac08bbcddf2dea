// Package presence tells who comes and who goes: game backends by the events
// user.online and user.offline, and a user's friends, by messages between the
// front processes that hold them.
//
// Who has come or gone is known where entries of the index are written:
// index.Registrar.Tell in a front process, index.Index.Tell in an API server that
// sweeps after one that died. A Teller is the front's part, a Mourner the sweeper's.
package presence

import (
	"fmt"
	"time"

	"github.com/homing/homing/hub"
)

// Config says what of presence is on. The zero value is off; kong.ApplyDefaults
// fills in the rest. All servers of a deployment should agree on it.
type Config struct {
	On      bool          `name:"presence" help:"Publish the events user.online and user.offline (see --hooks). Give it to fronts and to API servers: these tell of the users of a front that died."`
	Friends bool          `name:"friends" help:"Tell users when their friends come and go, and with hello who of them is there. The lists are in tokens, or come by PUT /users/{id}/friends. Give it to fronts and to API servers."`
	Linger  time.Duration `name:"presence-linger" help:"A user who is back within this time has not gone. On a front, with --presence or --friends." default:"3s"`
	Keep    time.Duration `name:"friends-keep" help:"How long a list that came by PUT /users/{id}/friends is kept in data Redis." default:"720h"`
}

// Enabled reports whether anybody is told of anything.
func (c *Config) Enabled() bool { return c.On || c.Friends }

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	switch {
	case c.Linger < 100*time.Millisecond || c.Linger > MaxLinger:
		return fmt.Errorf("--presence-linger: %v: want 100ms to %v", c.Linger, MaxLinger)
	case c.Keep < time.Minute || c.Keep > maxKeep:
		return fmt.Errorf("--friends-keep: %v: want 1m to %v", c.Keep, maxKeep)
	}
	return nil
}

const (
	// MaxLinger is the longest that a user may be away without having gone. A front
	// that stops waits for it.
	MaxLinger = time.Minute
	maxKeep   = 10 * 365 * 24 * time.Hour
)

// Friend is a friend who is online, and the services that its connections were
// opened from, by name; none for those of no service.
type Friend struct {
	User     hub.UserID
	Services []hub.Service
}

// News is that a user has come or gone.
type News struct {
	User     hub.UserID
	Online   bool
	Services []hub.Service // as in Friend; of one who came
	At       time.Time     // by the clock of the user's data Redis, to the microsecond
}
