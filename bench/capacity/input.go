package capacity

import (
	"fmt"
	"math"

	"github.com/homing/homing/hub"
)

// Input is what a plan is made for. The defaults are the system of 2014 that
// Homing follows, grown with the users: 200,000 users, 1,200 connects/s, and
// 1,200 requests/s for 300 users each of whom 150 are online, 180,000
// deliveries/s of 200 bytes.
type Input struct {
	Users   Count   `required:"" help:"Users connected at once: 200k, 1M, 10M." placeholder:"COUNT"`
	PerUser float64 `default:"3240" help:"Notifications that reach a connected user in an hour."`
	Rate    float64 `name:"notify-rate" help:"Requests per second in all, instead of --per-user. 0: --per-user counts."`
	Targets int     `default:"300" help:"Users that one request names."`
	Online  int     `default:"150" help:"Of those, users that are connected."`
	Size    int     `default:"200" help:"Bytes of a message as it is written to a socket."`
	Churn   float64 `name:"connects-per-user" default:"21.6" help:"Connects of a user in an hour; as many leave."`
	Storm   float64 `name:"storm-minutes" default:"5" help:"Everybody who was cut off is back within this time. 0: no matter when."`

	Cores       int     `name:"cores-per-machine" default:"8" help:"Cores of a machine. The defaults are a common general-purpose cloud instance: 8 vCPU, 32 GiB, and of its \"up to 10 Gbit/s\" the quarter that it may use all day."`
	Memory      Bytes   `name:"memory-per-machine" default:"32GiB" help:"Memory of a machine."`
	Network     BitRate `name:"network-per-machine" default:"2.5Gbit" help:"What a machine sends, or receives, per second."`
	AdmitRate   float64 `default:"500" help:"Clients that a worker lets in per second (front.admit-rate). 0: no limit."`
	Headroom    float64 `default:"0.5" help:"Share of a machine to plan for; the rest is for failures and reconnects."`
	Zones       int     `default:"3" help:"Zones that machines are spread over evenly. Every Redis has a server in each; with one zone, a replica all the same."`
	Cells       int     `default:"0" help:"Deployments of their own, each with its Redis, that the users are divided over. 0: as few as use at most half of what a cell can grow to."`
	Local       float64 `default:"0.9" help:"With several cells: share of a request's users who are in one cell; the others are spread over all."`
	Descriptors Count   `default:"1M" help:"Descriptors of a worker (ulimit -n)."`
	Clients     Count   `name:"redis-clients" default:"10000" help:"Clients of a Redis server or Sentinel (maxclients; 10,000 is Redis' own default)."`
}

// Limits of the input beyond which a plan says nothing.
const (
	maxUsers = 100e9
	maxCells = 10_000
	second   = 1e6 // µs
)

// Validate reports the first value that cannot be planned for, by its flag.
func (in *Input) Validate() error {
	for _, c := range []struct {
		flag      string
		v         float64
		low, high float64
	}{
		{"users", float64(in.Users), 1, maxUsers},
		{"per-user", in.PerUser, 0, 1e7},
		{"notify-rate", in.Rate, 0, 1e10},
		{"targets", float64(in.Targets), 1, hub.MaxUsers},
		{"online", float64(in.Online), 1, float64(in.Targets)},
		{"size", float64(in.Size), 1, 1 << 20},
		{"connects-per-user", in.Churn, 0, 1e5},
		{"storm-minutes", in.Storm, 0, 1e5},
		{"cores-per-machine", float64(in.Cores), 1, 4096},
		{"memory-per-machine", float64(in.Memory), 1 << 30, 1 << 50},
		{"network-per-machine", float64(in.Network), 1e6, 1e15},
		{"admit-rate", in.AdmitRate, 0, 1e6},
		{"headroom", in.Headroom, 0.05, 0.9},
		{"zones", float64(in.Zones), 1, 9},
		{"cells", float64(in.Cells), 0, maxCells},
		{"local", in.Local, 0, 1},
		{"descriptors", float64(in.Descriptors), 1024, 1e9},
		{"redis-clients", float64(in.Clients), 100, 1e9},
	} {
		if math.IsNaN(c.v) || c.v < c.low || c.v > c.high {
			return fmt.Errorf("--%s: %s: want %s to %s", c.flag, plain(c.v), plain(c.low), plain(c.high))
		}
	}
	return nil
}

// plain prints a number as it was typed, more or less.
func plain(v float64) string {
	if v == math.Trunc(v) {
		return thousands(v)
	}
	return fmt.Sprint(v)
}

// replicas is how many replicas every Redis master has at least.
func (in *Input) replicas() int { return max(1, in.Zones-1) }

// requests is the number of notifications posted per second.
func (in *Input) requests() float64 {
	if in.Rate > 0 {
		return in.Rate
	}
	return float64(in.Users) * in.PerUser / 3600 / float64(in.Online)
}
