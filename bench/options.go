package bench

import (
	"cmp"
	"fmt"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
)

// Options say what to measure and on what: every group of flags. Zero means the
// scenario's own choice where the help says so.
type Options struct {
	ResultFlags
	ConnsFlag
	ClientsFlag
	NPMFlag
	AudienceFlags
	RateFlag
	DurationFlag
	PayloadFlag
	ApartFlag
	PeakFlag
	MaxRateFlag
	LimitFlag
	SizesFlags
	KindsFlag
	ReferenceFlags
	WorkersFlag
	BeesFlag
	SystemFlags
	RunningFlags
	PeersFlag
	PlayFlags
	SecondsFlag
	TicketFlags
	LoginFlags
	BesideFlag
}

// own is what a scenario's zero options mean.
type own struct {
	conns, apart, payload, admitRate, apis, replicas int

	rate     float64
	duration time.Duration
}

const (
	defaultConns    = 10_000
	defaultDuration = 15 * time.Second
	defaultPayload  = 120
	// workerConns is how many connections a worker is planned to hold: some get a
	// few percent more than the mean, and a worker takes no more when 19,000 of
	// 20,000 descriptors are gone but for those of pending connections
	// (--front-pending).
	workerConns = 14_000
)

// or fills in what is zero: a scenario's own choice, or else the common one.
func (o Options) or(own own) Options {
	o.Conns = cmp.Or(o.Conns, own.conns, defaultConns)
	o.Rate = cmp.Or(o.Rate, own.rate)
	o.Duration = cmp.Or(o.Duration, own.duration, defaultDuration)
	o.Payload = cmp.Or(o.Payload, own.payload, defaultPayload)
	o.Apart = cmp.Or(o.Apart, own.apart)
	o.AdmitRate = cmp.Or(o.AdmitRate, own.admitRate)
	o.APIs = cmp.Or(o.APIs, own.apis, 1)
	if o.Replicas < 0 {
		o.Replicas = cmp.Or(own.replicas, 1)
	}
	return o
}

// plan is whom the notifications name.
func (o Options) plan() clients.Plan {
	p := clients.Plan{Seed: 1, Conns: o.Conns, Targets: o.Targets, Online: min(o.Online, o.Conns)}
	if o.Topics {
		p.Topics = max(1, o.Conns/p.Online)
	}
	return p
}

// workers is how many worker processes hold the connections.
func (o Options) workers() int { return max(o.Workers, (o.Conns+workerConns-1)/workerConns) }

// Validate reports the first option out of range, by its flag and value.
func (o *Options) Validate() error {
	for _, c := range []struct {
		flag      string
		v         int
		low, high int
	}{
		{"conns", o.Conns, 0, 10_000_000},
		{"targets", o.Targets, 1, hub.MaxUsers},
		{"online", o.Online, 1, o.Targets},
		{"payload", o.Payload, 0, 60_000},
		{"apart", o.Apart, 0, 10_000_000},
		{"workers", o.Workers, 1, 256},
		{"apis", o.APIs, 0, 64},
		{"shards", o.Shards, 1, 16},
		{"replicas", o.Replicas, -1, 8},
		{"admit-rate", o.AdmitRate, 0, 1 << 20},
		{"bees", o.Bees, 1, 256},
		{"size", o.Size, 1, room.MaxSeats},
		{"hz", o.Hz, 1, room.MaxHz},
		{"players", o.Players, 0, 1_000_000},
		{"max-players", o.MaxPlayers, 0, 1_000_000},
		{"friends", o.Friends, 1, hub.MaxFriends},
		{"friends-online", o.FriendsOnline, 0, o.Friends},
	} {
		if c.v < c.low || c.v > c.high {
			return fmt.Errorf("--%s: %d: want %d to %d", c.flag, c.v, c.low, c.high)
		}
	}
	return o.validateMeasures()
}

// validateMeasures reports the first option out of range that is no whole number.
func (o *Options) validateMeasures() error {
	switch {
	case o.Logins < 1 || o.Logins > 100_000:
		return fmt.Errorf("--logins: %v: want 1 to 100000", o.Logins)
	case o.Rate < 0:
		return fmt.Errorf("--rate: %v: want 0 or more", o.Rate)
	case o.MaxRate < 0:
		return fmt.Errorf("--max-rate: %v: want 0 or more", o.MaxRate)
	}
	return o.validateShares()
}

// validateShares is what validateMeasures has left.
func (o *Options) validateShares() error {
	switch {
	case o.Says <= 0 || o.Says > 1000:
		return fmt.Errorf("--says: %v: want more than 0 and at most 1000", o.Says)
	case o.Seconds != 0 && (o.Seconds < 0.1 || o.Seconds > 3600):
		return fmt.Errorf("--seconds: %v: want 0.1 to 3600", o.Seconds)
	case !(o.Cancel >= 0 && o.Cancel <= 1):
		return fmt.Errorf("--cancel: %v: want 0 to 1", o.Cancel)
	case o.Scale <= 0 || o.Scale > 10:
		return fmt.Errorf("--scale: %v: want more than 0 and at most 10", o.Scale)
	case o.Duration != 0 && o.Duration < 100*time.Millisecond:
		return fmt.Errorf("--duration: %v: want at least 100ms", o.Duration)
	}
	return o.validateRunning()
}

// validateRunning reports options about a running system that do not fit together.
func (o *Options) validateRunning() error {
	switch {
	case (o.API == "") != (len(o.Front) == 0):
		return fmt.Errorf("--api: %q and --front: %q: want both or neither", o.API, o.Front)
	case len(o.Agents) > 0 && o.API == "":
		return fmt.Errorf("--agents: %q: want --api and --front too: what this machine starts listens on loopback", o.Agents)
	case (len(o.Agents) == 0) != (o.AgentSecretFile == ""):
		return fmt.Errorf("--agents: %q and --agent-secret-file: %q: want both or neither", o.Agents, o.AgentSecretFile)
	}
	return nil
}
