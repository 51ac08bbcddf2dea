package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrapeTimeout bounds how long one worker's answer is waited for.
const scrapeTimeout = 2 * time.Second

// Handler serves /metrics, the master's and every worker's, the latter with a
// label worker that names the slot; /healthz and /readyz, as Health does; and
// /workers/<slot>/…, which is passed on to that worker's own admin server.
func (m *Master) Handler() http.Handler {
	mux := http.NewServeMux()
	Health(mux, m.Ready, m.Degraded)
	mux.HandleFunc("GET /metrics", m.serveMetrics)
	mux.HandleFunc("/workers/{slot}/{path...}", m.serveWorker)
	return mux
}

func (m *Master) serveMetrics(rw http.ResponseWriter, r *http.Request) {
	all := prometheus.Gatherers{m.reg}
	for _, families := range m.scrapeAll(r.Context()) {
		all = append(all, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil }))
	}
	promhttp.HandlerFor(all, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(rw, r)
}

// scrapeAll asks all serving workers at the same time. One that does not
// answer is left out and counted; one that is known not to is not asked.
func (m *Master) scrapeAll(ctx context.Context) [][]*dto.MetricFamily {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	out := make([][]*dto.MetricFamily, len(m.slots))
	var wg sync.WaitGroup
	for i, s := range m.slots {
		wg.Go(func() {
			families, err := s.scrape(ctx)
			if err != nil {
				m.m.scrapeFailures.Inc()
				s.log.Warn("read a worker's metrics", "err", err)
			}
			out[i] = families
		})
	}
	wg.Wait()
	return out
}

// scrape reads the slot's metrics; none when no worker serves, or it does not
// answer, which would hold up the metrics of all others.
func (s *slot) scrape(ctx context.Context) ([]*dto.MetricFamily, error) {
	c := s.serving.Load()
	if c == nil || s.condition() == silent {
		return nil, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://worker/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("ask for metrics: %w", err)
	}
	tr := c.transport()
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask for metrics: %w", err)
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		return nil, fmt.Errorf("parse metrics: %w", err)
	}
	return label(families, strconv.Itoa(s.index)), nil
}

// label adds worker="<slot>" to every metric.
func label(families map[string]*dto.MetricFamily, slot string) []*dto.MetricFamily {
	name := "worker"
	out := make([]*dto.MetricFamily, 0, len(families))
	for _, f := range families {
		for _, metric := range f.Metric {
			metric.Label = append(metric.Label, &dto.LabelPair{Name: &name, Value: &slot})
		}
		out = append(out, f)
	}
	return out
}

// serveWorker passes a request on to the admin server of the slot's worker.
func (m *Master) serveWorker(rw http.ResponseWriter, r *http.Request) {
	i, err := strconv.Atoi(r.PathValue("slot"))
	if err != nil || i < 0 || i >= len(m.slots) {
		http.Error(rw, fmt.Sprintf("no slot %q: there are %d, from 0 on", r.PathValue("slot"), len(m.slots)), http.StatusNotFound)
		return
	}
	c := m.slots[i].serving.Load()
	if c == nil {
		reply(rw, http.StatusServiceUnavailable, "application/problem+json", notReady(fmt.Errorf("worker %d has no process at the moment; /readyz says why", i)))
		return
	}
	tr := c.transport()
	defer tr.CloseIdleConnections()
	proxy := httputil.ReverseProxy{
		Transport: tr,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", "worker"
			p.Out.URL.Path, p.Out.URL.RawPath = "/"+r.PathValue("path"), ""
		},
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				http.Error(rw, err.Error(), http.StatusBadGateway)
			}
		},
	}
	proxy.ServeHTTP(rw, r)
}

// transport reaches the worker's admin server.
func (c *child) transport() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", c.admin)
	}}
}
