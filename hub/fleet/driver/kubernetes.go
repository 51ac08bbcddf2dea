package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/homing/homing/hub/fleet"
)

// KubernetesConfig says which workloads of Kubernetes are a fleet's clusters.
type KubernetesConfig struct {
	Workloads []string      `name:"kubernetes-workload" help:"What has the pods of a cluster, as deployment/front, or game=deployment/front or game/eu=statefulset/front where there are several clusters or regions. Repeatable." placeholder:"[CLUSTER[/REGION]=]KIND/NAME"`
	Namespace string        `name:"kubernetes-namespace" help:"Where they are. Default: that of the controller's own pod." placeholder:"NAME"`
	Server    string        `name:"kubernetes-server" help:"URL of the API. Default: as Kubernetes tells its pods." placeholder:"URL"`
	TokenFile string        `name:"kubernetes-token-file" help:"File of the token that the API is shown; it is read for each request." type:"path" default:"/var/run/secrets/kubernetes.io/serviceaccount/token"`
	CAFile    string        `name:"kubernetes-ca-file" help:"File of the certificates that the API's is signed with." type:"path" default:"/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"`
	Timeout   time.Duration `name:"kubernetes-timeout" help:"How long an order may take, and the wait for the pod that goes." default:"2m"`
}

// Validate reports the first option that cannot work.
func (c *KubernetesConfig) Validate() error {
	if len(c.Workloads) == 0 {
		return nil
	}
	if _, err := c.workloads(); err != nil {
		return fmt.Errorf("--driver-kubernetes-workload: %w", err)
	}
	if u, err := url.Parse(c.Server); c.Server != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("--driver-kubernetes-server: %q: want https://host:port", c.Server)
	}
	if c.Timeout < 10*time.Second || c.Timeout > 10*time.Minute {
		return fmt.Errorf("--driver-kubernetes-timeout: %v: want 10s to 10m", c.Timeout)
	}
	return nil
}

// place is a cluster in a region. An empty field stands for any.
type place struct{ cluster, region string }

// workload is what has pods. Its turn is taken by whoever changes it: what goes can be
// told from what others do only one at a time.
type workload struct {
	kind, name string
	turn       chan struct{}
}

func (w workload) String() string { return w.kind + "/" + w.name }

// kinds are those whose scale may be set.
const (
	deployment  = "deployment"
	statefulSet = "statefulset"
)

func (c *KubernetesConfig) workloads() (map[place]workload, error) {
	all, turns := make(map[place]workload), make(map[string]chan struct{})
	for _, text := range c.Workloads {
		where, what, given := strings.Cut(text, "=")
		if !given {
			where, what = "", text
		}
		var p place
		p.cluster, p.region, _ = strings.Cut(where, "/")
		kind, name, ok := strings.Cut(what, "/")
		kind = strings.ToLower(kind)
		if !ok || name == "" || strings.Contains(name, "/") || kind != deployment && kind != statefulSet {
			return nil, fmt.Errorf("%q: want deployment/NAME or statefulset/NAME, with CLUSTER= or CLUSTER/REGION= before it", text)
		}
		if _, twice := all[p]; twice {
			return nil, fmt.Errorf("%q: there is another one of that cluster and region", text)
		}
		if turns[what] == nil {
			turns[what] = make(chan struct{}, 1)
		}
		all[p] = workload{kind, name, turns[what]}
	}
	return all, nil
}

const (
	// costAnnotation says how dear a pod is: of those that are ready, the cheapest goes
	// first.
	costAnnotation = "controller.kubernetes.io/pod-deletion-cost"
	// victimCost is that of the pod that is to go, unless another is as cheap.
	victimCost = -1_000_000
	// costSettles is how long Kubernetes' own controllers may need to see it.
	costSettles = time.Second
	// podGrain is how often is looked who goes, and otherPatience how long the right one
	// is waited for when another has gone.
	podGrain      = 500 * time.Millisecond
	otherPatience = 3 * time.Second
	// rememberOrders is how many orders are known that were carried out or begun.
	rememberOrders = 256
)

// Kubernetes is a driver that scales Deployments and StatefulSets. A node's pod is its
// label "pod", or else its ID.
type Kubernetes struct {
	api       *kube
	workloads map[place]workload
	timeout   time.Duration
	settles   time.Duration
	grain     time.Duration
	log       *slog.Logger
	begun     orders
}

// NewKubernetes returns the driver; c must be valid and have a workload. It reads the
// file of certificates, and asks the API for nothing yet.
func NewKubernetes(c KubernetesConfig, log *slog.Logger) (*Kubernetes, error) {
	all, err := c.workloads()
	if err != nil {
		return nil, err
	}
	api, err := newKube(&c)
	if err != nil {
		return nil, err
	}
	return &Kubernetes{api: api, workloads: all, timeout: c.Timeout, settles: costSettles, grain: podGrain, log: log}, nil
}

