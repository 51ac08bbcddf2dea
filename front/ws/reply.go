package ws

// Reply returns an HTTP response that ends the connection. Each of headers is
// a line such as "Allow: GET"; empty ones are left out.
func Reply(status int, contentType string, body []byte, headers ...string) []byte { return nil }

// Problem returns the reply to a refused request: an RFC 9457 problem document
// with the status, code and detail of err when it is a *RequestError, else a
// bare 500.
func Problem(err error) []byte { return nil }
