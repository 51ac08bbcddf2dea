// Package certificate serves a TLS certificate from two files and reads them
// again when either changes.
package certificate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often the files are looked at.
	lookEvery = time.Second
	// retryEvery is how often files that could not be used are read again,
	// though they look the same: what was wrong may lie elsewhere.
	retryEvery = 10 * time.Second
)

// errNone is returned by Get before there is a certificate.
var errNone = errors.New("no certificate could be read yet")

// Store holds the certificate that was read last. A pair of files that cannot
// be used, as in the middle of a renewal, leaves the one before in use.
type Store struct {
	// Static.
	certFile, keyFile string
	log               *slog.Logger
	notAfter          prometheus.Gauge
	loaded, failed    prometheus.Counter

	// Safe for concurrent use.
	current atomic.Pointer[tls.Certificate] // nil: none could be read yet
	problem atomic.Pointer[string]          // why the files could not be used the last time; nil: they could

	// Owned by New, then by Watch.
	tried pair      // the files when they were last read
	when  time.Time // that was
}

// New reads the two PEM files. Without a certificate that can be used it
// returns a Store all the same; Problem says why.
func New(certFile, keyFile string, log *slog.Logger, reg prometheus.Registerer) *Store {
	f := promauto.With(reg)
	loads := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "homing", Subsystem: "front", Name: "tls_certificate_loads_total",
		Help: "Times that the certificate's files were read: ok, or failed, which leaves the certificate before in use.",
	}, []string{"result"})
	notAfter := f.NewGauge(prometheus.GaugeOpts{
		Namespace: "homing", Subsystem: "front", Name: "tls_certificate_not_after_timestamp_seconds",
		Help: "Time at which the certificate in use expires; 0: there is none.",
	})
	s := &Store{
		certFile: certFile, keyFile: keyFile, log: log, notAfter: notAfter,
		loaded: loads.WithLabelValues("ok"), failed: loads.WithLabelValues("failed"),
	}
	s.read(s.found(), time.Now())
	return s
}

// Check reports why the two files cannot be used.
func Check(certFile, keyFile string) error {
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		return fmt.Errorf("front.tls-cert: %q with front.tls-key %q: %w", certFile, keyFile, err)
	}
	return nil
}

// Get is a tls.Config.GetCertificate.
func (s *Store) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.current.Load(); c != nil {
		return c, nil
	}
	return nil, errNone
}

// Usable reports whether there is a certificate.
func (s *Store) Usable() bool { return s.current.Load() != nil }

// Problem says why the files could not be used the last time that they were
// read; nil when they could.
func (s *Store) Problem() error {
	if text := s.problem.Load(); text != nil {
		return errors.New(*text)
	}
	return nil
}

// Watch looks at the files every second until ctx ends. It calls changed after
// each time that a certificate was read.
func (s *Store) Watch(ctx context.Context, changed func()) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if s.look(now) {
				changed()
			}
		}
	}
}

// look reads the files when either is another than it was, and reports whether
// a certificate was read.
func (s *Store) look(now time.Time) bool {
	found := s.found()
	again := s.problem.Load() != nil && now.Sub(s.when) >= retryEvery
	if found == s.tried && !again {
		return false
	}
	return s.read(found, now)
}

func (s *Store) read(found pair, now time.Time) bool {
	s.tried, s.when = found, now
	return s.load()
}

func (s *Store) found() pair { return pair{stampOf(s.certFile), stampOf(s.keyFile)} }

func (s *Store) load() bool {
	cert, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	if err != nil {
		s.failed.Inc()
		text := fmt.Sprintf("front.tls-cert: %q with front.tls-key %q: %v", s.certFile, s.keyFile, err)
		s.problem.Store(&text)
		s.log.Error("read the TLS certificate", "err", err, "cert", s.certFile, "key", s.keyFile, "in_use", s.kept())
		return false
	}
	s.loaded.Inc()
	s.problem.Store(nil)
	s.current.Store(&cert)
	s.notAfter.Set(float64(cert.Leaf.NotAfter.Unix()))
	s.log.Info("TLS certificate read", "cert", s.certFile, "not_after", cert.Leaf.NotAfter)
	return true
}

// kept says which certificate serves on after files that cannot be used.
func (s *Store) kept() string {
	if s.Usable() {
		return "the one before"
	}
	return "none"
}

// pair is what both files look like.
type pair struct{ cert, key stamp }

// stamp tells one state of a file from another, whichever is older: files of a
// renewal may carry any time.
type stamp struct {
	inode            uint64
	size             int64
	modified, status unix.Timespec
}

// stampOf is the zero stamp for a file that cannot be looked at.
func stampOf(name string) stamp {
	var st unix.Stat_t
	if unix.Stat(name, &st) != nil {
		return stamp{}
	}
	return stamp{st.Ino, st.Size, st.Mtim, st.Ctim}
}
