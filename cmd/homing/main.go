// Command homing is the notification hub and game-room server: one binary, many
// roles.
package main

import "github.com/homing/homing/cmd/homing/app"

func main() { app.Main() }
