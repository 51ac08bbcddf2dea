package console

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

func fetch(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	Handler("wss://front.example:8081/ws").ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestFiles(t *testing.T) {
	for path, media := range map[string]string{
		"/":                      "text/html",
		"/console/console.css":   "text/css",
		"/console/connection.js": "text/javascript",
		"/console/console.js":    "text/javascript",
		"/console/dom.js":        "text/javascript",
		"/console/feed.js":       "text/javascript",
		"/console/http.js":       "text/javascript",
		"/console/icon.svg":      "image/svg+xml",
	} {
		w := fetch(t, path)
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), media) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") ||
			!strings.Contains(csp, "connect-src 'self' wss://front.example:8081;") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	for _, path := range []string{"/console/", "/console/../console.go", "/console/nope.js"} {
		if w := fetch(t, path); w.Code == http.StatusOK && strings.Contains(w.Body.String(), "package") {
			t.Errorf("%s: served %s", path, w.Body)
		}
	}
}

// TestPageKeepsItsPolicy: what the policy forbids would fail only in a
// browser, and text from outside must never be read as markup.
func TestPageKeepsItsPolicy(t *testing.T) {
	html := fetch(t, "/").Body.String()
	for _, forbidden := range []string{`<script>`, ` style=`, `<style`, ` onclick=`, `javascript:`, `http://`, `https://`} {
		if strings.Contains(html, forbidden) {
			t.Errorf("the page holds %q", forbidden)
		}
	}
	scripts, err := fs.Glob(static, "static/*.js")
	if err != nil || len(scripts) < 5 {
		t.Fatalf("found the scripts %q, %v", scripts, err)
	}
	for _, name := range scripts {
		script := fetch(t, "/console/"+path.Base(name)).Body.String()
		if m := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(`).FindString(script); m != "" {
			t.Errorf("%s uses %s", name, m)
		}
	}
}
