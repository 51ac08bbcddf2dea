package driver

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/driver/kubetest"
)

func kubernetes(t *testing.T, a *kubetest.API, workloads ...string) *Kubernetes {
	t.Helper()
	c := KubernetesConfig{Workloads: workloads, Namespace: "games", Server: a.URL(), Timeout: 20 * time.Second}
	c.TokenFile, c.CAFile = a.Files()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	d, err := NewKubernetes(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	d.settles, d.grain = 10*time.Millisecond, 10*time.Millisecond
	return d
}

func wantPods(t *testing.T, a *kubetest.API, replicas int, names ...string) {
	t.Helper()
	until(t, fmt.Sprintf("pods %v", names), func() bool {
		got, n := a.Pods()
		return n == replicas && (len(names) == 0 || slices.Equal(got, names))
	})
}

func TestKubernetesGrows(t *testing.T) {
	a := kubetest.New(t, "deployment", "front", 2)
	d := kubernetes(t, a, "lobby=deployment/other", "game/eu=deployment/front")
	for range 2 { // the same order twice
		if err := d.Grow(t.Context(), growth); err != nil {
			t.Fatal(err)
		}
	}
	wantPods(t, a, 4, "front-0", "front-1", "front-2", "front-3")
	err := d.Grow(t.Context(), Order{ID: "9", Cluster: "game", Region: "us", Nodes: 1})
	if err == nil || !strings.Contains(err.Error(), `cluster "game", region "us"`) {
		t.Errorf("Grow of another region = %v", err)
	}
	if err := d.Grow(t.Context(), Order{ID: "10", Cluster: "lobby", Nodes: 1}); err == nil || !strings.Contains(err.Error(), "HTTP 404") {
		t.Errorf("Grow of what is not there = %v", err)
	}
}

func TestKubernetesTakesTheOneThatIsAsked(t *testing.T) {
	a := kubetest.New(t, "deployment", "front", 3)
	a.Change("front-2", func(p *kubetest.Pod) { p.Cost = "-2000000" }) // as cheap as somebody has made it
	d := kubernetes(t, a, "deployment/front")
	node := fleet.Node{ID: "node-1", Labels: map[string]string{"pod": "front-1"}}
	if err := d.Remove(t.Context(), removal, node); err != nil {
		t.Fatal(err)
	}
	wantPods(t, a, 2, "front-0", "front-2")
	if err := d.Remove(t.Context(), removal, node); err != nil { // it is gone already
		t.Fatal(err)
	}
	wantPods(t, a, 2, "front-0", "front-2")
}

func TestKubernetesTakesAnother(t *testing.T) {
	a := kubetest.New(t, "deployment", "front", 3)
	a.Victim = func([]*kubetest.Pod) string { return "front-0" }
	d := kubernetes(t, a, "deployment/front")
	err := d.Remove(t.Context(), removal, fleet.Node{ID: "front-1"})
	wrong, ok := errors.AsType[*WrongPodError](err)
	if !ok || wrong.Asked != "front-1" || !slices.Equal(wrong.Went, []string{"front-0"}) {
		t.Fatalf("Remove = %v", err)
	}
	if text := err.Error(); !strings.Contains(text, "front-1") || !strings.Contains(text, "front-0") {
		t.Errorf("it does not tell both names: %s", text)
	}
	if cost := a.Cost("front-1"); cost != "" {
		t.Errorf("the one that was asked for is still the first to go: %s", cost)
	}
}

func TestKubernetesDoesNotBeginWhatGoesWrong(t *testing.T) {
	t.Run("a StatefulSet takes the last", func(t *testing.T) {
		a := kubetest.New(t, "statefulset", "front", 11)
		d := kubernetes(t, a, "statefulset/front")
		err := d.Remove(t.Context(), removal, fleet.Node{ID: "front-9"})
		if err == nil || !strings.Contains(err.Error(), "front-10 would go, not front-9") {
			t.Errorf("Remove = %v", err)
		}
		wantPods(t, a, 11)
		if err := d.Remove(t.Context(), removal, fleet.Node{ID: "front-10"}); err != nil {
			t.Error(err)
		}
		wantPods(t, a, 10)
	})
	t.Run("another is not ready", func(t *testing.T) {
		a := kubetest.New(t, "deployment", "front", 3)
		a.Change("front-2", func(p *kubetest.Pod) { p.Ready = false })
		err := kubernetes(t, a, "deployment/front").Remove(t.Context(), removal, fleet.Node{ID: "front-1"})
		if err == nil || !strings.Contains(err.Error(), "front-2 would go, not front-1") {
			t.Errorf("Remove = %v", err)
		}
		wantPods(t, a, 3)
	})
	t.Run("the pod is another workload's", func(t *testing.T) {
		a := kubetest.New(t, "deployment", "front", 2)
		d := kubernetes(t, a, "deployment/front")
		a.Change("front-1", func(p *kubetest.Pod) { p.Deleted = true })
		if err := d.Remove(t.Context(), removal, fleet.Node{ID: "front-1"}); err != nil { // it goes already
			t.Error(err)
		}
		wantPods(t, a, 2)
	})
}

func TestKubernetesConflict(t *testing.T) {
	a := kubetest.New(t, "deployment", "front", 3)
	var once sync.Once
	a.Fault = func(r *http.Request, done bool) int {
		if r.Method == http.MethodPut && !done {
			once.Do(func() { a.Scale(5) })
		}
		return 0
	}
	if err := kubernetes(t, a, "deployment/front").Grow(t.Context(), growth); err != nil {
		t.Fatal(err)
	}
	wantPods(t, a, 7)
}

func TestKubernetesLosesAnswers(t *testing.T) {
	for name, status := range map[string]int{"connection": -1, "timeout of a proxy": 504} {
		for _, carriedOut := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, carried out %v", name, carriedOut), func(t *testing.T) {
				a := kubetest.New(t, "deployment", "front", 3)
				var lost atomic.Bool
				a.Fault = func(r *http.Request, done bool) int {
					if r.Method == http.MethodPut && done == carriedOut && !lost.Swap(true) {
						return status
					}
					return 0
				}
				if err := kubernetes(t, a, "deployment/front").Grow(t.Context(), growth); err != nil {
					t.Fatal(err)
				}
				wantPods(t, a, 5)
			})
		}
	}
}

