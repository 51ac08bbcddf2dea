// Package quiet silences go-redis, which prints every failed dial to standard
// error. What it prints it also returns as an error, to those who know whether
// it matters. Its logger belongs to the whole program, so the packages that
// use go-redis import this one for its effect.
package quiet

import "github.com/redis/go-redis/v9/logging"

func init() { logging.Disable() }
