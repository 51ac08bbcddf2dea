package bench

import "time"

// The groups below are the flags of the scenarios. A scenario is given the
// groups that it reads, and no others.
type (
	// ResultFlags say in which form the result is wanted.
	ResultFlags struct {
		JSON bool   `help:"Print one flat JSON object instead of tables." group:"Result"`
		HTML string `name:"html" help:"Write a report with plots to this file." type:"path" placeholder:"FILE" group:"Result"`
	}

	// ConnsFlag is how many clients connect.
	ConnsFlag struct {
		Conns int `default:"0" help:"Client connections to hold, each of its own user. 0: 10,000; storm 60,000; topic and clients 20,000; homing-2014 200,000 times the scale." group:"Load"`
	}

	// ClientsFlag is how the clients connect.
	ClientsFlag struct {
		Clients string `default:"homing" enum:"homing,events,socketio,upgraded,polling" help:"How the clients connect: homing is homing.v1 over WebSocket, events is server-sent events, socketio is Socket.IO over WebSocket, polling over HTTP long-polling, upgraded from that to WebSocket." group:"Load"`
	}

	// NPMFlag asks for the reference implementation of Socket.IO beside.
	NPMFlag struct {
		NPM bool `name:"npm" default:"true" negatable:"" help:"Measure npm's socket.io, too. It needs node and npm, which downloads it." group:"Load"`
	}

	// AudienceFlags say whom a notification names.
	AudienceFlags struct {
		Targets int `default:"300" help:"Users that one notification names." group:"Load"`
		Online  int `default:"150" help:"Of those, users that are connected." group:"Load"`
	}

	// RateFlag is how often something is asked for.
	RateFlag struct {
		Rate float64 `default:"0" help:"Notifications a second, or broadcasts; of idle and connect, connects a second; of match, tickets. 0: 100; soak 260; broadcast and topic 2; match 1,000; connects as fast as they go." group:"Load"`
	}

	// DurationFlag is how long each measured part runs.
	DurationFlag struct {
		Duration time.Duration `default:"0s" help:"How long each measured part runs. 0: 15s; idle and homing-2014 50s, which is two rounds of pings; storm 60s, slow 30s, soak 20m." group:"Load"`
	}

	// PayloadFlag is how large a notification is.
	PayloadFlag struct {
		Payload int `default:"0" help:"Bytes of the notification's data. 0: 120, which make a frame of about 200; slow 2,048." group:"Load"`
	}

	// ApartFlag is on how many clients the fault falls.
	ApartFlag struct {
		Apart int `default:"0" help:"Of the connections, those that the fault of storm or slow falls on. 0: storm 50,000, slow 5%." group:"Load"`
	}

	// PeakFlag asks for a search of the largest rate.
	PeakFlag struct {
		Peak bool `help:"After notify, search for the largest rate that is sustained, and measure latency at half of it. After room, search for the most players whose ticks are kept, and measure at four fifths of that." group:"Load"`
	}

	// MaxRateFlag is where a search of the largest rate ends.
	MaxRateFlag struct {
		MaxRate float64 `default:"0" help:"Where that search ends, and those of growth, peers and homing-2014. 0: where the system does." group:"Load"`
	}

	// LimitFlag asks for the bare limit beside the figures.
	LimitFlag struct {
		Limit bool `default:"true" negatable:"" help:"After notify and broadcast, measure the bare limit with as many sockets and bytes, too." group:"Load"`
	}

	// SizesFlags say what grows, and through which sizes.
	SizesFlags struct {
		By    string `default:"conns" enum:"conns,shards,workers" help:"What growth makes larger: ${enum}." group:"Load"`
		Steps []int  `help:"The sizes that growth goes through. None: 1,000, 10,000, 50,000 and 200,000 connections; 1, 2 and 4 shards; 1, 2, 4, 8 and 16 workers." group:"Load"`
	}

	// KindsFlag chooses attacks.
	KindsFlag struct {
		Kinds []string `help:"Of abuse: which attacks, by name. None: all." placeholder:"KIND" group:"Load"`
	}

	// ReferenceFlags say how much of the system of 2014 is done.
	ReferenceFlags struct {
		Scale float64 `default:"1" help:"Of homing-2014: the share of 200,000 users and 1,200 requests a second." group:"Load"`
		Phase string  `default:"all" enum:"all,connect,notify" help:"Of homing-2014: ${enum}." group:"Load"`
	}

	// WorkersFlag is how many processes hold the connections.
	WorkersFlag struct {
		Workers int `default:"2" help:"Front worker processes to start; raised to one for every 14,000 connections." group:"System"`
	}

	// BeesFlag is how many processes make the connections.
	BeesFlag struct {
		Bees int `default:"2" help:"Client processes; raised to one for every 18,000 connections." group:"System"`
	}

	// SystemFlags say what else is started, and from what.
	SystemFlags struct {
		APIs      int    `name:"apis" default:"0" help:"API processes to start. 0: 1; match 3." group:"System"`
		Shards    int    `default:"1" help:"Pub/sub shards to start." group:"System"`
		AdmitRate int    `default:"0" help:"Clients that each worker lets in per second. 0: no limit, to see what it can; storm 500, the front's own default." group:"System"`
		Replicas  int    `default:"-1" help:"Replicas of every Redis to start; with 0 there are no Sentinels either. -1: 1; match 2." group:"System"`
		Binary    string `help:"The homing binary to start; empty means this program." type:"existingfile" placeholder:"FILE" group:"System"`
		LogDir    string `help:"Directory for the logs of what is started; empty means a temporary one, removed at the end." placeholder:"DIR" group:"System"`
	}

	// RunningFlags name a system that runs already, and the machines that run its clients.
	RunningFlags struct {
		API             string   `help:"Base URL of a running API server; with --front nothing is started, and only the clients' CPU is known." placeholder:"URL" group:"System"`
		Front           []string `help:"WebSocket URL of a running front, for example ws://127.0.0.1:8081/ws; may repeat." placeholder:"URL" group:"System"`
		APIKeyFile      string   `name:"api-key-file" help:"File with the API key for --api." type:"existingfile" placeholder:"FILE" group:"System"`
		SecretFile      string   `help:"File with the HS256 secret that signs player tokens for --front." type:"existingfile" placeholder:"FILE" group:"System"`
		Agents          []string `help:"Machines that run the clients: the addresses of 'homing bench agent' there, with --api and --front. None: this machine." placeholder:"HOST:PORT" group:"System"`
		AgentSecretFile string   `help:"File with the secret that the agents share." type:"existingfile" placeholder:"FILE" group:"System"`
	}

	// PlayFlags say what is played.
	PlayFlags struct {
		Size         int     `default:"20" help:"Players of a room." group:"Load"`
		Hz           int     `default:"20" help:"Ticks of a room a second." group:"Load"`
		Players      int     `default:"0" help:"Players in all, in whole rooms. 0: 1200 when nothing is measured beside Homing, else 400." group:"Load"`
		Says         float64 `default:"20" help:"How many times a second each player says where it is." group:"Load"`
		MaxPlayers   int     `default:"0" help:"Where the search of --peak ends. 0: where the system does." group:"Load"`
		BinaryFrames bool    `help:"Homing's rooms speak in bytes instead of JSON." group:"Load"`
		NoGather     bool    `help:"Measure Homing a second time, with a frame for each message instead of one a tick." group:"Load"`
	}

	// SecondsFlag is how long each measured part runs.
	SecondsFlag struct {
		Seconds float64 `default:"0" help:"How long each measured part runs, in seconds. 0: 15; match 60." group:"Load"`
	}

	// TicketFlags say what becomes of tickets, and of the system meanwhile.
	TicketFlags struct {
		Cancel   float64 `default:"0.01" help:"Share of the tickets that are canceled again, up to 0.4 s after they were put." group:"Load"`
		Kill     bool    `default:"true" negatable:"" help:"Kill the API server that makes the matches (SIGKILL), after two fifths of the load." group:"Load"`
		Failover bool    `default:"true" negatable:"" help:"Kill the master of data Redis, after three fifths of the load. With --replicas 0 there is nobody to take over, and it is left out." group:"Load"`
	}

	// LoginFlags say who logs in beside the notifications.
	LoginFlags struct {
		Logins        float64 `default:"1200" help:"Players who log in a second." group:"Load"`
		Friends       int     `default:"300" help:"Friends of each, named in its token." group:"Load"`
		FriendsOnline int     `default:"150" help:"Of those, clients that are held." group:"Load"`
	}

	// BesideFlag chooses whose game rooms are measured beside Homing's.
	BesideFlag struct {
		Beside []string `enum:"colyseus,socketio" help:"Systems whose rooms are measured, too: ${enum}. None: those of peers are all of them." group:"System"`
	}

	// PeersFlag chooses what Homing is compared with.
	PeersFlag struct {
		Rooms  bool     `help:"Compare game rooms, those of --beside, instead of notifications." group:"Load"`
		Topics bool     `help:"Compare messages to topics of --online members each, of which each connection has one. Only Homing and Socket.IO." group:"Load"`
		Peers  []string `default:"socketio,centrifuge" enum:"socketio,centrifuge" help:"Systems that Homing is compared with by peers: ${enum}." group:"System"`
	}
)