func TestKubernetesRefuses(t *testing.T) {
	a := kubetest.New(t, "deployment", "front", 3)
	var allowed atomic.Bool
	a.Fault = func(r *http.Request, done bool) int {
		if r.Method == http.MethodPut && !done && !allowed.Load() {
			return http.StatusForbidden
		}
		return 0
	}
	d := kubernetes(t, a, "deployment/front")
	if err := d.Grow(t.Context(), growth); err == nil || !strings.Contains(err.Error(), "the test says 403") {
		t.Errorf("Grow = %v", err)
	}
	allowed.Store(true)
	if err := d.Grow(t.Context(), growth); err != nil { // the same order: nothing was done for it
		t.Error(err)
	}
	wantPods(t, a, 5)
}

func TestKubernetesWaitsInVain(t *testing.T) {
	a := kubetest.New(t, "deployment", "front", 3)
	a.Delay = 3 * time.Second
	d := kubernetes(t, a, "deployment/front")
	d.timeout = 500 * time.Millisecond
	err := d.Remove(t.Context(), removal, fleet.Node{ID: "front-1"})
	if err == nil || !strings.Contains(err.Error(), "still there after 500ms") {
		t.Errorf("Remove = %v", err)
	}
}

func TestKubernetesWorkloads(t *testing.T) {
	for _, bad := range [][]string{
		{"front"}, {"pod/front"}, {"deployment/"}, {"a=deployment/x", "a=deployment/y"}, {"deployment/a/b"},
	} {
		c := KubernetesConfig{Workloads: bad, Timeout: time.Minute}
		if err := c.Validate(); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
