package app

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"github.com/homing/homing/hub/fleet/scale"
)

// manifest is as much of a Kubernetes object as the program depends on.
type manifest struct {
	Kind string
	Data map[string]string
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Name string
					Args []string
					Env  []struct{ Name string }
				}
			}
		}
	}
}

// TestKubernetesExample has the program take the command lines of deploy/fleet, and its
// rules.
func TestKubernetesExample(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/fleet/kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secret, rules := filepath.Join(dir, "player.secret"), filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(secret, []byte(strings.Repeat("x", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	var all []manifest
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var m manifest
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if text := m.Data["rules.yaml"]; text != "" {
			if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := scale.Load(rules); err != nil {
				t.Error(err)
			}
		}
		all = append(all, m)
	}
	parsed := map[string]cli{}
	for _, m := range all {
		for _, c := range m.Spec.Template.Spec.Containers {
			known := []string{"/secrets/player.secret", secret, "/rules/rules.yaml", rules}
			for _, e := range c.Env {
				known = append(known, "$("+e.Name+")", "10.0.0.7")
			}
			args := strings.Split(strings.NewReplacer(known...).Replace(strings.Join(c.Args, "\n")), "\n")
			var parse cli
			p, err := kong.New(&parse, options(t.Context(), io.Discard, io.Discard)...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Parse(args); err != nil || strings.Contains(strings.Join(args, " "), "$(") {
				t.Errorf("%s: %v: %v", c.Name, args, err)
			}
			parsed[c.Name] = parse
			for k, v := range m.Spec.Selector.MatchLabels {
				if m.Spec.Template.Metadata.Labels[k] != v {
					t.Errorf("%s: no pod has the label %s: %s", c.Name, k, v)
				}
			}
			if front := parse.Front.Front; c.Name == "front" && time.Duration(m.Spec.Template.Spec.Grace)*time.Second < front.DrainWindow+front.DrainTimeout {
				t.Errorf("a pod is killed after %d s, before its players were sent away: %v and %v", m.Spec.Template.Spec.Grace, front.DrainWindow, front.DrainTimeout)
			}
		}
	}
	if parsed["front"].Front.Node.Endpoint != "10.0.0.7:8081" || len(parsed["controller"].Fleet.Run.Driver.Workloads) != 1 {
		t.Errorf("front %+v, controller %+v", parsed["front"].Front.Node, parsed["controller"].Fleet.Run.Driver)
	}
}
