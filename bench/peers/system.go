package peers

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
