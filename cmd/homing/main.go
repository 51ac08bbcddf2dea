// Command homing is the notification hub and game-room server: one binary, many
// roles.
package main

import (
	"os"

	"github.com/homing/homing/cmd/homing/app"
)

func main() { os.Exit(app.Main()) }
