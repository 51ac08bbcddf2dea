package apikey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"
)

// Options says where a Store finds its keys.
type Options struct {
	File   string
	Poll   time.Duration // how often to look whether File has changed
	Limits Limits        // for keys that set none of their own
}

// Store holds the keys of a file and follows its changes while it runs.
type Store struct {
	opts    Options
	log     *slog.Logger
	metrics metrics

	keys atomic.Pointer[map[Hash]*Key]
	seen os.FileInfo // owned by Open, then by Run
}

// Open reads the file of keys. A file that lists no key is an error.
func Open(opts Options, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	s := &Store{opts: opts, log: log, metrics: newMetrics(reg)}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Lookup finds key. It compares hashes only, so its duration tells nothing
// about the keys.
func (s *Store) Lookup(key string) (*Key, bool) {
	k, ok := (*s.keys.Load())[HashOf(key)]
	return k, ok
}

// Current is what stands in the place of k now, which Lookup found before: other
// scopes and limits perhaps. It reports false when k was revoked or rotated.
func (s *Store) Current(k *Key) (*Key, bool) {
	now, ok := (*s.keys.Load())[k.hash]
	return now, ok
}

// Run reloads the file when it changes, until ctx ends. A file that cannot be
// used is logged and counted, and the keys before it stay in force.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.opts.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !s.changed() {
			continue
		}
		if err := s.Reload(); err != nil {
			s.metrics.reloads.WithLabelValues("failed").Inc()
			s.log.Error("API keys not reloaded; the keys before stay in force", "err", err)
			continue
		}
		s.metrics.reloads.WithLabelValues("ok").Inc()
		s.log.Info("API keys reloaded", "file", s.opts.File, "keys", len(*s.keys.Load()))
	}
}

// changed says whether the file is another than the one last read. A file
// that has vanished is left to Reload, which says so once.
func (s *Store) changed() bool {
	now, err := os.Stat(s.opts.File)
	if err != nil || s.seen == nil {
		return (err == nil) != (s.seen != nil)
	}
	return !os.SameFile(now, s.seen) || now.Size() != s.seen.Size() || !now.ModTime().Equal(s.seen.ModTime())
}

// Reload reads the file and puts its keys in force, all or none. It must not be
// called while Run runs.
func (s *Store) Reload() error {
	// The state before the read: a change during it is seen as one after it.
	s.seen, _ = os.Stat(s.opts.File)
	b, err := os.ReadFile(s.opts.File)
	if err != nil {
		s.seen = nil // so that the next look tries again
		return fmt.Errorf("api.keys: %w", err)
	}
	specs, err := Parse(b)
	if err != nil {
		return fmt.Errorf("api.keys: %s: %w", s.opts.File, err)
	}
	s.replace(specs)
	return nil
}

func (s *Store) replace(specs []Spec) {
	before := make(map[string]*Key)
	if old := s.keys.Load(); old != nil {
		for _, k := range *old {
			before[k.Name()] = k
		}
	}
	keys := make(map[Hash]*Key, len(specs))
	for _, spec := range specs {
		hash, _ := ParseHash(spec.Hash) // Parse has checked it
		k := newKey(spec, s.opts.Limits, before[spec.Name])
		k.hash = hash
		keys[hash] = k
	}
	s.keys.Store(&keys)
	s.metrics.keys.Set(float64(len(keys)))
}

// Parse reads a file of keys. It refuses unknown fields, repeated names and
// hashes, and a file without keys.
func Parse(b []byte) ([]Spec, error) {
	specs, err := parse(b)
	if err == nil && len(specs) == 0 {
		return nil, errNoKeys
	}
	return specs, err
}

var errNoKeys = errors.New("no keys: make one with: homing token key --name backend")

// parse is Parse of a file that may list no key.
func parse(b []byte) ([]Spec, error) {
	var file struct {
		Keys []Spec `yaml:"keys"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, withoutContents(err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document: want all keys in the first")
	}
	seen := make(map[string]bool)
	for i, spec := range file.Keys {
		if err := spec.check(); err != nil {
			return nil, fmt.Errorf("key %d (%s): %w", i+1, spec.Name, err)
		}
		hash := strings.ToLower(spec.Hash)
		if seen[spec.Name] || seen[hash] {
			return nil, fmt.Errorf("key %d (%s): name or hash used twice", i+1, spec.Name)
		}
		seen[spec.Name], seen[hash] = true, true
	}
	return file.Keys, nil
}

// withoutContents leaves out what the reader quotes from the file: one that was
// named by mistake may hold a secret.
func withoutContents(err error) error {
	wrong, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	line, _, _ := strings.Cut(wrong.Errors[0], ":")
	if strings.Contains(wrong.Errors[0], " not found in type ") || strings.Contains(wrong.Errors[0], "already defined") {
		line, _, _ = strings.Cut(wrong.Errors[0], " in type ") // the name of a field
	}
	return fmt.Errorf("%s: want keys: and below it entries as `homing token key` makes them", line)
}