// Close closes idle connections.
func (d *Kubernetes) Close() { d.api.client.CloseIdleConnections() }

// Name is "kubernetes".
func (*Kubernetes) Name() string { return "kubernetes" }

// WrongPodError is the error of a Remove after which another pod went than was asked for.
type WrongPodError struct {
	Asked string
	Went  []string
}

func (e *WrongPodError) Error() string {
	return fmt.Sprintf("kubernetes: pod %s was to go, and %s went", e.Asked, strings.Join(e.Went, ", "))
}

// find is the workload of an order: that of its cluster and region, of its cluster, or
// of all.
func (d *Kubernetes) find(o *Order) (workload, error) {
	for _, p := range []place{{o.Cluster, o.Region}, {o.Cluster, ""}, {}} {
		if w, ok := d.workloads[p]; ok {
			return w, nil
		}
	}
	return workload{}, fmt.Errorf("kubernetes: no workload is given for cluster %q, region %q", o.Cluster, o.Region)
}

// take waits for the turn of w. The caller gives it back.
func (d *Kubernetes) take(ctx context.Context, w workload) (release func(), err error) {
	select {
	case w.turn <- struct{}{}:
		return func() { <-w.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("kubernetes: wait for other orders of %v: %w", w, ctx.Err())
	}
}

// Grow raises the number of pods. It returns when the API has taken that: whether the
// pods come the fleet shows.
func (d *Kubernetes) Grow(ctx context.Context, o Order) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	w, err := d.find(&o)
	if err != nil {
		return err
	}
	release, err := d.take(ctx, w)
	if err != nil {
		return err
	}
	defer release()
	if target, begun := d.begun.target(o.ID); begun {
		s, err := d.api.scale(ctx, w)
		if err == nil && s.Spec.Replicas < target {
			err = fmt.Errorf("order %s was given before and set %d pods; there are to be %d now", o.ID, target, s.Spec.Replicas)
		}
		return wrapKube(err)
	}
	err = d.change(ctx, w, o.Nodes, func(target int) { d.begun.note(o.ID, target) })
	if _, answered := errors.AsType[*kubeError](err); answered && !unavailable(err) {
		d.begun.forget(o.ID) // it is known that nothing was done
	}
	return wrapKube(err)
}

func wrapKube(err error) error {
	if err != nil {
		return fmt.Errorf("kubernetes: %w", err)
	}
	return nil
}

// change adds to the number of pods of w. The number that is set is an absolute one,
// which is told to chosen before: set twice it does no harm. Who changes it meanwhile is
// not overruled: it is added to what that one has set.
func (d *Kubernetes) change(ctx context.Context, w workload, by int, chosen func(target int)) error {
	for tries := 1; ; tries++ {
		s, err := d.api.scale(ctx, w)
		if err != nil {
			return err
		}
		target := s.Spec.Replicas + by
		if target < 0 {
			return fmt.Errorf("%v is to have %d pods already", w, s.Spec.Replicas)
		}
		chosen(target)
		err = d.set(ctx, w, s, target)
		if !refused(err, http.StatusConflict) {
			return err
		}
		d.log.Info("driver: somebody else has changed the workload; once more", "workload", w.String(), "tries", tries)
		if err := pause(ctx, d.grain); err != nil {
			return fmt.Errorf("%v is changed by others all the time: %w", w, err)
		}
	}
}

// set sets the number of pods. When no answer comes it looks whether that was done.
func (d *Kubernetes) set(ctx context.Context, w workload, s kubeScale, target int) error {
	for {
		err := d.api.setScale(ctx, w, s, target)
		if _, answered := errors.AsType[*kubeError](err); err == nil || answered && !unavailable(err) {
			return err
		}
		d.log.Warn("driver: it is not known whether the workload was scaled", "workload", w.String(), "replicas", target, "err", err)
		now, lookErr := d.look(ctx, w)
		switch {
		case lookErr != nil:
			return fmt.Errorf("it is not known whether %v has %d pods: %w", w, target, err)
		case now.Spec.Replicas == target:
			return nil
		case now.Spec.Replicas != s.Spec.Replicas:
			return fmt.Errorf("%v was to have %d pods and somebody set %d: %w", w, target, now.Spec.Replicas, err)
		}
		s = now
	}
}

// look reads the scale until the API answers, or ctx ends.
func (d *Kubernetes) look(ctx context.Context, w workload) (kubeScale, error) {
	for {
		if err := pause(ctx, d.grain); err != nil {
			return kubeScale{}, err
		}
		if s, err := d.api.scale(ctx, w); err == nil {
			return s, nil
		}
	}
}

// unavailable reports whether an answer leaves open what was done.
func unavailable(err error) bool {
	e, ok := errors.AsType[*kubeError](err)
	return ok && e.status >= http.StatusInternalServerError
}

