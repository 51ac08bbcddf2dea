// Package console is the pages that show Homing at work. One is a playground:
// players side by side, each a client of client/js, what is sent to them with how
// long it took, and how to do the same from a shell or in JavaScript. The other is
// a game: two tabs are matched, play in one room, cut their lines and have the room
// move. They are plain HTML, CSS and JavaScript, embedded. static/homing.js is what
// client/js builds for a script element; a test there compares the two.
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

// Handler serves the playground at /, the game at /demo, and their files under
// /console/. The pages may connect to the host of frontURL, by WebSocket or HTTP,
// and to nowhere else; the game to any port of it, because a room may move to
// another process.
func Handler(frontURL string) http.Handler {
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	policy, demoPolicy := contentPolicy(frontURL, false), contentPolicy(frontURL, true)
	serve := http.FileServerFS(files)
	below := http.StripPrefix("/console", serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		switch r.URL.Path {
		case "/":
			serve.ServeHTTP(w, r)
		case "/demo":
			h.Set("Content-Security-Policy", demoPolicy)
			http.ServeFileFS(w, r, files, "demo.html")
		default:
			below.ServeHTTP(w, r)
		}
	})
}

// contentPolicy lets a page load its own files and connect to the front, or to any
// port of the front's host.
func contentPolicy(frontURL string, anyPort bool) string {
	connect := "'self'"
	if u, err := url.Parse(frontURL); err == nil && u.Host != "" {
		host := u.Host
		if anyPort {
			host = strings.TrimSuffix(host, ":"+u.Port()) + ":*"
		}
		connect += " " + u.Scheme + "://" + host + " http" + strings.TrimPrefix(u.Scheme, "ws") + "://" + host
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
