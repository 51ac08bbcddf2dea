package front

import (
	"net/http"
	"strconv"

	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// The answers to load balancers. Players can read them too, so they say no more
// than is needed.
var (
	errDraining = &ws.RequestError{Status: http.StatusServiceUnavailable, Code: "not_ready", Detail: "This server stops."}
	errNotGood  = &ws.RequestError{Status: http.StatusServiceUnavailable, Code: "not_ready", Detail: "This server has lost touch with the hub."}
)

// health answers a request for /healthz, which says that the worker runs, or for
// /readyz, which says whether it lets clients in now. It reports false when the
// request is for something else.
func (w *Worker) health(c *conn, req *ws.Request) bool {
	var err error
	status := ""
	switch req.Path {
	case "/healthz":
		status = "ok"
	case "/readyz":
		status, err = "ready", w.ready()
	}
	if status == "" || !w.cfg.Health || w.anyPath {
		return false
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		err = &ws.RequestError{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: "Want GET or HEAD.", Header: "Allow: GET, HEAD",
		}
	}
	reply, code := ws.Reply(http.StatusOK, "application/json", []byte(`{"status":"`+status+`"}`)), http.StatusOK
	if err != nil {
		reply, code = ws.Problem(err), ws.StatusOf(err)
	}
	w.m.health.WithLabelValues(strconv.Itoa(code)).Inc()
	w.endRequest(c, reply)
	return true
}

// ready returns why the worker lets nobody in now, or nil.
func (w *Worker) ready() error {
	switch {
	case w.draining.Load():
		return errDraining
	case w.Standing() != hub.StandingGood:
		return errNotGood
	}
	return nil
}
