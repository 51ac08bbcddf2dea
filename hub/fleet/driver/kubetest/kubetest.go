// Package kubetest is the part of a Kubernetes API that the driver of fleets uses, with
// a workload and its pods behind it, for tests. It can take another pod away than it was
// asked for, lose answers, and have others change what the driver changes.
package kubetest

import (
	"cmp"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Token is what the API wants to be shown.
const Token = "kube-token"

// API is a Kubernetes with one workload. Its exported fields are set before it is used.
type API struct {
	// Victim names the pod that goes next, of those that stand; nil: as Kubernetes does.
	Victim func(pods []*Pod) string
	// Started and Stopped hear of pods. One that is Stopped is on its way out until the
	// function has returned; both run on goroutines of their own. nil: nobody hears.
	Started, Stopped func(pod string)
	// Fault is asked before a request and after it. A status that is not 0 is answered
	// instead, and -1 breaks the connection. nil: there are no faults.
	Fault func(r *http.Request, done bool) int
	// Delay is from a change of the scale until pods come or go.
	Delay time.Duration

	t        *testing.T
	kind     string // deployment or statefulset
	name     string
	server   *httptest.Server
	changing sync.WaitGroup

	mu       sync.Mutex
	replicas int
	version  int
	made     int
	pods     map[string]*Pod
}

// Pod is one of the workload's.
type Pod struct {
	Name    string
	Cost    string // of its deletion; empty: none is said
	Ready   bool
	Deleted bool // it is on its way out
}

// New starts an API with a workload, as "deployment", "front", of so many pods. It ends
// with the test.
func New(t *testing.T, kind, name string, replicas int) *API {
	t.Helper()
	a := &API{t: t, kind: kind, name: name, replicas: replicas, pods: make(map[string]*Pod)}
	for range replicas {
		a.addLocked()
	}
	a.server = httptest.NewTLSServer(a)
	t.Cleanup(func() { a.server.Close(); a.changing.Wait() })
	return a
}

// URL is where the API is.
func (a *API) URL() string { return a.server.URL }

// Files writes the files of the token and of the API's certificate.
func (a *API) Files() (token, ca string) {
	a.t.Helper()
	dir := a.t.TempDir()
	token, ca = filepath.Join(dir, "token"), filepath.Join(dir, "ca.crt")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.server.Certificate().Raw})
	for name, text := range map[string][]byte{token: []byte(Token + "\n"), ca: cert} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return token, ca
}

// Pods are those that stand, by name, and how many there are to be.
func (a *API) Pods() (names []string, replicas int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.standingLocked() {
		names = append(names, p.Name)
	}
	return names, a.replicas
}

// Change changes a pod.
func (a *API) Change(pod string, change func(*Pod)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a.pods[pod])
}

// Cost is what is said of a pod's deletion.
func (a *API) Cost(pod string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pods[pod].Cost
}

// Scale changes how many pods there are to be, as somebody else would.
func (a *API) Scale(replicas int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.scaleLocked(replicas)
}

