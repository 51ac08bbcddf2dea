package api

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// lockedWriter lets a log be written from handlers and read by a test.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// spec is openapi.yaml, ready to check requests and replies against.
type spec struct {
	doc    *openapi3.T
	router routers.Router
}

var theSpec = sync.OnceValues(func() (*spec, error) {
	for _, mime := range []string{"application/x-ndjson", "text/css", "text/javascript", "image/svg+xml", "text/html"} {
		openapi3filter.RegisterBodyDecoder(mime, openapi3filter.FileBodyDecoder)
	}
	doc, err := openapi3.NewLoader().LoadFromData(OpenAPI())
	if err != nil {
		return nil, err
	}
	router, err := gorillamux.NewRouter(doc)
	return &spec{doc: doc, router: router}, err
})

func loadSpec(t *testing.T) *spec {
	t.Helper()
	s, err := theSpec()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// describedElsewhere are replies that no single operation describes.
var describedElsewhere = []int{http.StatusNotFound, http.StatusMethodNotAllowed}

// check fails the test when the description does not allow the reply, when
// it does not allow a request that was served, or when it allows one that was
// refused for a field's name or type.
func (s *spec) check(t *testing.T, r *http.Request, body []byte, out reply) {
	t.Helper()
	described := r.Clone(r.Context())
	described.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	described.Body = io.NopCloser(bytes.NewReader(body))
	route, params, err := s.router.FindRoute(described)
	if err != nil {
		if !slices.Contains(describedElsewhere, out.status) {
			t.Errorf("%s %s: answered %d but not described: %v", r.Method, r.URL.Path, out.status, err)
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request:    described,
		PathParams: params,
		Route:      route,
		Options:    &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	err = openapi3filter.ValidateRequest(t.Context(), in)
	if err != nil && out.status/100 == 2 {
		t.Errorf("%s %s was served but is not allowed: %v", r.Method, r.URL.Path, err)
	}
	if err == nil && (bytes.Contains(out.body, []byte(`"unknown_field"`)) || bytes.Contains(out.body, []byte(`"wrong_type"`))) && out.status == http.StatusBadRequest {
		t.Errorf("%s %s %.200s is allowed but was refused: %s", r.Method, r.URL.Path, body, out.body)
	}
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in,
		Status:                 out.status,
		Header:                 out.header,
		Body:                   io.NopCloser(bytes.NewReader(out.body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("%s %s: reply is not allowed: %v\n%s", r.Method, r.URL.Path, err, out.body)
	}
}

// component validates a value against a schema of the description.
func (s *spec) component(t *testing.T, name string, value any) {
	t.Helper()
	schema := s.doc.Components.Schemas[name]
	if schema == nil {
		t.Fatalf("no schema %s", name)
	}
	if err := schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("not a %s: %v\n%v", name, err, value)
	}
}

func TestOpenAPIIsValid(t *testing.T) {
	s := loadSpec(t)
	if s.doc.OpenAPI != "3.1.0" {
		t.Errorf("version %s", s.doc.OpenAPI)
	}
	if err := s.doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Error(err)
	}
}

// TestOpenAPIDescribesEveryRoute holds the router and the description to the
// same set of operations, both at the root and under /v1.
func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	cfg := defaults(t)
	deps := Deps{Hub: newFakeHub(), Once: newFakeOnce(), Log: slog.New(slog.DiscardHandler), Reg: prometheus.NewRegistry()}
	withDev()(t, &cfg, &deps)
	server, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	root, v1 := map[string]bool{}, map[string]bool{}
	err = chi.Walk(server.handler.(chi.Routes), func(method, path string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if p, ok := strings.CutPrefix(path, "/v1"); ok {
			v1[method+" "+p] = true
		} else {
			root[method+" "+path] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	described, versioned := map[string]bool{}, map[string]bool{}
	for path, item := range loadSpec(t).doc.Paths.Map() {
		for method, op := range item.Operations() {
			described[method+" "+path] = true
			if !slices.Contains(op.Tags, "development") {
				versioned[method+" "+path] = true
			}
		}
	}
	if d := cmp.Diff(described, root); d != "" {
		t.Errorf("described (-) and routed (+) differ:\n%s", d)
	}
	if d := cmp.Diff(versioned, v1); d != "" {
		t.Errorf("described (-) and routed under /v1 (+) differ:\n%s", d)
	}
}

func TestOpenAPIListsEveryCode(t *testing.T) {
	var described, known []string
	for _, v := range loadSpec(t).doc.Components.Schemas["Code"].Value.Enum {
		described = append(described, v.(string))
	}
	for _, k := range Problems {
		known = append(known, string(k.Code))
	}
	sort.Strings(described)
	sort.Strings(known)
	if d := cmp.Diff(described, known); d != "" {
		t.Errorf("described (-) and known (+) differ:\n%s", d)
	}
}

// TestOpenAPIExamplesAreTaken sends every example of a request.
func TestOpenAPIExamplesAreTaken(t *testing.T) {
	w := newWorld(t)
	for path, item := range w.spec.doc.Paths.Map() {
		if item.Post == nil || path == "/notify/batch" {
			continue
		}
		media := item.Post.RequestBody.Value.Content["application/json"]
		examples := map[string]any{"example": media.Example}
		for name, e := range media.Examples {
			examples[name] = e.Value.Value
		}
		for name, value := range examples {
			if value == nil {
				continue
			}
			t.Run(path+"/"+name, func(t *testing.T) {
				out := w.post(strings.NewReplacer("/nodes/{id}", "/nodes/game-1.example.com:8081", "{id}", "duel:ann", "{room}", "r-7", "{topic}", "guild:7").Replace(path), string(mustJSON(value)))
				if out.status != http.StatusCreated && !bytes.Contains(out.body, []byte(`"not_asked"`)) { // by whoever waits or not
					wantOK(t, out)
				}
			})
		}
	}
	r := w.request(http.MethodPost, "/notify/batch", w.spec.doc.Paths.Value("/notify/batch").Post.RequestBody.Value.Content["application/x-ndjson"].Example.(string))
	r.Header.Set("Content-Type", "application/x-ndjson")
	out := w.do(r)
	wantOK(t, out)
	if n := bytes.Count(out.body, []byte("\n")); n != 2 {
		t.Errorf("%d lines, want 2: %s", n, out.body)
	}
}
