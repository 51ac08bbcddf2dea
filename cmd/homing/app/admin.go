package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/homing/homing/cmd/homing/internal/logsink"
)

// adminConfig is the address that only operators reach.
type adminConfig struct {
	Listen string `help:"Address of /metrics, /debug/pprof/ and, at a front, /healthz and /readyz, for operators only; empty: none. An API server takes the next free port when this one is taken." default:"" placeholder:"HOST:PORT"`

	share bool // another process of the machine may have the address
}

// newRegistry returns a registry with the metrics of the Go runtime, of the
// process and its build, and of sink unless it is nil.
func newRegistry(sink *logsink.Sink) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	if sink != nil {
		reg.MustRegister(sink.Collector())
	}
	reg.MustRegister(readBuild().collector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// adminHandler serves reg's metrics and the profiles of this process.
func adminHandler(reg prometheus.Gatherer) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// serveAdmin serves h on the admin address until ctx ends. It returns at once
// when there is no such address.
func serveAdmin(ctx context.Context, c adminConfig, h http.Handler, log *slog.Logger) error {
	if c.Listen == "" {
		return nil
	}
	ln, err := listenAdmin(ctx, c.Listen, c.share, log)
	if err != nil {
		return err
	}
	log.Info("admin listening", "url", "http://"+ln.Addr().String()+"/metrics")
	return serveHTTP(ctx, ln, h)
}

// serveHTTP serves h on ln until ctx ends, then closes both.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}
