package peers

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrMissing marks that a program which a peer needs is not on the PATH.
var ErrMissing = errors.New("not installed")

// Prepare downloads and builds what the named peer runs, unless that has been
// done since its sources changed. What it does goes to progress. Several
// processes may prepare the same peer at once. dir is bench/peers; empty: found
// from the working directory upwards.
func Prepare(ctx context.Context, name, dir string, progress io.Writer) error {
	p, err := find(slices.Concat(catalog, roomCatalog), name)
	if err != nil {
		return err
	}
	if dir, err = locate(dir); err != nil {
		return err
	}
	if err := p.prepare(ctx, filepath.Join(dir, name), progress); err != nil {
		return fmt.Errorf("prepare %s: %w", name, err)
	}
	return nil
}

func (p peer) prepare(ctx context.Context, dir string, progress io.Writer) error {
	for _, program := range p.needs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s: %w: tools/setup installs Node, https://go.dev/dl/ has Go", program, ErrMissing)
		}
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	stale, err := p.stale(dir)
	if err != nil || !stale {
		return err
	}
	fmt.Fprintf(progress, "preparing %s: %s\n", p.name, strings.Join(p.make, " "))
	if err := run(ctx, dir, p.make); err != nil {
		return err
	}
	now := time.Now() // npm leaves an older time when nothing was to do
	if err := os.Chtimes(filepath.Join(dir, p.product), now, now); err != nil {
		return fmt.Errorf("mark as prepared: %w", err)
	}
	return nil
}

// lock keeps other processes from preparing in dir until unlock is called.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// stale reports whether the product is missing or older than its sources.
func (p peer) stale(dir string) (bool, error) {
	product, err := os.Stat(filepath.Join(dir, p.product))
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at what is prepared: %w", err)
	}
	for _, pattern := range p.sources {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return false, fmt.Errorf("list sources: %w", err)
		}
		for _, file := range files {
			source, err := os.Stat(file)
			if err != nil {
				return false, fmt.Errorf("look at a source: %w", err)
			}
			if source.ModTime().After(product.ModTime()) {
				return true, nil
			}
		}
	}
	return false, nil
}

func run(ctx context.Context, dir string, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s in %s: %w\n%s", strings.Join(command, " "), dir, err, out)
	}
	return nil
}

// readVersions collects the versions of all that runs.
func (s *System) readVersions(ctx context.Context) error {
	if err := s.servers.readVersions(ctx); err != nil {
		return err
	}
	c := s.redis()[0].Client()
	defer c.Close()
	info, err := c.InfoMap(ctx, "server").Result()
	if err != nil {
		return fmt.Errorf("ask Redis for its version: %w", err)
	}
	s.versions["redis"] = info["Server"]["redis_version"]
	return nil
}

var nodePackages = []string{
	"socket.io", "@socket.io/redis-adapter", "@socket.io/redis-emitter", "engine.io", "ws", "bufferutil", "ioredis", "jsonwebtoken",
	"@colyseus/core", "@colyseus/schema", "@colyseus/ws-transport",
}

// nodeVersions reads what npm has installed.
func nodeVersions(dir string) (versions, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err != nil {
		return nil, err
	}
	var installed struct {
		Packages map[string]struct{ Version string }
	}
	if err := json.Unmarshal(raw, &installed); err != nil {
		return nil, fmt.Errorf("read what npm installed: %w", err)
	}
	out := versions{}
	for _, name := range nodePackages {
		if p, ok := installed.Packages["node_modules/"+name]; ok {
			out[name] = p.Version
		}
	}
	v, err := exec.Command("node", "--version").Output() //nolint:noctx // it ends at once
	if err != nil {
		return nil, fmt.Errorf("run node --version: %w", err)
	}
	out["node"] = string(bytes.TrimSpace(v))
	return out, nil
}

var goModules = []string{"github.com/centrifugal/centrifuge", "github.com/redis/rueidis", "github.com/golang-jwt/jwt/v5"}

// goVersions reads what the binary was built from.
func goVersions(dir string) (versions, error) {
	info, err := buildinfo.ReadFile(filepath.Join(dir, "bin", "peer"))
	if err != nil {
		return nil, err
	}
	out := versions{"go": info.GoVersion}
	for _, m := range info.Deps {
		if slices.Contains(goModules, m.Path) {
			out[m.Path] = m.Version
		}
	}
	return out, nil
}
