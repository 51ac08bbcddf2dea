package roster

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/homing/homing/hub"
)

var (
	name     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
	nodeName = regexp.MustCompile(`^[A-Za-z0-9\[][A-Za-z0-9._:\[\]+-]{0,254}$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?$`)
)

func checkName(field, s string) error {
	if !name.MatchString(s) {
		return hub.Invalid(field, "%q: want %s", s, name)
	}
	return nil
}

func checkOptional(field, s string) error {
	if s == "" {
		return nil
	}
	return checkName(field, s)
}

// CheckNode reports why id cannot be that of a node, as a *hub.FieldError, or nil.
func CheckNode(id string) error {
	if !nodeName.MatchString(id) {
		return hub.Invalid("node", "%q: want %s", id, nodeName)
	}
	return nil
}

// Endpoint completes where players reach a node: a host name, an IPv4 address or an IPv6
// address in brackets, with port where s has none.
func Endpoint(s, port string) (string, error) {
	host, given, err := net.SplitHostPort(s)
	if err != nil {
		host, given = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), port
		if strings.Contains(host, ":") && !strings.HasPrefix(s, "[") {
			return "", fmt.Errorf("%q: want an IPv6 address in brackets", s)
		}
	}
	if n, err := strconv.Atoi(given); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("%q: want a port from 1 to 65535", s)
	}
	if _, err := netip.ParseAddr(host); err != nil && (len(host) > 253 || !hostName.MatchString(host)) {
		return "", fmt.Errorf("%q: want a host name, an IPv4 address or an IPv6 address in brackets", s)
	}
	return net.JoinHostPort(host, given), nil
}
