package peers

import "github.com/homing/homing/bench/proc"

// Name is the one of Options.
func (s *System) Name() string { return s.peer.name }

// Dialect names the protocol that clients speak: a clients.Dialect.
func (s *System) Dialect() string { return s.peer.dialect }

// Fronts returns the WebSocket URL of every front process.
func (s *System) Fronts() []string {
	var urls []string
	for _, port := range s.frontPorts {
		urls = append(urls, "ws://"+local(port)+s.peer.path)
	}
	return urls
}

// APIs returns the base URL of the API process, as a list of one.
func (s *System) APIs() []string { return []string{"http://" + local(s.apiPort)} }

// Key is the API key, to be sent as a bearer token.
func (s *System) Key() string { return s.key }

// Secret signs players' tokens (HS256).
func (s *System) Secret() []byte { return s.secret }

// LogDir is where the logs are.
func (s *System) LogDir() string { return s.opts.LogDir }

// FrontPIDs returns the front processes; the error is nil.
func (s *System) FrontPIDs() ([]int, error) { return pids(s.fronts), nil }

// APIPIDs returns the API process.
func (s *System) APIPIDs() []int { return []int{s.api.PID()} }

// RedisPIDs returns the Redis servers, replicas too; Sentinels are left out.
func (s *System) RedisPIDs() []int {
	var out []int
	for _, srv := range s.redis() {
		out = append(out, srv.PID())
	}
	return out
}

// Versions tells what runs, by name.
func (s *System) Versions() map[string]string { return s.versions }

// Settings tells what is configured and why, one line each.
func (s *System) Settings() []string { return s.peer.settings }

func pids(all []*proc.Process) []int {
	var out []int
	for _, p := range all {
		out = append(out, p.PID())
	}
	return out
}
