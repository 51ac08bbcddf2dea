package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// ErrTarget marks a reconnect to what is no host, or to one that Options.Hosts does not
// list; the client goes back to its own address.
var ErrTarget = errors.New("reconnect to a host that is none or that Options.Hosts does not list")

// target returns where a server's reconnect leads a client whose own address is home:
// there, but for the host, and the port if one is named. Without hosts it may be any.
func target(home, to string, hosts []string) (string, error) {
	u, err := parseAddress(home)
	if err != nil {
		return "", err
	}
	named, err := url.Parse("//" + to)
	if err != nil || named.Host != to || named.Hostname() == "" || strings.ContainsAny(to, "/?#@\\") {
		return "", ErrTarget
	}
	if named.Port() == "" && u.Port() != "" {
		named.Host = net.JoinHostPort(named.Hostname(), u.Port())
	}
	u.Host = named.Host
	if len(hosts) > 0 && !listed(u, hosts) {
		return "", fmt.Errorf("%w: %s", ErrTarget, u.Host)
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