// standingLocked are the pods that are not on their way out, by name.
func (a *API) standingLocked() (all []*Pod) {
	for _, p := range a.pods {
		if !p.Deleted {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(x, y *Pod) int { return strings.Compare(x.Name, y.Name) })
	return all
}

func (a *API) addLocked() {
	p := &Pod{Name: fmt.Sprintf("%s-%d", a.name, a.made), Ready: true}
	a.made++
	a.pods[p.Name] = p
	if a.Started != nil {
		a.changing.Go(func() { a.Started(p.Name) })
	}
}

func (a *API) scaleLocked(replicas int) {
	a.replicas = replicas
	a.version++
	a.changing.Go(func() {
		time.Sleep(a.Delay)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.settleLocked()
	})
}

// settleLocked has as many pods as there are to be.
func (a *API) settleLocked() {
	for len(a.standingLocked()) < a.replicas {
		a.addLocked()
	}
	for all := a.standingLocked(); len(all) > a.replicas; all = a.standingLocked() {
		name := a.next(all)
		p := a.pods[name]
		p.Deleted = true
		a.changing.Go(func() {
			if a.Stopped != nil {
				a.Stopped(name)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.pods, name)
		})
	}
}

// next is who goes: of a Deployment who is not ready, then who is cheapest; of a
// StatefulSet the last.
func (a *API) next(all []*Pod) string {
	if a.Victim != nil {
		return a.Victim(all)
	}
	if a.kind == "statefulset" {
		return slices.MaxFunc(all, func(x, y *Pod) int { return cmp.Compare(ordinal(x), ordinal(y)) }).Name
	}
	return slices.MinFunc(all, func(x, y *Pod) int {
		return cmp.Or(cmp.Compare(rank(x.Ready), rank(y.Ready)), cmp.Compare(cost(x), cost(y)))
	}).Name
}

func rank(ready bool) int {
	if ready {
		return 1
	}
	return 0
}

func cost(p *Pod) int {
	n, _ := strconv.Atoi(p.Cost) // none is 0
	return n
}

func ordinal(p *Pod) int {
	n, err := strconv.Atoi(p.Name[strings.LastIndexByte(p.Name, '-')+1:])
	if err != nil {
		return math.MinInt
	}
	return n
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.fault(w, r, false) {
		return
	}
	status, body := a.serve(r)
	if a.fault(w, r, true) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (a *API) fault(w http.ResponseWriter, r *http.Request, done bool) bool {
	if a.Fault == nil {
		return false
	}
	switch status := a.Fault(r, done); status {
	case 0:
		return false
	case -1:
		panic(http.ErrAbortHandler)
	default:
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"kind":"Status","message":"the test says %d"}`, status)
	}
	return true
}

func refusal(status int, message string) (int, any) {
	return status, map[string]any{"kind": "Status", "message": message, "code": status}
}

func (a *API) serve(r *http.Request) (status int, body any) {
	if r.Header.Get("Authorization") != "Bearer "+Token {
		return refusal(http.StatusUnauthorized, "Unauthorized")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	scale, pods := "/apis/apps/v1/namespaces/games/"+a.kind+"s/"+a.name+"/scale", "/api/v1/namespaces/games/pods"
	pod, one := strings.CutPrefix(r.URL.Path, pods+"/")
	switch {
	case r.URL.Path == scale && r.Method == http.MethodGet:
		return http.StatusOK, a.scaleObjectLocked()
	case r.URL.Path == scale && r.Method == http.MethodPut:
		return a.putLocked(r)
	case r.URL.Path == pods && r.Method == http.MethodGet && r.URL.Query().Get("labelSelector") == "app="+a.name:
		return a.listLocked()
	case one && a.pods[pod] == nil:
		return refusal(http.StatusNotFound, "pods "+strconv.Quote(pod)+" not found")
	case one:
		return podLocked(a.pods[pod], r)
	}
	return refusal(http.StatusNotFound, "the server could not find the requested resource: "+r.Method+" "+r.URL.String())
}

func (a *API) listLocked() (int, any) {
	items := []any{}
	for _, p := range a.pods {
		items = append(items, podObject(p))
	}
	return http.StatusOK, map[string]any{"kind": "PodList", "items": items}
}

// podLocked reads a pod, or changes it.
func podLocked(p *Pod, r *http.Request) (int, any) {
	if r.Method == http.MethodPatch {
		return patchLocked(p, r)
	}
	return http.StatusOK, podObject(p)
}

func (a *API) scaleObjectLocked() any {
	return map[string]any{
		"apiVersion": "autoscaling/v1", "kind": "Scale",
		"metadata": map[string]any{"name": a.name, "namespace": "games", "resourceVersion": strconv.Itoa(a.version)},
		"spec":     map[string]any{"replicas": a.replicas},
		"status":   map[string]any{"replicas": len(a.pods), "selector": "app=" + a.name},
	}
}

func (a *API) putLocked(r *http.Request) (int, any) {
	var s struct {
		APIVersion, Kind string
		Metadata         struct{ Name, ResourceVersion string }
		Spec             struct{ Replicas *int }
	}
	switch err := json.NewDecoder(r.Body).Decode(&s); {
	case err != nil, s.APIVersion != "autoscaling/v1", s.Kind != "Scale", s.Metadata.Name != a.name, s.Spec.Replicas == nil:
		return refusal(http.StatusBadRequest, fmt.Sprintf("not a scale: %v", err))
	case s.Metadata.ResourceVersion != strconv.Itoa(a.version):
		return refusal(http.StatusConflict, "the object has been modified; please apply your changes to the latest version and try again")
	}
	a.scaleLocked(*s.Spec.Replicas)
	return http.StatusOK, a.scaleObjectLocked()
}

func patchLocked(p *Pod, r *http.Request) (int, any) {
	var patch struct {
		Metadata struct{ Annotations map[string]*string }
	}
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		return refusal(http.StatusUnsupportedMediaType, fmt.Sprintf("not a merge patch: %v", err))
	}
	for name, value := range patch.Metadata.Annotations {
		if name != "controller.kubernetes.io/pod-deletion-cost" {
			continue
		}
		if p.Cost = ""; value != nil {
			p.Cost = *value
		}
	}
	return http.StatusOK, podObject(p)
}

func podObject(p *Pod) any {
	meta := map[string]any{"name": p.Name, "namespace": "games"}
	if p.Cost != "" {
		meta["annotations"] = map[string]string{"controller.kubernetes.io/pod-deletion-cost": p.Cost}
	}
	if p.Deleted {
		meta["deletionTimestamp"] = "2026-06-05T21:30:00Z"
	}
	ready := "False"
	if p.Ready {
		ready = "True"
	}
	return map[string]any{
		"metadata": meta,
		"status":   map[string]any{"phase": "Running", "conditions": []any{map[string]string{"type": "Ready", "status": ready}}},
	}
}
