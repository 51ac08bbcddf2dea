package api

import (
	"context"
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

// routes lays out the server: every route stands at the root and under /v1.
func (s *Server) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(s.responder.instrument, middleware.GetHead)
	r.NotFound(s.responder.answer(func(_ http.ResponseWriter, r *http.Request) error {
		s.responder.pace(r, unpaidDelay)
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
	answer, gate := s.responder.answer, s.gate
	health, documents := r.With(s.responder.unpaid(healthDelay)), r.With(s.responder.unpaid(unpaidDelay))
	health.Get("/healthz", answer(s.probes.getHealth))
	health.Get("/readyz", answer(s.probes.getReady))
	documents.Get("/openapi.yaml", answer(getOpenAPI))
	documents.Get("/problems", answer(getProblems))
	documents.Get("/problems/{code}", answer(getProblem))

	r.Group(func(r chi.Router) {
		notify, broadcast := gate.authorize(apikey.ScopeNotify), gate.authorize(apikey.ScopeBroadcast)
		presence, disconnect := gate.authorize(apikey.ScopePresence), gate.authorize(apikey.ScopeDisconnect)
		r.With(notify, gate.enter).Post("/notify/batch", answer(s.notifications.postBatch))
		r.With(notify, gate.enter, s.deadline, gate.pay).Post("/notify", answer(s.notifications.postNotify))
		r.With(broadcast, gate.enter, s.deadline, gate.pay).Post("/broadcast", answer(s.notifications.postBroadcast))
		r.With(presence, gate.enter, s.deadline, gate.pay, gate.work).Get("/users/{id}", answer(s.users.getUser))
		r.With(presence, gate.enter, s.deadline, gate.pay).Post("/users/query", answer(s.users.queryUsers))
		r.With(disconnect, gate.enter, s.deadline, gate.pay, gate.work).Delete("/users/{id}/connections", answer(s.users.deleteConnections))
		r.Group(func(r chi.Router) {
			r.Use(gate.authorize(apikey.ScopeRooms), gate.enter, s.deadline, gate.pay)
			s.mountRooms(r)
		})
	})
	r.Group(func(r chi.Router) {
		r.Use(gate.authorize(apikey.ScopeFriends), gate.enter, s.deadline, gate.pay)
		r.Put("/users/{id}/friends", answer(s.friends.putFriends))
		r.With(gate.work).Get("/users/{id}/friends", answer(s.friends.getFriends))
		r.With(gate.work).Delete("/users/{id}/friends", answer(s.friends.deleteFriends))
	})
	r.Group(func(r chi.Router) {
		r.Use(gate.authorize(apikey.ScopeTopics), gate.enter, s.deadline, gate.pay)
		r.With(gate.work).Get("/topics", answer(s.topics.getTopics))
		r.With(gate.work).Get("/topics/{topic}", answer(s.topics.getTopic))
		r.With(gate.work).Get("/topics/{topic}/members", answer(s.topics.getMembers))
		r.With(gate.work).Get("/topics/{topic}/history", answer(s.topics.getHistory))
		r.Post("/topics/{topic}/join", answer(s.topics.postJoin))
		r.Post("/topics/{topic}/leave", answer(s.topics.postLeave))
	})
	r.Group(func(r chi.Router) {
		r.Use(gate.authorize(apikey.ScopeMatch), gate.enter, s.deadline, gate.pay)
		r.Post("/match/tickets", answer(s.matches.postTicket))
		r.With(gate.work).Get("/match/tickets/{id}", answer(s.matches.getTicket))
		r.With(gate.work).Delete("/match/tickets/{id}", answer(s.matches.deleteTicket))
		r.Post("/match/tickets/{id}/accept", answer(s.matches.postAccept))
		r.With(gate.work).Get("/match/queues", answer(s.matches.getQueues))
	})
	r.Group(s.mountNodes)
	r.With(gate.authorize(apikey.ScopeHooks), gate.enter, s.deadline, gate.pay, gate.work).Get("/hooks", answer(s.hooks.getHooks))
}

func (s *Server) mountRooms(r chi.Router) {
	answer, work := s.responder.answer, s.gate.work
	r.Post("/rooms", answer(s.rooms.postRoom))
	r.With(work).Get("/rooms", answer(s.rooms.getRooms))
	r.With(work).Get("/rooms/{room}", answer(s.rooms.getRoom))
	r.With(work).Delete("/rooms/{room}", answer(s.rooms.deleteRoom))
	r.Post("/rooms/{room}/seats", answer(s.rooms.postSeats))
	r.Post("/rooms/{room}/signal", answer(s.rooms.postSignal))
	r.Post("/rooms/{room}/finish", answer(s.rooms.postFinish))
	r.Post("/rooms/{room}/move", answer(s.rooms.postMove))
}

func (s *Server) mountNodes(r chi.Router) {
	answer, gate := s.responder.answer, s.gate
	of := func(scope apikey.Scope) chi.Router {
		return r.With(gate.authorize(scope), gate.enter, s.deadline, gate.pay)
	}
	of(apikey.ScopeAssign).Post("/nodes/assign", answer(s.nodes.postAssign))
	of(apikey.ScopeNodes).With(gate.work).Get("/nodes", answer(s.nodes.getNodes))
	of(apikey.ScopeNodes).With(gate.work).Get("/nodes/{id}", answer(s.nodes.getNode))
	of(apikey.ScopeFleet).Post("/nodes/{id}/drain", answer(s.nodes.postDrain))
	of(apikey.ScopeFleet).With(gate.work).Delete("/nodes/{id}/drain", answer(s.nodes.deleteDrain))
}

func (s *Server) mountDev(r chi.Router) {
	page := console.Handler(s.dev.dev.FrontURL)
	r.Get("/", page.ServeHTTP)
	r.Get("/demo", page.ServeHTTP)
	r.Get("/console/{file}", page.ServeHTTP)
	r.Group(func(r chi.Router) {
		r.Use(s.deadline, s.gate.loopbackOnly)
		r.Get("/dev/token", s.responder.answer(s.dev.getDevToken))
		r.Get("/dev/online", s.responder.answer(s.dev.getDevOnline))
		r.Get("/dev/config", s.responder.answer(s.dev.getDevConfig))
	})
}

// methodNotAllowed answers with the methods that the path has.
func (s *Server) methodNotAllowed(routes chi.Routes) http.HandlerFunc {
	return s.responder.answer(func(w http.ResponseWriter, r *http.Request) error {
		s.responder.pace(r, unpaidDelay)
		var allowed []string
		for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			if routes.Match(chi.NewRouteContext(), m, r.URL.Path) {
				allowed = append(allowed, m)
			}
		}
		allow := strings.Join(allowed, ", ")
		w.Header().Set("Allow", allow)
		return refuse(CodeMethodNotAllowed, "%s is not among %s", truncate(r.Method, 16), allow)
	})
}

// deadline bounds the time a request takes.
func (s *Server) deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
