package capacity

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Cost is one measured unit cost. Its unit is part of its name.
type Cost struct {
	Name    string  `json:"name"` // as `homing bench` calls it, where it does
	Value   float64 `json:"value"`
	About   string  `json:"about"`
	Command string  `json:"measured_with"`
}

// Machine is where Measured was measured.
const Machine = "2 cores, 24 GiB, Linux 6.18, Go 1.26, Redis 7.0.15; load, Redis, servers and clients on the same cores"

// benchIdle and the others are the commands behind the figures. The two
// programs are not part of Homing: how they sent is said so that they can be
// written again.
const (
	benchIdle    = "homing bench idle --conns 30000 --workers 3"
	benchConnect = "homing bench connect --conns 30000"
	benchNotify  = "homing bench notify"
	benchSingle  = "homing bench notify --targets 1 --online 1 --rate 2500 --workers 1"
	relaySender  = "a program on hub/relay: 50 messages of 320 bytes to as many receivers, 200 times a second"
	relayReader  = "a program on hub/relay: 10 receivers, 1,000 messages of 320 bytes a second to each"
	benchMany    = "homing bench idle --conns 50 --shards 2 --replicas 2, with 22 workers and with 2: the difference, per worker"
	benchNodes   = "homing bench idle --conns 50 --workers 4, with 27 Redis servers and with 4: the difference, per server"
	publishing   = "PUBLISH of 1 KB, 16 to 128 a pipeline, one subscriber on a replica"
)

// Measured returns the unit costs that plans are computed from unless others
// are given. This is the one place where they stand; after a change,
// `go test ./bench/capacity -run TestPage -update` writes docs/capacity.md anew.
func Measured() Costs {
	return Costs{
		{"front_us_per_delivery", 16.2, "front: one message to one socket, two workers for 150 users", benchNotify},
		{"api_us_per_delivery", 4.7, "API: a request of 300 users, 150 online on two workers, divided by 150", benchNotify},
		{"redis_us_per_delivery", 2.9, "all Redis servers, likewise; only its ratio to another machine's is used", benchNotify},
		{"api_us_per_request", 172, "API: a request before its users count: a request of one user, less its envelope", benchSingle},
		{"api_us_per_envelope", 12, "sender: build, keep and publish one message to one process", relaySender},
		{"front_us_per_envelope", 20, "receiver: read one message, order it, confirm it", relayReader},

		{"front_us_per_connect", 74, "front: handshake, HS256 token, registration", benchConnect},
		{"redis_us_per_connect", 12, "all data Redis servers: one user entered", benchConnect},
		{"kib_per_conn", 0.63, "worker memory per connection, user space", benchIdle},
		{"kernel_kib_per_conn", 4.4, "kernel memory per connection", benchIdle},
		{"front_idle_us_per_conn", 1.7, "front: pings of one connection, per second (0.050 cores for 30,000)", benchIdle},

		{"redis_us_per_look_up", 1.0, "data replica: one of the 300 keys of an MGET", "MGET of 300 keys among 200,000"},
		{"redis_us_per_command", 10, "data replica: one more MGET for the same keys, on another shard", "MGET of 2 keys, unpipelined, 50 clients"},
		{"redis_us_per_publish", 4.0, "pub/sub master: one PUBLISH; the upper end of 2 to 4", publishing},
		{"redis_us_per_copy", 3.1, "pub/sub replica: one PUBLISH that it received; the upper end of 1.6 to 3.1", publishing},
		{"redis_us_per_lease", 0.15, "first data master: one process in a reading of all leases", "ZRANGE of 1,000 and MGET of 1,000 leases of 110 bytes"},
		{"redis_bytes_per_user", 121, "data Redis: one user's key", "used_memory with 1,000,000 keys of 22 bytes"},

		{"data_us_per_process", 195, "data master: what one process asks of itself, per second (INFO, lease)", benchMany},
		{"pubsub_us_per_process", 147, "pub/sub server: the same (INFO, canary, PING)", benchMany},
		{"sentinel_us_per_process", 119, "Sentinel: the same, per shard that it watches", benchMany},
		{"process_us_per_node", 800, "any process: one Redis server watched, per second", benchNodes},
	}
}

// Costs are unit costs by name.
type Costs []Cost

// Value returns the cost of that name, 0 when there is none.
func (c Costs) Value(name string) float64 {
	if i := c.find(name); i >= 0 {
		return c[i].Value
	}
	return 0
}

func (c Costs) find(name string) int {
	return slices.IndexFunc(c, func(x Cost) bool { return x.Name == name })
}

// ErrNoCosts is returned for figures of which none is a unit cost.
var ErrNoCosts = errors.New("holds no unit cost that a plan is made from")

// GivenCosts is where a cost was measured that With replaced.
const GivenCosts = "--costs"

// With returns c with the values of a flat JSON object, such as a scenario of
// `homing bench --json` prints. Names that c does not have are passed over,
// because a scenario measures more than costs. idle_cores and conns give
// front_idle_us_per_conn; redis_us_per_delivery alone scales the costs of
// Redis that the object does not name by its ratio to c's.
func (c Costs) With(object []byte) (Costs, error) {
	var given map[string]any
	if err := json.Unmarshal(object, &given); err != nil {
		return nil, fmt.Errorf("read the figures of a bench: %w", err)
	}
	values := make(map[string]float64)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		v, ok := given[name].(float64)
		switch {
		case c.find(name) >= 0 && (!ok || v < 0):
			return nil, fmt.Errorf("%s: %v: want a number, 0 or more", name, given[name])
		case ok:
			values[name] = v
		}
	}
	if idle, conns := values["idle_cores"], values["conns"]; idle > 0 && conns > 0 {
		values["front_idle_us_per_conn"] = idle * second / conns
	}
	c.scaleRedis(values)
	return c.replaced(values)
}

// scaleRedis adds to values the pieces of Redis' costs that it lacks, when it
// says how fast Redis is.
func (c Costs) scaleRedis(values map[string]float64) {
	given, here := values["redis_us_per_delivery"], c.Value("redis_us_per_delivery")
	if given <= 0 || here <= 0 {
		return
	}
	for _, x := range c {
		if _, named := values[x.Name]; !named && strings.HasPrefix(x.Name, "redis_us_") {
			values[x.Name] = x.Value * given / here
		}
	}
}

func (c Costs) replaced(values map[string]float64) (Costs, error) {
	out, n := slices.Clone(c), 0
	for i := range out {
		if v, ok := values[out[i].Name]; ok {
			out[i].Value, out[i].Command = v, GivenCosts
			n++
		}
	}
	if n == 0 {
		return nil, ErrNoCosts
	}
	return out, nil
}
