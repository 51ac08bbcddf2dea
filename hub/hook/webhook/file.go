package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/homing/homing/hub/hook"
)

// maxFile bounds a file of endpoints, in bytes.
const maxFile = 256 << 10

// Spec is one endpoint of a file: what it wants, how it is sent to, and where.
type Spec struct {
	hook.Target

	Sender   hook.SenderConfig
	Endpoint Config
}

// entry is an endpoint as the file has it. What it leaves out is as the options say.
type entry struct {
	Name       string        `yaml:"name"`
	URL        string        `yaml:"url"`
	Secret     string        `yaml:"secret"`
	SecretFile string        `yaml:"secret_file"`
	Events     []string      `yaml:"events"`
	Format     string        `yaml:"format"`
	Timeout    time.Duration `yaml:"timeout"`
	Batch      int           `yaml:"batch"`
	MaxAge     time.Duration `yaml:"max_age"`

	StreamBytes int `yaml:"stream_bytes"`
}

// LoadEndpoints reads a file of endpoints in YAML. What an endpoint does not say is
// as sender and endpoint say. A relative secret_file is looked for beside the file;
// it is not read. Errors name the endpoint and the field, and quote no secret.
func LoadEndpoints(file string, sender hook.SenderConfig, endpoint Config) ([]Spec, error) {
	f, err := os.Open(file) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("over %d bytes", maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	specs, err := parseEndpoints(text, filepath.Dir(file), sender, endpoint)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return specs, nil
}

func parseEndpoints(text []byte, folder string, sender hook.SenderConfig, endpoint Config) ([]Spec, error) {
	var list struct {
		Endpoints []entry `yaml:"endpoints"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&list); err != nil && !errors.Is(err, io.EOF) {
		return nil, withoutContents(err)
	}
	if n := len(list.Endpoints); n == 0 || n > hook.MaxEndpoints {
		return nil, fmt.Errorf("endpoints: %d, want 1 to %d", n, hook.MaxEndpoints)
	}
	specs, names := make([]Spec, 0, len(list.Endpoints)), make(map[string]bool)
	for i := range list.Endpoints {
		s, err := list.Endpoints[i].spec(folder, sender, endpoint)
		if err == nil && names[s.Name] {
			err = errors.New("name: there is another one")
		}
		if err != nil {
			return nil, fmt.Errorf("endpoint %d (%.40q): %w", i+1, list.Endpoints[i].Name, err)
		}
		names[s.Name] = true
		specs = append(specs, s)
	}
	return specs, nil
}

// withoutContents leaves out the values that the reader quotes, which may be secrets.
func withoutContents(err error) error {
	wrong, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	line, _, _ := strings.Cut(wrong.Errors[0], ":")
	if strings.Contains(wrong.Errors[0], " not found in type ") || strings.Contains(wrong.Errors[0], "already defined") {
		line, _, _ = strings.Cut(wrong.Errors[0], " in type ") // the name of a field
	}
	return fmt.Errorf("%s: want endpoints: and below it entries as docs/hooks.md describes them", line)
}

// spec is e with what it leaves out filled in.
func (e *entry) spec(folder string, sender hook.SenderConfig, endpoint Config) (Spec, error) {
	s := Spec{Target: hook.Target{Name: e.Name, Events: e.Events}, Sender: sender, Endpoint: endpoint}
	if e.Events == nil {
		s.Events = []string{"*"}
	}
	s.Endpoint.URL, s.Endpoint.Secret, s.Endpoint.SecretFile = e.URL, e.Secret, e.SecretFile
	if e.SecretFile != "" && !filepath.IsAbs(e.SecretFile) {
		s.Endpoint.SecretFile = filepath.Join(folder, e.SecretFile)
	}
	if e.Format != "" {
		s.Endpoint.Format = e.Format
	}
	if e.Format == formatSlack {
		s.Sender.Batch = hook.MaxBatch // what waits is told in one message
	}
	if e.Timeout != 0 {
		s.Endpoint.Timeout = e.Timeout
	}
	if e.MaxAge != 0 {
		s.Sender.MaxAge = e.MaxAge
	}
	if e.Batch != 0 {
		s.Sender.Batch = e.Batch
	}
	if e.StreamBytes != 0 {
		s.Sender.StreamBytes = e.StreamBytes
	}
	s.StreamBytes = s.Sender.StreamBytes
	return s, s.check()
}

// check reports the first field that cannot work.
func (s *Spec) check() error {
	if err := s.Target.Check(); err != nil {
		return err
	}
	field, err := s.Endpoint.problem()
	if err == nil {
		field, err = s.Sender.Problem()
	}
	if err == nil && s.Endpoint.Secret != "" {
		field = "secret"
		_, err = parse([]byte(s.Endpoint.Secret))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strings.ReplaceAll(field, "-", "_"), err)
	}
	return nil
}
