package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// ErrTarget marks a reconnect to an address that the client may not send its
// token to; it goes back to its own.
var ErrTarget = errors.New("reconnect to an address that Options.Hosts does not allow")

// target returns where a server's reconnect leads a client whose own address
// is home: to the same host and port or to one of hosts, and never from wss to
// ws, since the token goes with it.
func target(home, to string, hosts []string) (string, error) {
	from, err := parseAddress(home)
	if err != nil {
		return "", err
	}
	u, err := parseAddress(to)
	if err != nil {
		return "", ErrTarget
	}
	downgrade := from.Scheme == "wss" && u.Scheme != "wss"
	if downgrade || u.User != nil || (hostPort(u) != hostPort(from) && !listed(u, hosts)) {
		return "", fmt.Errorf("%w: %s://%s", ErrTarget, u.Scheme, u.Host)
	}
	return u.String(), nil
}

// listed reports whether hosts has u's host, alone or with u's port.
func listed(u *url.URL, hosts []string) bool {
	for _, h := range hosts {
		h = strings.ToLower(h)
		if h == strings.ToLower(u.Hostname()) || h == hostPort(u) {
			return true
		}
	}
	return false
}

// hostPort is u's host in lower case, with the port that is meant when none
// is named.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "wss":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
