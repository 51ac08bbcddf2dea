package ws

import "errors"

// ErrIncomplete says that the request's blank line has not arrived yet: read
// more and parse again.
var ErrIncomplete = errors.New("incomplete request")

// A RequestError is a request that is refused, with what to answer. Problem
// renders it.
type RequestError struct {
	Status int    // HTTP status
	Code   string // stable, lower case with underscores, for clients and metrics
	Detail string // for people; may quote the request
	Header string // a header line that the status calls for, such as "Allow: GET"; may be empty
}

// Error says what was wrong.
func (e *RequestError) Error() string { return e.Code + ": " + e.Detail }

// Request is the head of an HTTP/1.1 request. It holds a copy of the bytes it
// was parsed from.
type Request struct {
	Method    string
	Path      string   // decoded; begins with "/", or is "*"
	RawQuery  string   // as sent, without "?"
	Host      string   // as sent
	Origin    string   // as sent; empty when absent, as from anything but a browser
	Protocols []string // the subprotocols offered (RFC 6455 §11.3.4), in the client's order

	head    string // the whole head with its blank line
	headers []header
}

type header struct{ name, value string }

// ParseRequest reads the head of a request at the front of buf. n is its
// length; what follows belongs to the protocol that the request leads to. The
// error is ErrIncomplete or a *RequestError. The caller bounds len(buf): the
// work is linear in it.
func ParseRequest(buf []byte) (req *Request, n int, err error) {
	return nil, 0, ErrIncomplete
}

// Header returns the value of the first header of that name, in any case, and
// whether there is one.
func (r *Request) Header(name string) (value string, ok bool) { return "", false }

// Query returns the first value of a query parameter, decoded; empty when
// absent.
func (r *Request) Query(name string) string { return "" }

// CheckUpgrade reports why r is not a WebSocket opening handshake that we can
// accept (RFC 6455 §4.2.1), as a *RequestError, or nil.
func (r *Request) CheckUpgrade() error { return nil }

// Accept returns the bytes of the 101 response (RFC 6455 §4.2.2) that selects
// protocol, which is one of r.Protocols, or empty to select none. The error is
// a *RequestError.
func (r *Request) Accept(protocol string) ([]byte, error) { return nil, nil }
