package redisx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// target is one shard as its URL describes it. It does not change.
type target struct {
	name     string   // see Config; nameAll makes it unique
	url      string   // in its canonical form; it may hold passwords
	addrs    []string // the one server, or the Sentinels to begin with
	master   string   // what the Sentinels call the master; empty: a single address
	user     string
	password string
	db       int
	tls      *tls.Config // nil: plain TCP

	sentinelUser     string
	sentinelPassword string
	sentinelTLS      *tls.Config // nil: plain TCP
}

var errNoURL = errors.New("want redis://host:port, rediss://host:port or sentinel://host:port,…/MASTER")

// Query parameters by scheme.
var (
	tlsParams      = []string{"ca", "cert", "key", "server_name"}
	sentinelParams = append([]string{"db", "tls", "sentinel_tls", "sentinel_username", "sentinel_password"}, tlsParams...)
)

func parseURL(raw string) (*target, error) {
	scheme, hosts, u, err := splitURL(raw)
	if err != nil {
		return nil, err
	}
	t := &target{user: u.User.Username()}
	t.password, _ = u.User.Password()
	if t.user != "" && t.password == "" {
		return nil, errors.New("a user without a password")
	}
	if t.addrs, err = parseHosts(hosts); err != nil {
		return nil, err
	}
	query := u.Query()
	switch scheme {
	case "redis":
		err = t.parseSingle(u.Path, query, nil)
	case "rediss":
		if err = t.parseSingle(u.Path, query, tlsParams); err == nil {
			t.tls, err = loadTLS(query)
		}
	case "sentinel":
		err = t.parseSentinel(u.Path, query)
	default:
		err = errNoURL
	}
	if err != nil {
		return nil, err
	}
	if t.db != 0 {
		t.name += "/" + strconv.Itoa(t.db)
	}
	t.url = fmt.Sprintf("%s://%s@%s%s?%s", scheme, u.User, strings.Join(t.addrs, ","), u.Path, query.Encode())
	return t, nil
}

// leadsTo reports whether t and other are the same database of the same server,
// or of the same master of Sentinels of which they have one in common.
func (t *target) leadsTo(other *target) bool {
	return t.master == other.master && t.db == other.db &&
		slices.ContainsFunc(t.addrs, func(a string) bool { return slices.Contains(other.addrs, a) })
}

// splitURL takes the hosts out before it parses the rest: net/url knows only one.
func splitURL(raw string) (scheme, hosts string, rest *url.URL, err error) {
	scheme, tail, ok := strings.Cut(raw, "://")
	if !ok {
		return "", "", nil, errNoURL
	}
	end := strings.IndexAny(tail, "/?#")
	if end < 0 {
		end = len(tail)
	}
	start := strings.LastIndexByte(tail[:end], '@') + 1
	rest, err = url.Parse(scheme + "://" + tail[:start] + "host" + tail[end:])
	if err != nil {
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err // without the URL, which may hold a password
		}
		return "", "", nil, err
	}
	return scheme, tail[start:end], rest, nil
}

func parseHosts(hosts string) ([]string, error) {
	addrs := strings.Split(hosts, ",")
	for i, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", a, errNoURL)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
			return nil, fmt.Errorf("%q: want host:port", a)
		}
		addrs[i] = canonical(host, port)
		if slices.Contains(addrs[:i], addrs[i]) {
			return nil, fmt.Errorf("%q: twice", a)
		}
	}
	return addrs, nil
}

// canonical writes an address as everybody does who spells it in another way:
// upper and lower case, long forms of IPv6, zeros before the port.
func canonical(host, port string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(strings.ToLower(host), strings.TrimLeft(port, "0"))
}

func (t *target) parseSingle(path string, query url.Values, params []string) (err error) {
	if len(t.addrs) != 1 {
		return fmt.Errorf("%d addresses: want one, or sentinel://", len(t.addrs))
	}
	t.name = t.addrs[0]
	if path = strings.TrimPrefix(path, "/"); path != "" {
		if t.db, err = parseDB(path); err != nil {
			return err
		}
	}
	return checkParams(query, params)
}

func (t *target) parseSentinel(path string, query url.Values) (err error) {
	t.master = strings.TrimPrefix(path, "/")
	if t.master == "" || strings.ContainsAny(t.master, "/ ,") {
		return fmt.Errorf("master %q: want sentinel://host:port,…/MASTER", t.master)
	}
	t.name = t.master
	if err := checkParams(query, sentinelParams); err != nil {
		return err
	}
	t.sentinelUser, t.sentinelPassword = query.Get("sentinel_username"), query.Get("sentinel_password")
	if t.sentinelUser != "" && t.sentinelPassword == "" {
		return errors.New("sentinel_username without sentinel_password")
	}
	if db := query.Get("db"); db != "" {
		if t.db, err = parseDB(db); err != nil {
			return err
		}
	}
	if t.tls, err = optionalTLS(query, "tls"); err != nil {
		return err
	}
	t.sentinelTLS, err = optionalTLS(query, "sentinel_tls")
	return err
}

func parseDB(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("db %q: want a number", s)
	}
	return int(n), nil
}

func checkParams(query url.Values, known []string) error {
	for k, v := range query {
		if !slices.Contains(known, k) {
			return fmt.Errorf("parameter %q: unknown here", k)
		}
		if len(v) != 1 {
			return fmt.Errorf("parameter %q: %d times", k, len(v))
		}
	}
	return nil
}

// optionalTLS loads the TLS parameters when the switch named param is true.
func optionalTLS(query url.Values, param string) (*tls.Config, error) {
	switch v := query.Get(param); v {
	case "", "false":
		return nil, nil //nolint:nilnil // no configuration is an answer: plain TCP
	case "true":
		return loadTLS(query)
	default:
		return nil, fmt.Errorf("%s %q: want true or false", param, v)
	}
}

// loadTLS reads the PEM files that the query names. Without ca the system's
// authorities are trusted.
func loadTLS(query url.Values) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: query.Get("server_name")}
	if ca := query.Get("ca"); ca != "" {
		pem, err := os.ReadFile(ca) //nolint:gosec // whoever configures us names the file
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s: no certificate in it", ca)
		}
	}
	cert, key := query.Get("cert"), query.Get("key")
	if cert == "" && key == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert and key: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// redact returns a URL without what may be secret: the user and the query.
func redact(raw string) string {
	scheme, tail, ok := strings.Cut(raw, "://")
	if !ok {
		return "(no URL)" // it may be a bare password
	}
	tail, _, _ = strings.Cut(tail, "?")
	return scheme + "://" + tail[strings.LastIndexByte(tail, '@')+1:]
}
