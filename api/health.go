package api

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
)

// readyTimeout bounds the look at the hub: a probe wants an answer.
const readyTimeout = time.Second

type statusReply struct {
	Status   string   `json:"status"`
	Degraded []string `json:"degraded,omitzero"` // what is refused or answered in part, and why
}

// probes answers those who ask how the server is.
type probes struct {
	lookout  *lookout
	draining atomic.Bool // the server is not ready
}

// getHealth says that the process lives, whatever Redis does: restarting it
// would not help.
func (p *probes) getHealth(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, statusReply{Status: "ok"})
	return nil
}

// getReady says whether a notification could be taken now, and what would be
// refused all the same.
func (p *probes) getReady(w http.ResponseWriter, r *http.Request) error {
	if p.draining.Load() {
		return refuse(CodeNotReady, "shutting down")
	}
	switch h := p.lookout.look(r.Context()); {
	case len(h.Down) > 0:
		return refuse(CodeNotReady, "%s", truncate(strings.Join(h.Down, "; "), 1000))
	case len(h.Degraded) > 0:
		writeJSON(w, statusReply{Status: "degraded", Degraded: h.Degraded})
	default:
		writeJSON(w, statusReply{Status: "ready"})
	}
	return nil
}

func getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	writeBody(w, http.StatusOK, "application/yaml", openAPI)
	return nil
}

type problemsReply struct {
	Problems []ProblemKind `json:"problems"`
}

func getProblems(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, problemsReply{Problems: Problems})
	return nil
}

// getProblem is where a problem's type points.
func getProblem(w http.ResponseWriter, r *http.Request) error {
	kind, ok := problemKinds[Code(chi.URLParam(r, "code"))]
	if !ok {
		return refuse(CodeNotFound, "no such problem")
	}
	writeJSON(w, kind)
	return nil
}
