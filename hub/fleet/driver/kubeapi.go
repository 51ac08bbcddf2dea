package driver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// kubeTimeout bounds one request to the API.
	kubeTimeout = 10 * time.Second
	// maxKubeAnswer bounds what is read of an answer: a list of a few thousand pods.
	//bound:fleet-kube-answer
	maxKubeAnswer = 64 << 20
	// kubeQuoted is how much of a refusal an error quotes.
	kubeQuoted = 300
)

// kube is the part of the Kubernetes API that the driver uses.
type kube struct {
	server    string // https://host:port
	namespace string
	tokenFile string // is read for each request: it is renewed from time to time
	client    *http.Client
}

// serviceAccount is where Kubernetes puts what a pod shows to the API.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

// newKube finds the API as pods do, where c does not say.
func newKube(c *KubernetesConfig) (*kube, error) {
	k := &kube{server: strings.TrimSuffix(c.Server, "/"), namespace: c.Namespace, tokenFile: c.TokenFile}
	if k.server == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("--driver-kubernetes-server: none given, and this is no pod: KUBERNETES_SERVICE_HOST and _PORT are not set")
		}
		k.server = "https://" + net.JoinHostPort(host, port)
	}
	if k.namespace == "" {
		raw, err := os.ReadFile(serviceAccount + "namespace")
		if err != nil {
			return nil, fmt.Errorf("--driver-kubernetes-namespace: none given: %w", err)
		}
		k.namespace = strings.TrimSpace(string(raw))
	}
	roots, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--driver-kubernetes-ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("--driver-kubernetes-ca-file: %s: no certificate in it", c.CAFile)
	}
	k.client = &http.Client{
		Timeout: kubeTimeout,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, TLSHandshakeTimeout: kubeTimeout, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return k, nil
}

// kubeError is an answer of the API that is no success.
type kubeError struct {
	status int
	what   string // was asked for
	text   string // the API's own words
}

func (e *kubeError) Error() string {
	return fmt.Sprintf("%s: HTTP %d: %s", e.what, e.status, e.text)
}

// refused reports whether err is an answer of that status.
func refused(err error, status int) bool {
	e, ok := errors.AsType[*kubeError](err)
	return ok && e.status == status
}

// do makes one request. body is sent as JSON unless it is nil; the answer is decoded
// into out.
func (k *kube) do(ctx context.Context, method, path, kind string, body, out any) error {
	var text []byte
	var err error
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, k.server+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	token, err := os.ReadFile(k.tokenFile)
	if err != nil {
		return fmt.Errorf("--driver-kubernetes-token-file: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Homing")
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return err // it names method and address
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxKubeAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return &kubeError{resp.StatusCode, method + " " + path, kubeReason(raw)}
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// kubeReason is what the API says of a refusal.
func kubeReason(raw []byte) string {
	var status struct{ Message string }
	if json.Unmarshal(raw, &status) == nil && status.Message != "" {
		raw = []byte(status.Message)
	}
	return string(raw[:min(kubeQuoted, len(raw))])
}

// kubeMeta is what of an object's metadata is read, and sent back.
type kubeMeta struct {
	Name            string            `json:"name,omitempty"`
	Namespace       string            `json:"namespace,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
	Deleted         string            `json:"deletionTimestamp,omitempty"` // not empty: it is on its way out
}

// kubeScale is how many pods a workload is to have.
type kubeScale struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   kubeMeta `json:"metadata"`
	Spec       struct {
		Replicas int `json:"replicas"`
	} `json:"spec"`
	Status struct {
		Selector string `json:"selector,omitempty"` // of its pods
	} `json:"status"`
}

// kubePod is what is read of a pod.
type kubePod struct {
	Metadata kubeMeta `json:"metadata"`
	Status   struct {
		Phase      string `json:"phase"`
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

// ready reports whether Kubernetes holds it to be ready.
func (p *kubePod) ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

func (k *kube) scalePath(w workload) string {
	return "/apis/apps/v1/namespaces/" + url.PathEscape(k.namespace) + "/" + w.kind + "s/" + url.PathEscape(w.name) + "/scale"
}

func (k *kube) podsPath() string {
	return "/api/v1/namespaces/" + url.PathEscape(k.namespace) + "/pods"
}

func (k *kube) scale(ctx context.Context, w workload) (s kubeScale, err error) {
	err = k.do(ctx, http.MethodGet, k.scalePath(w), "", nil, &s)
	return s, err
}

// setScale sets how many pods there are to be, unless the workload is another than s
// says meanwhile: then it is refused with 409.
func (k *kube) setScale(ctx context.Context, w workload, s kubeScale, replicas int) error {
	s.Spec.Replicas = replicas
	return k.do(ctx, http.MethodPut, k.scalePath(w), "application/json", s, &kubeScale{})
}

// pods lists those that a selector names, by their names.
func (k *kube) pods(ctx context.Context, selector string) (map[string]*kubePod, error) {
	var list struct {
		Items []*kubePod `json:"items"`
	}
	if err := k.do(ctx, http.MethodGet, k.podsPath()+"?labelSelector="+url.QueryEscape(selector), "", nil, &list); err != nil {
		return nil, err
	}
	pods := make(map[string]*kubePod, len(list.Items))
	for _, p := range list.Items {
		pods[p.Metadata.Name] = p
	}
	return pods, nil
}

// annotate sets an annotation of a pod; nil takes it off.
func (k *kube) annotate(ctx context.Context, pod, name string, value *string) error {
	patch := map[string]any{"metadata": map[string]any{"annotations": map[string]*string{name: value}}}
	return k.do(ctx, http.MethodPatch, k.podsPath()+"/"+url.PathEscape(pod), "application/merge-patch+json", patch, &kubePod{})
}
