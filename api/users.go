package api

import (
	"bytes"
	"cmp"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-chi/chi/v5"

	"github.com/homing/homing/hub"
)

// userPresence is where a user is connected, as callers see it.
type userPresence struct {
	User        hub.UserID        `json:"user"`
	Online      bool              `json:"online"`
	Connections int               `json:"connections"`
	Services    []servicePresence `json:"services"`
	Processes   []hub.ProcessID   `json:"processes"`
}

type servicePresence struct {
	Service     hub.Service `json:"service"` // empty: the token named none
	Connections int         `json:"connections"`
}

func presenceOf(p hub.Presence) userPresence {
	out := userPresence{
		User:      p.User,
		Online:    len(p.Processes) > 0,
		Services:  []servicePresence{},
		Processes: make([]hub.ProcessID, 0, len(p.Processes)),
	}
	counts := make(map[hub.Service]int)
	for _, h := range p.Processes {
		out.Processes = append(out.Processes, h.Process)
		for _, sc := range h.Services {
			counts[sc.Service] += sc.Count
			out.Connections += sc.Count
		}
	}
	for service, n := range counts {
		out.Services = append(out.Services, servicePresence{Service: service, Connections: n})
	}
	slices.SortFunc(out.Services, func(a, b servicePresence) int { return cmp.Compare(a.Service, b.Service) })
	return out
}

type usersReply struct {
	Users []userPresence `json:"users"`
}

func usersOf(ps []hub.Presence) usersReply {
	out := usersReply{Users: make([]userPresence, len(ps))}
	for i, p := range ps {
		out.Users[i] = presenceOf(p)
	}
	return out
}

// users answers what is asked of users.
type users struct {
	gate *gate
	hub  Dispatcher
}

func (u *users) getUser(w http.ResponseWriter, r *http.Request) error {
	user, err := userParam(r)
	if err != nil {
		return err
	}
	ps, err := u.hub.Presence(r.Context(), []hub.UserID{user})
	if err != nil {
		return err
	}
	writeJSON(w, presenceOf(ps[0]))
	return nil
}

func (u *users) queryUsers(w http.ResponseWriter, r *http.Request) error {
	body := bodies.Get().(*bytes.Buffer)
	defer releaseBody(body)
	if err := u.gate.takeBody(w, r, body); err != nil {
		return err
	}
	asked, err := decodeUsers(body.Bytes())
	if err != nil {
		return err
	}
	if err := u.gate.payRest(caller(r.Context()), body.Len(), costOfQuery(len(asked))); err != nil {
		return err
	}
	ps, err := u.hub.Presence(r.Context(), asked)
	if err != nil {
		return err
	}
	reply := mustJSON(usersOf(ps))
	passOf(r.Context()).Rest() // the caller may read slowly
	writeBody(w, http.StatusOK, "application/json", reply)
	return nil
}

// maxReason is what fits a WebSocket close frame beside its code.
const maxReason = 123

// defaultReason is told to connections closed without a reason given.
const defaultReason = "disconnected by the service"

type disconnectReply struct {
	User      hub.UserID `json:"user"`
	Processes int        `json:"processes"`
}

func (u *users) deleteConnections(w http.ResponseWriter, r *http.Request) error {
	user, err := userParam(r)
	if err != nil {
		return err
	}
	reason := cmp.Or(r.URL.Query().Get("reason"), defaultReason)
	if len(reason) > maxReason {
		return &Error{Code: CodeInvalidField, Field: "reason", Detail: "over 123 bytes"}
	}
	if !isText(reason) {
		return &Error{Code: CodeInvalidField, Field: "reason", Detail: "not UTF-8"}
	}
	if err := u.gate.payMore(caller(r.Context()), costDisconnect-1); err != nil {
		return err
	}
	n, err := u.hub.Disconnect(r.Context(), user, reason)
	if err != nil {
		return err
	}
	writeJSON(w, disconnectReply{User: user, Processes: n})
	return nil
}

// userParam is the user that the path names. The router matches the escaped
// path when it differs from the plain one, so that an id may hold a slash.
func userParam(r *http.Request) (hub.UserID, error) {
	id := chi.URLParam(r, "id")
	if r.URL.RawPath != "" {
		plain, err := url.PathUnescape(id)
		if err != nil {
			return "", &Error{Code: CodeInvalidField, Field: "id", Detail: "escaped wrongly"}
		}
		id = plain
	}
	return checkUser("id", id)
}

func checkUser(field, id string) (hub.UserID, error) {
	user := hub.UserID(id)
	if err := user.Check(); err != nil {
		return "", &Error{Code: CodeInvalidField, Field: field, Detail: err.Error()}
	}
	return user, nil
}
