package api

import (
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/homing/homing/hub"
)

// devOnlineLimit is how many users the page lists.
const devOnlineLimit = 200

// development answers the page of homing dev.
type development struct {
	dev *Dev
	hub Dispatcher
}

// getDevToken answers a player token as plain text.
func (d *development) getDevToken(w http.ResponseWriter, r *http.Request) error {
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
	token, err := d.dev.Token(user, service)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	writeBody(w, http.StatusOK, "text/plain; charset=utf-8", []byte(token))
	return nil
}

// getDevOnline lists who is online, by name, as POST /users/query does.
func (d *development) getDevOnline(w http.ResponseWriter, r *http.Request) error {
	users, err := d.hub.Online(r.Context(), devOnlineLimit)
	if err != nil {
		return err
	}
	var ps []hub.Presence
	if len(users) > 0 {
		slices.Sort(users)
		if ps, err = d.hub.Presence(r.Context(), users); err != nil {
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
func (d *development) getDevConfig(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, devConfig{Front: d.dev.FrontURL})
	return nil
}

func isText(s string) bool { return utf8.ValidString(s) }
