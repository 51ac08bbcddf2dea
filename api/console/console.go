// Package console is the page that shows Homing at work: it connects as a
// player, shows notifications as they arrive, sends one from a form, and
// lists who is online. It is plain HTML, CSS and JavaScript, embedded.
package console

import (
	"embed"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
)

//go:embed static
var static embed.FS

// Handler serves the page at / and its files under /console/. The page may
// open WebSockets to frontURL and to nowhere else.
func Handler(frontURL string) http.Handler {
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	policy := contentPolicy(frontURL)
	serve := http.FileServerFS(files)
	below := http.StripPrefix("/console", serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		if r.URL.Path == "/" {
			serve.ServeHTTP(w, r)
			return
		}
		below.ServeHTTP(w, r)
	})
}

// contentPolicy lets the page load its own files and connect to the front.
func contentPolicy(frontURL string) string {
	connect := "'self'"
	if u, err := url.Parse(frontURL); err == nil && u.Host != "" {
		connect += " " + u.Scheme + "://" + u.Host
	}
	return strings.Join([]string{
		"default-src 'none'",
		"script-src 'self'",
		"style-src 'self'",
		"img-src 'self'",
		"connect-src " + connect,
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
}
