package client

import (
	"net"
	"sync"
	"time"
)

// socket is the TCP connection, below TLS. Each byte that arrives is a sign of
// life: a message may take longer than the silence that is allowed.
type socket struct {
	net.Conn

	mu      sync.Mutex    // guards what follows, and the order of read deadlines
	silence time.Duration // at most, between bytes; not above 0: no limit
	end     time.Time     // of all reading; zero: none
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	s.extend()
	return s.Conn.Read(p)
}

// extend gives the server another while to say something.
func (s *socket) extend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silence > 0 {
		_ = s.SetReadDeadline(time.Now().Add(s.silence)) // a closed connection says so at the read
	}
}

// allowSilence sets how long no byte may come; not above 0: for ever.
func (s *socket) allowSilence(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silence = d
}

// endReading lets reads go on until t at most, whatever arrives.
func (s *socket) endReading(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.end.IsZero() && s.end.Before(t) {
		return
	}
	s.silence, s.end = 0, t
	_ = s.SetReadDeadline(t) // a closed connection has nothing to end
}
