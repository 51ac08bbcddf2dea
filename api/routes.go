package api

import (
	_ "embed"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/api/console"
)

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the API's description, in YAML.
func OpenAPI() []byte { return openAPI }

// handler answers a request or returns why not.
type handler func(w http.ResponseWriter, r *http.Request) error

// routes lays out the server: every route stands at the root and under /v1.
func (s *Server) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(s.instrument, middleware.GetHead)
	r.NotFound(s.answer(func(_ http.ResponseWriter, r *http.Request) error {
		s.pace(r, unpaidDelay)
		return refuse(CodeNotFound, "no such path")
	}))
	r.MethodNotAllowed(s.methodNotAllowed(r))
	s.mount(r)
	r.Route("/v1", s.mount)
	if s.dev != nil {
		s.mountDev(r)
	}
	return r
}

func (s *Server) mount(r chi.Router) {
	health, documents := r.With(s.unpaid(healthDelay)), r.With(s.unpaid(unpaidDelay))
	health.Get("/healthz", s.answer(s.getHealth))
	health.Get("/readyz", s.answer(s.getReady))
	documents.Get("/openapi.yaml", s.answer(getOpenAPI))
	documents.Get("/problems", s.answer(getProblems))
	documents.Get("/problems/{code}", s.answer(getProblem))

	r.Group(func(r chi.Router) {
		notify, broadcast := s.authorize(apikey.ScopeNotify), s.authorize(apikey.ScopeBroadcast)
		presence, disconnect := s.authorize(apikey.ScopePresence), s.authorize(apikey.ScopeDisconnect)
		r.With(notify, s.enter).Post("/notify/batch", s.answer(s.postBatch))
		r.With(notify, s.enter, s.deadline, s.pay).Post("/notify", s.answer(s.postNotify))
		r.With(broadcast, s.enter, s.deadline, s.pay).Post("/broadcast", s.answer(s.postBroadcast))
		r.With(presence, s.enter, s.deadline, s.pay, s.work).Get("/users/{id}", s.answer(s.getUser))
		r.With(presence, s.enter, s.deadline, s.pay).Post("/users/query", s.answer(s.queryUsers))
		r.With(disconnect, s.enter, s.deadline, s.pay, s.work).Delete("/users/{id}/connections", s.answer(s.deleteConnections))
	})
}

func (s *Server) mountDev(r chi.Router) {
	page := console.Handler(s.dev.FrontURL)
	r.Get("/", page.ServeHTTP)
	r.Get("/console/{file}", page.ServeHTTP)
	r.Group(func(r chi.Router) {
		r.Use(s.deadline, s.loopbackOnly)
		r.Get("/dev/token", s.answer(s.getDevToken))
		r.Get("/dev/online", s.answer(s.getDevOnline))
		r.Get("/dev/config", s.answer(s.getDevConfig))
	})
}

// methodNotAllowed answers with the methods that the path has.
func (s *Server) methodNotAllowed(routes chi.Routes) http.HandlerFunc {
	return s.answer(func(w http.ResponseWriter, r *http.Request) error {
		s.pace(r, unpaidDelay)
		var allowed []string
		for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if routes.Match(chi.NewRouteContext(), m, r.URL.Path) {
				allowed = append(allowed, m)
			}
		}
		allow := strings.Join(allowed, ", ")
		w.Header().Set("Allow", allow)
		return refuse(CodeMethodNotAllowed, "%s is not among %s", truncate(r.Method, 16), allow)
	})
}
