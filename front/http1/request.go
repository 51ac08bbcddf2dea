package http1

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
)

// ErrIncomplete says that the request's blank line has not arrived yet: read
// more and parse again.
var ErrIncomplete = errors.New("incomplete request")

// Error is why a request is refused, with what to answer. Problem renders it.
type Error struct {
	Status int    // HTTP status
	Code   string // stable, lower case with underscores, for clients and metrics
	Detail string // for people; may quote the request
	Header string // a header line that the status calls for, such as "Allow: GET"; several are joined by CRLF
}

// Error says what was wrong.
func (e *Error) Error() string { return e.Code + ": " + e.Detail }

// BadRequest is an Error with the status 400.
func BadRequest(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "bad_request", Detail: fmt.Sprintf(format, args...)}
}

// Request is the head of an HTTP/1.1 request, or of one of HTTP/1.0, as some
// health checks still send. It holds a copy of the bytes it
// was parsed from.
type Request struct {
	Method   string
	Path     string // decoded; begins with "/", or is "*"
	RawQuery string // as sent, without "?"
	Host     string // as sent
	Origin   string // as sent; empty when absent, as from anything but a browser
	HTTP10   bool   // the client speaks HTTP/1.0

	headers []header
}

type header struct{ name, value string }

// ParseRequest reads the head of a request at the front of buf (RFC 9112 §2).
// n is its length; what follows belongs to the protocol that the request leads
// to. The error is ErrIncomplete or a *Error. The caller bounds
// len(buf): the work is linear in it.
//
// It takes no liberties that another parser on the way might take differently:
// a bare line feed, a folded line, space before a colon, a second Host are
// refused.
func ParseRequest(buf []byte) (req *Request, n int, err error) {
	end := bytes.Index(buf, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, 0, checkStart(buf)
	}
	n = end + len("\r\n\r\n")
	r := &Request{}
	line, fields, _ := strings.Cut(string(buf[:end+len("\r\n")]), "\r\n")
	if err := r.parseLine(line); err != nil {
		return nil, 0, err
	}
	if err := r.parseFields(fields); err != nil {
		return nil, 0, err
	}
	if err := r.pick(); err != nil {
		return nil, 0, err
	}
	return r, n, nil
}

// checkStart refuses what cannot become a request, such as a TLS handshake, so
// that it need not wait for a blank line that will not come.
func checkStart(buf []byte) error {
	if len(buf) > 0 && !isTokenByte(buf[0]) {
		return BadRequest("byte %#02x where an HTTP method should begin", buf[0])
	}
	if i := bytes.IndexByte(buf, '\n'); i == 0 || i > 0 && buf[i-1] != '\r' {
		return BadRequest("line feed without carriage return")
	}
	return ErrIncomplete
}

func (r *Request) parseLine(line string) error {
	method, rest, _ := strings.Cut(line, " ")
	target, version, ok := strings.Cut(rest, " ")
	if !ok || !IsToken(method) || !strings.HasPrefix(version, "HTTP/") {
		return BadRequest("%.80q is not a request line", line)
	}
	if r.HTTP10 = version == "HTTP/1.0"; !r.HTTP10 && version != "HTTP/1.1" {
		return &Error{
			Status: http.StatusHTTPVersionNotSupported, Code: "http_version_not_supported",
			Detail: fmt.Sprintf("%.80q, want HTTP/1.1", version),
		}
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return BadRequest("request target: %v", err)
	}
	switch u.Scheme {
	case "":
	case "http", "https", "ws", "wss": // the absolute form, RFC 9112 §3.2.2
		r.Host = u.Host
	default:
		return BadRequest("request target: scheme %q", u.Scheme)
	}
	r.Method, r.Path, r.RawQuery = method, u.Path, u.RawQuery
	if r.Path == "" {
		r.Path = "/"
	}
	return nil
}

// parseFields reads the header lines, each ending in CRLF.
func (r *Request) parseFields(fields string) error {
	r.headers = make([]header, 0, strings.Count(fields, "\n"))
	for fields != "" {
		line, rest, _ := strings.Cut(fields, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !IsToken(name) {
			return BadRequest("%.80q is not a header line", line)
		}
		value = strings.Trim(value, " \t")
		if strings.ContainsFunc(value, isControl) {
			return BadRequest("control character in header %s", name)
		}
		r.headers = append(r.headers, header{name, value})
		fields = rest
	}
	return nil
}

// pick fills the named fields from the headers, and refuses those that may
// stand only once.
func (r *Request) pick() error {
	seen := make(map[string]bool, 4)
	for _, h := range r.headers {
		switch name := http.CanonicalHeaderKey(h.name); name {
		case "Host", "Origin", "Content-Length", "Sec-Websocket-Key", "Sec-Websocket-Version":
			if seen[name] {
				return BadRequest("more than one %s header", name)
			}
			seen[name] = true
			if name == "Host" && r.Host == "" {
				r.Host = h.value
			}
			if name == "Origin" {
				r.Origin = h.value
			}
		}
	}
	if !seen["Host"] && !r.HTTP10 {
		return BadRequest("no Host header")
	}
	return nil
}

// Header returns the value of the first header of that name, in any case, and
// whether there is one.
func (r *Request) Header(name string) (value string, ok bool) {
	for _, h := range r.headers {
		if strings.EqualFold(h.name, name) {
			return h.value, true
		}
	}
	return "", false
}

// Values returns the values of all headers of that name, in any case, in the
// order of the request.
func (r *Request) Values(name string) (values []string) {
	for _, h := range r.headers {
		if strings.EqualFold(h.name, name) {
			values = append(values, h.value)
		}
	}
	return values
}

// Lists reports whether want is, in any case, an element of the list that the
// headers of that name are together (RFC 9110 §5.6.1), and all of its elements
// are tokens.
func (r *Request) Lists(name, want string) bool {
	found := false
	for _, h := range r.headers {
		if !strings.EqualFold(h.name, name) {
			continue
		}
		for e := range Elements(h.value) {
			if !IsToken(e) {
				return false
			}
			found = found || strings.EqualFold(e, want)
		}
	}
	return found
}

// Elements yields the elements of a list. Empty ones do not count (RFC 9110
// §5.6.1.2).
func Elements(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e := range strings.SplitSeq(list, ",") {
			if e = strings.Trim(e, " \t"); e != "" && !yield(e) {
				return
			}
		}
	}
}

// Query returns the first value of a query parameter, decoded; empty when
// absent. Parameters that do not parse are passed over.
func (r *Request) Query(name string) string {
	value, _ := r.QueryValue(name)
	return value
}

// QueryValue is Query that tells a parameter that is empty from one that is
// absent.
func (r *Request) QueryValue(name string) (value string, ok bool) {
	if all := r.QueryValues(name); len(all) > 0 {
		return all[0], true
	}
	return "", false
}

// QueryValues returns every value of a parameter, decoded, in their order.
func (r *Request) QueryValues(name string) []string {
	values, _ := url.ParseQuery(r.RawQuery) // what parsed is there, whatever the error
	return values[name]
}

// IsToken reports whether s is a token (RFC 9110 §5.6.2).
func IsToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// isTokenByte reports whether c is a tchar of RFC 9110 §5.6.2.
func isTokenByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return c != 0 && strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }
