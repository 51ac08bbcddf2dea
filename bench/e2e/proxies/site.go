package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/redisx/redisproc"
)

type options struct {
	binary    string
	hold      time.Duration
	frontArgs []string
	change    func(config string) string // of each proxy's file; nil: as it is
}

// site is a Homing with proxies in front of it.
type site struct {
	stack   *stack.Stack
	dir     string
	plain   *proc.Process // the front whose TLS port wants no PROXY header
	proxies []*exec.Cmd
	ends    []proxyEnd
}

// proxyEnd is where players connect.
type proxyEnd struct {
	name    string
	addr    string
	address bool // the fronts are told players' addresses
}

// begin starts it; end it.
func begin(ctx context.Context, o options) (s *site, err error) {
	s = new(site)
	if s.dir, err = os.MkdirTemp("", "homing-proxies-"); err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	defer func() {
		if err != nil {
			s.end()
		}
	}()
	args := append([]string{"--front-trusted-proxies", "127.0.0.1/32", "--front-tls-proxy-protocol"}, o.frontArgs...)
	if s.stack, err = stack.Start(ctx, stack.Options{Binary: o.binary, APIs: 1, Workers: 1, TLS: true, FrontArgs: args}); err != nil {
		return s, err
	}
	return s, s.startProxies(ctx, o)
}

func (s *site) end() {
	for _, p := range s.proxies {
		_ = p.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { _ = p.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			_ = p.Process.Kill()
			<-done
		}
	}
	if s.plain != nil {
		_ = s.plain.Stop(20 * time.Second) // what it says is of no use here
	}
	if s.stack != nil {
		_ = s.stack.Stop(false) // what they say is of no use here
	}
	_ = os.RemoveAll(s.dir)
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

// startProxies starts nginx twice and HAProxy, with their files changed to ports that
// are free, and waits until they listen. nginx that passes TLS on has a front port of
// its own: it sends no header.
func (s *site) startProxies(ctx context.Context, o options) error {
	cert, key := filepath.Join(s.stack.LogDir(), "front.crt"), filepath.Join(s.stack.LogDir(), "front.key")
	if err := s.join("front.pem", cert, key); err != nil {
		return err
	}
	var ports [4]int
	for i := range ports {
		port, err := redisproc.FreePort(ctx, "")
		if err != nil {
			return fmt.Errorf("find a port: %w", err)
		}
		ports[i] = port
	}
	local := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	if err := s.startPlainTLS(ctx, cert, key, o.frontArgs); err != nil {
		return err
	}
	front := fmt.Sprintf("127.0.0.1:%d", s.stack.Front.Port())
	common := []string{"127.0.0.1:8081", front, "/etc/homing/front.crt", cert, "/etc/homing/front.key", key, "/etc/homing/front.pem", s.file("front.pem")}
	for _, p := range []struct {
		file    string
		command func(config string) []string
		change  []string
	}{
		{"nginx.conf", s.nginx("nginx"), []string{"listen 8443", "listen " + local(0), "/run/nginx.pid", s.file("nginx.pid")}},
		{"nginx-passthrough.conf", s.nginx("nginx-passthrough"), []string{"listen 8443", "listen " + local(1), "/run/nginx.pid", s.file("nginx-2.pid"), "127.0.0.1:8444", s.ends[0].addr}},
		{"haproxy.cfg", func(config string) []string { return []string{"haproxy", "-db", "-f", config} }, []string{"bind :8443", "bind " + local(2), "bind :9443", "bind " + local(3), "127.0.0.1:8444", s.stack.Front.TLSAddr()}},
	} {
		if err := s.startProxy(p.file, p.command, append(p.change, common...), o.change); err != nil {
			return err
		}
	}
	s.ends = []proxyEnd{
		{"nginx", local(0), true},
		{"nginx, TLS passed through", local(1), false},
		{"HAProxy", local(2), true},
		{"HAProxy, TLS passed through", local(3), true},
	}
	return s.wait(ctx)
}

// startPlainTLS starts a front whose TLS port wants no PROXY header, for the proxy that
// sends none.
func (s *site) startPlainTLS(ctx context.Context, cert, key string, frontArgs []string) error {
	port, err := redisproc.FreePort(ctx, "")
	if err != nil {
		return fmt.Errorf("find a port: %w", err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	args := []string{"--front-tls-listen", addr, "--front-tls-cert", cert, "--front-tls-key", key, "--front-trusted-proxies", "127.0.0.1/32"}
	if s.plain, err = s.stack.Front.Extra(ctx, append(args, frontArgs...)...); err != nil {
		return err
	}
	s.ends = []proxyEnd{{name: "the front behind nginx", addr: addr}}
	return s.wait(ctx)
}

func (s *site) join(name string, files ...string) error {
	var all []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the certificate: %w", err)
		}
		all = append(all, text...)
	}
	return os.WriteFile(s.file(name), all, 0o600) //nolint:gosec // our own directory
}

// nginx is the command that runs it in the foreground, with nothing outside the
// directory.
func (s *site) nginx(name string) func(config string) []string {
	return func(config string) []string {
		return []string{"nginx", "-p", s.dir, "-e", s.file(name + ".log"), "-c", config, "-g", "daemon off;"}
	}
}

func (s *site) startProxy(file string, command func(config string) []string, changes []string, change func(string) string) error {
	raw, err := os.ReadFile(filepath.Join(here(), file))
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	for i := 0; i < len(changes); i += 2 {
		if i < 4 && !strings.Contains(string(raw), changes[i]) {
			return fmt.Errorf("%s does not say %q", file, changes[i])
		}
	}
	config := strings.NewReplacer(changes...).Replace(string(raw))
	// Fewer descriptors than a server has: this is a test.
	config = strings.NewReplacer("worker_connections 65536", "worker_connections 512", "worker_rlimit_nofile 200000;", "", "maxconn 200000", "maxconn 2000", "worker_processes auto", "worker_processes 1").Replace(config)
	if change != nil {
		config = change(config)
	}
	if err := os.WriteFile(s.file(file), []byte(config), 0o600); err != nil { //nolint:gosec // our own directory
		return fmt.Errorf("write the configuration: %w", err)
	}
	words := command(s.file(file))
	path, err := program(words[0])
	if err != nil {
		return err
	}
	p := exec.Command(path, words[1:]...) //nolint:noctx // end stops it
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	log, err := os.Create(s.file(file + ".out"))
	if err != nil {
		return fmt.Errorf("make a log: %w", err)
	}
	defer log.Close()
	p.Stdout, p.Stderr = log, log
	if err := p.Start(); err != nil {
		return fmt.Errorf("start %s: %w", words[0], err)
	}
	s.proxies = append(s.proxies, p)
	return nil
}

// here is the folder with the configuration files, from the repository's root or from
// that of this package.
func here() string {
	if _, err := os.Stat("proxies_test.go"); err == nil {
		return "../../../deploy/proxies"
	}
	return "deploy/proxies"
}

// program finds a server, which may not be in the path of users.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path, err := exec.LookPath("/usr/sbin/" + name)
	if err != nil {
		return "", fmt.Errorf("%s is missing (tools/setup proxies): %w", name, err)
	}
	return path, nil
}

// wait waits until all proxies listen.
func (s *site) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, e := range s.ends {
		for {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", e.addr)
			if err == nil {
				_ = c.Close()
				break
			}
			select {
			case <-ctx.Done():
				return errors.Join(fmt.Errorf("%s does not listen: %w", e.name, err), s.logs())
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

func (s *site) logs() error {
	var errs []error
	all, _ := filepath.Glob(s.file("*.out"))
	for _, file := range all {
		text, _ := os.ReadFile(file)
		errs = append(errs, fmt.Errorf("%s: %s", filepath.Base(file), text))
	}
	return errors.Join(errs...)
}
