package index

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/put.lua
	putSource string
	//go:embed lua/renew.lua
	renewSource string
	//go:embed lua/sweep.lua
	sweepSource string
	//go:embed lua/forget.lua
	forgetSource string

	putScript    = redis.NewScript(putSource)
	renewScript  = redis.NewScript(renewSource)
	sweepScript  = redis.NewScript(sweepSource)
	forgetScript = redis.NewScript(forgetSource)
)

// scriptUsers is how many users one call of a script handles: enough to make
// the call's own cost small, few enough to keep others waiting for less than
// a millisecond.
const scriptUsers = 50
