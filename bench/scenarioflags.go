package bench

import "reflect"

// The flags of each scenario.
type (
	// IdleFlags are what idle reads.
	IdleFlags struct {
		ResultFlags
		ConnsFlag
		ClientsFlag
		RateFlag
		DurationFlag
		WorkersFlag
		BeesFlag
		SystemFlags
		RunningFlags
	}

	// ConnectFlags are what connect reads.
	ConnectFlags struct {
		ResultFlags
		ConnsFlag
		ClientsFlag
		RateFlag
		WorkersFlag
		BeesFlag
		SystemFlags
		RunningFlags
	}

	// ClientsFlags are what clients reads.
	ClientsFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		NPMFlag
		WorkersFlag
		BeesFlag
		SystemFlags
	}

	// NotifyFlags are what notify reads.
	NotifyFlags struct {
		ResultFlags
		ConnsFlag
		ClientsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		PeakFlag
		MaxRateFlag
		LimitFlag
		WorkersFlag
		BeesFlag
		SystemFlags
		RunningFlags
	}

	// LimitFlags are what limit reads.
	LimitFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		WorkersFlag
		BeesFlag
	}

	// BroadcastFlags are what broadcast reads.
	BroadcastFlags struct {
		ResultFlags
		ConnsFlag
		ClientsFlag
		RateFlag
		DurationFlag
		PayloadFlag
		LimitFlag
		WorkersFlag
		BeesFlag
		SystemFlags
		RunningFlags
	}

	// TopicFlags are what topic reads.
	TopicFlags struct {
		ResultFlags
		ConnsFlag
		RateFlag
		DurationFlag
		PayloadFlag
		LimitFlag
		WorkersFlag
		BeesFlag
		SystemFlags
	}

	// StormFlags are what storm reads.
	StormFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		ApartFlag
		WorkersFlag
		BeesFlag
		SystemFlags
		RunningFlags
	}

	// SlowFlags are what slow reads.
	SlowFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		ApartFlag
		WorkersFlag
		BeesFlag
		SystemFlags
		RunningFlags
	}

	// AbuseFlags are what abuse reads.
	AbuseFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		KindsFlag
		WorkersFlag
		BeesFlag
		SystemFlags
	}

	// SoakFlags are what soak reads.
	SoakFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		WorkersFlag
		BeesFlag
		SystemFlags
		RunningFlags
	}

	// GrowthFlags are what growth reads.
	GrowthFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		MaxRateFlag
		SizesFlags
		WorkersFlag
		BeesFlag
		SystemFlags
	}

	// PeersFlags are what peers reads.
	PeersFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		MaxRateFlag
		PeersFlag
		PlayFlags
		SecondsFlag
		PeakFlag
		BesideFlag
		WorkersFlag
		BeesFlag
		SystemFlags
	}

	// RoomFlags are what room reads.
	RoomFlags struct {
		ResultFlags
		PlayFlags
		SecondsFlag
		PeakFlag
		BesideFlag
		WorkersFlag
		BeesFlag
		SystemFlags
	}

	// MatchFlags are what match reads.
	MatchFlags struct {
		ResultFlags
		RateFlag
		SecondsFlag
		TicketFlags
		WorkersFlag
		SystemFlags
	}

	// AssignFlags are what assign reads.
	AssignFlags struct {
		ResultFlags
		ConnsFlag
		SystemFlags
	}

	// FriendsFlags are what friends reads.
	FriendsFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		LoginFlags
		WorkersFlag
		BeesFlag
		SystemFlags
	}

	// Homing2014Flags are what homing-2014 reads.
	Homing2014Flags struct {
		ResultFlags
		RateFlag
		DurationFlag
		PayloadFlag
		MaxRateFlag
		ReferenceFlags
		WorkersFlag
		BeesFlag
		SystemFlags
	}

	// RelayFlags are what relay reads.
	RelayFlags struct {
		ResultFlags
		ConnsFlag
		AudienceFlags
		RateFlag
		DurationFlag
		PayloadFlag
		WorkersFlag
		BeesFlag
		SystemFlags
	}
)

// OptionsOf completes a scenario's flags to Options: groups that the scenario
// does not have are as their flags' defaults say. flags is a struct of groups,
// such as NotifyFlags; a group that Options lack is a panic.
func OptionsOf(flags any) Options {
	o := defaultOptions()
	from, to := reflect.ValueOf(flags), reflect.ValueOf(&o).Elem()
	for i := range from.NumField() {
		to.FieldByName(from.Type().Field(i).Name).Set(from.Field(i))
	}
	return o
}

// defaultOptions are the options when no flag is given.
func defaultOptions() Options {
	return Options{
		ClientsFlag:    ClientsFlag{Clients: "homing"},
		NPMFlag:        NPMFlag{NPM: true},
		AudienceFlags:  AudienceFlags{Targets: 300, Online: 150},
		LimitFlag:      LimitFlag{Limit: true},
		SizesFlags:     SizesFlags{By: "conns"},
		ReferenceFlags: ReferenceFlags{Scale: 1, Phase: "all"},
		WorkersFlag:    WorkersFlag{Workers: 2},
		BeesFlag:       BeesFlag{Bees: 2},
		SystemFlags:    SystemFlags{Shards: 1, Replicas: -1},
		PeersFlag:      PeersFlag{Peers: []string{"socketio", "centrifuge"}},
		PlayFlags:      PlayFlags{Size: 20, Hz: 20, Says: 20},
		LoginFlags:     LoginFlags{Logins: 1200, Friends: 300, FriendsOnline: 150},
		TicketFlags:    TicketFlags{Cancel: 0.01, Kill: true, Failover: true},
	}
}
