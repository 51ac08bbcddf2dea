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
		"/demo":                  "text/html",
		"/console/board.js":      "text/javascript",
		"/console/demo.css":      "text/css",
		"/console/demo.js":       "text/javascript",
		"/console/seat.js":       "text/javascript",
		"/console/console.css":   "text/css",
		"/console/connection.js": "text/javascript",
		"/console/console.js":    "text/javascript",
		"/console/dom.js":        "text/javascript",
		"/console/feed.js":       "text/javascript",
		"/console/homing.js":     "text/javascript",
		"/console/http.js":       "text/javascript",
		"/console/icon.svg":      "image/svg+xml",
		"/console/latency.js":    "text/javascript",
		"/console/line.js":       "text/javascript",
		"/console/player.js":     "text/javascript",
		"/console/send.js":       "text/javascript",
	} {
		w := fetch(t, path)
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), media) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		front := "wss://front.example:8081 https://front.example:8081;"
		if path == "/demo" { // a room may move to another process
			front = "wss://front.example:* https://front.example:*;"
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") ||
			!strings.Contains(csp, "connect-src 'self' "+front) || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	for _, path := range []string{"/console/", "/console/../console.go", "/console/nope.js"} {
		if w := fetch(t, path); w.Code == http.StatusOK && strings.Contains(w.Body.String(), "package") {
			t.Errorf("%s: served %s", path, w.Body)
		}
	}
}

// TestPagesKeepTheirPolicy: what the policy forbids would fail only in a
// browser, and text from outside must never be read as markup.
func TestPagesKeepTheirPolicy(t *testing.T) {
	for _, page := range []string{"/", "/demo"} {
		html := fetch(t, page).Body.String()
		for _, forbidden := range []string{`<script>`, ` style=`, `<style`, ` onclick=`, `javascript:`, `http://`, `https://`} {
			if strings.Contains(html, forbidden) {
				t.Errorf("%s holds %q", page, forbidden)
			}
		}
	}
	scripts, err := fs.Glob(static, "static/*.js")
	if err != nil || len(scripts) < 13 {
		t.Fatalf("found the scripts %q, %v", scripts, err)
	}
	for _, name := range scripts {
		script := fetch(t, "/console/"+path.Base(name)).Body.String()
		if m := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(`).FindString(script); m != "" {
			t.Errorf("%s uses %s", name, m)
		}
	}
}
