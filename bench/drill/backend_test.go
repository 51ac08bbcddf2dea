package drill

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCallTellsWhatCame(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.Copy(w, r.Body)
	}))
	b := newBackend("k", nil)
	defer b.close()
	defer srv.Close()
	if a := b.call(t.Context(), "x", http.MethodPost, srv.URL+"/fine", post{Store: "1h"}); !a.ok() || a.wait || !strings.Contains(a.body, `"store":"1h"`) {
		t.Errorf("%v", a)
	}
	if a := b.call(t.Context(), "x", http.MethodGet, srv.URL+"/busy", nil); a.ok() || !a.wait || a.status != 503 || a.body != "" {
		t.Errorf("%v", a)
	}
	srv.Close()
	if a := b.call(t.Context(), "x", http.MethodGet, srv.URL, nil); a.ok() || a.status != 0 || a.err == nil {
		t.Errorf("%v", a)
	}
}
