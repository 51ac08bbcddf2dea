package api

import (
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/homing/homing/hub"
)

// devOnlineLimit is how many users the page lists.
const devOnlineLimit = 200

// getDevToken answers a player token as plain text.
func (s *Server) getDevToken(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	user, err := checkUser("user", q.Get("user"))
	if err != nil {
		return err
	}
	service := hub.Service(q.Get("service"))
	if service != "" {
		if err := service.Check(); err != nil {
			return &Error{Code: CodeInvalidField, Field: "service", Detail: err.Error()}
		}
	}
	token, err := s.dev.Token(user, service)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	writeBody(w, http.StatusOK, "text/plain; charset=utf-8", []byte(token))
	return nil
}

// getDevOnline lists who is online, by name, as POST /users/query does.
func (s *Server) getDevOnline(w http.ResponseWriter, r *http.Request) error {
	users, err := s.hub.Online(r.Context(), devOnlineLimit)
	if err != nil {
		return err
	}
	var ps []hub.Presence
	if len(users) > 0 {
		slices.Sort(users)
		if ps, err = s.hub.Presence(r.Context(), users); err != nil {
			return err
		}
	}
	// Who left between the two looks is not online.
	ps = slices.DeleteFunc(ps, func(p hub.Presence) bool { return len(p.Processes) == 0 })
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, usersOf(ps))
	return nil
}

type devConfig struct {
	Front string `json:"front"`
}

// getDevConfig tells the page where to connect.
func (s *Server) getDevConfig(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, devConfig{Front: s.dev.FrontURL})
	return nil
}

func isText(s string) bool { return utf8.ValidString(s) }
