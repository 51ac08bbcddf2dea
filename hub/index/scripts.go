package index

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/put.lua
	putSource string
	//go:embed lua/sweep.lua
	sweepSource string
	//go:embed lua/turn.lua
	turnSource string

	putScript   = redis.NewScript(putSource)
	sweepScript = redis.NewScript(sweepSource)
	turnScript  = redis.NewScript(turnSource)
)

// scriptUsers is how many users one call of a script handles: enough to make
// the call's own cost small, few enough to keep others waiting for less than
// a millisecond.
const scriptUsers = 50

// scriptBytes is how many bytes of what users hold one call writes, beyond the
// first user's. What other processes hold of the same users comes to it.
const scriptBytes = 8 << 10