// pause waits for a while, or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Remove lowers the number of pods by one, having said which is to go, and looks who
// goes. It returns when the pod is on its way out, or *WrongPodError. Where Kubernetes would
// take another for certain, it is not asked to.
func (d *Kubernetes) Remove(ctx context.Context, o Order, node fleet.Node) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	w, err := d.find(&o)
	if err != nil {
		return err
	}
	release, err := d.take(ctx, w)
	if err != nil {
		return err
	}
	defer release()
	victim := cmp.Or(node.Labels["pod"], node.ID)
	s, err := d.api.scale(ctx, w)
	if err != nil {
		return wrapKube(err)
	}
	before, err := d.api.pods(ctx, s.Status.Selector)
	if err != nil {
		return wrapKube(err)
	}
	pod := before[victim]
	switch {
	case pod == nil:
		return wrapKube(d.missing(ctx, w, victim))
	case pod.Metadata.Deleted != "":
		return nil
	}
	if err := d.single(ctx, w, victim, before); err != nil {
		return wrapKube(err)
	}
	err = d.change(ctx, w, -1, func(int) {})
	if err == nil {
		err = d.verify(ctx, s.Status.Selector, victim, before)
	}
	if err != nil {
		d.spare(ctx, w, victim)
	}
	if _, told := errors.AsType[*WrongPodError](err); told {
		return err
	}
	return wrapKube(err)
}

// missing says what it means that no pod of w is the one that is to go.
func (d *Kubernetes) missing(ctx context.Context, w workload, victim string) error {
	err := d.api.do(ctx, http.MethodGet, d.api.podsPath()+"/"+url.PathEscape(victim), "", nil, &kubePod{})
	switch {
	case refused(err, http.StatusNotFound):
		d.log.Info("driver: the pod that was to go is gone already", "pod", victim)
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("pod %s is not of %v", victim, w)
}

// single has Kubernetes take the victim next, or says who would go instead.
func (d *Kubernetes) single(ctx context.Context, w workload, victim string, pods map[string]*kubePod) error {
	if w.kind == statefulSet {
		if last := lastOrdinal(w, pods); last != victim {
			return fmt.Errorf("of %v pod %s would go, not %s: a StatefulSet takes the last one; use a Deployment", w, last, victim)
		}
		return nil
	}
	cost := victimCost
	for name, p := range pods {
		if name == victim || p.Metadata.Deleted != "" {
			continue
		}
		if !p.ready() {
			return fmt.Errorf("of %v pod %s would go, not %s: Kubernetes takes those first that are not ready", w, name, victim)
		}
		if n, err := strconv.ParseInt(p.Metadata.Annotations[costAnnotation], 10, 32); err == nil {
			cost = min(cost, max(int(n)-1, math.MinInt32))
		}
	}
	text := strconv.Itoa(cost)
	if err := d.api.annotate(ctx, victim, costAnnotation, &text); err != nil {
		return err
	}
	return pause(ctx, d.settles)
}

// lastOrdinal is the pod that a StatefulSet takes away next.
func lastOrdinal(w workload, pods map[string]*kubePod) (last string) {
	most := -1
	for name, p := range pods {
		n, err := strconv.Atoi(strings.TrimPrefix(name, w.name+"-"))
		if err == nil && n > most && p.Metadata.Deleted == "" {
			most, last = n, name
		}
	}
	return last
}

// verify waits until the victim is on its way out.
func (d *Kubernetes) verify(ctx context.Context, selector, victim string, before map[string]*kubePod) error {
	var others []string
	var since time.Time
	for {
		now, err := d.api.pods(ctx, selector)
		if err == nil {
			went := gone(before, now)
			switch {
			case slices.Contains(went, victim):
				return nil
			case len(went) > 0 && since.IsZero():
				others, since = went, time.Now()
			case len(went) > 0:
				others = went
			}
		}
		if !since.IsZero() && time.Since(since) > otherPatience {
			return &WrongPodError{victim, others}
		}
		if pause(ctx, d.grain) != nil {
			return fmt.Errorf("pod %s was to go and is still there after %v: %w", victim, d.timeout, errors.Join(ctx.Err(), err))
		}
	}
}

// gone lists the pods that were there before and are gone or on their way out now.
func gone(before, now map[string]*kubePod) (went []string) {
	for name, p := range before {
		if p.Metadata.Deleted == "" && (now[name] == nil || now[name].Metadata.Deleted != "") {
			went = append(went, name)
		}
	}
	slices.Sort(went)
	return went
}

// spare takes back that the victim is to go next: it may be needed after all.
func (d *Kubernetes) spare(ctx context.Context, w workload, victim string) {
	if w.kind != deployment {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kubeTimeout)
	defer cancel()
	if err := d.api.annotate(ctx, victim, costAnnotation, nil); err != nil && !refused(err, http.StatusNotFound) {
		d.log.Warn("driver: a pod stays the first to go", "pod", victim, "err", err)
	}
}
