package master

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Health adds GET and HEAD of /healthz, which says that the process runs, and of
// /readyz, which says 200 while ready returns nil and else 503 with a problem
// document (RFC 9457) whose detail is the error. What degraded returns does not
// keep the process from serving and is listed with 200. Neither may block.
func Health(mux *http.ServeMux, ready func() error, degraded func() []string) {
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) {
		reply(rw, http.StatusOK, "application/json", map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			reply(rw, http.StatusServiceUnavailable, "application/problem+json", notReady(err))
			return
		}
		reply(rw, http.StatusOK, "application/json", readiness{Status: "ready", Degraded: degraded()})
	})
}

// readiness is what /readyz answers with 200.
type readiness struct {
	Status   string   `json:"status"`
	Degraded []string `json:"degraded,omitempty"`
}

// problem is the document that the API server answers with in the same case.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func notReady(err error) problem {
	return problem{
		Type: "/problems/not_ready", Title: "Not ready", Status: http.StatusServiceUnavailable,
		Code: "not_ready", Detail: err.Error(),
	}
}

// reply sends a whole reply. An asker who has gone is no error of ours.
func reply(rw http.ResponseWriter, status int, contentType string, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", contentType)
	rw.Header().Set("Content-Length", strconv.Itoa(len(b)))
	rw.WriteHeader(status)
	_, _ = rw.Write(b)
}
