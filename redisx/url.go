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

// Errors of URLs. They quote nothing that may be a part of a password.
var (
	errNoURL  = errors.New("want redis://host:port, rediss://host:port or sentinel://host:port,…/MASTER")
	errEncode = errors.New("percent-encode the password: each / ? # @ % & ; + and space in it (/ is %2F, ? is %3F, # is %23, @ is %40, % is %25, & is %26)")
	errHost   = fmt.Errorf("%w; or %w", errNoURL, errEncode)
)

// Query parameters by scheme.
var (
	tlsParams      = []string{"ca", "cert", "key", "server_name"}
	sentinelParams = append([]string{"db", "tls", "sentinel_tls", "sentinel_username", "sentinel_password"}, tlsParams...)
)

// parseURL reads one URL. Its errors hold no part of a password: one with
// characters that mean something to a URL may end up anywhere in it.
func parseURL(raw string) (*target, error) {
	t, err := parseTarget(raw)
	if err != nil && unencoded(raw) {
		return nil, errEncode
	}
	return t, err
}

func parseTarget(raw string) (*target, error) {
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
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" {
		return nil, errEncode
	}
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
// or of the same master, by name, when they have a Sentinel in common.
func (t *target) leadsTo(other *target) bool {
	return t.master == other.master && t.db == other.db &&
		slices.ContainsFunc(t.addrs, func(a string) bool { return slices.Contains(other.addrs, a) })
}

// cutAuthority divides what follows a URL's scheme where its path, query or
// fragment begins.
func cutAuthority(tail string) (authority, rest string) {
	if end := strings.IndexAny(tail, "/?#"); end >= 0 {
		return tail[:end], tail[end:]
	}
	return tail, ""
}

// unencoded reports whether raw looks as if a password had been pasted into it
// as it is: what ends the user's part comes after what begins the path.
func unencoded(raw string) bool {
	_, tail, _ := strings.Cut(raw, "://")
	_, rest := cutAuthority(tail)
	return strings.ContainsAny(rest, "@#")
}

// splitURL takes the hosts out before it parses the rest: net/url knows only one.
func splitURL(raw string) (scheme, hosts string, rest *url.URL, err error) {
	scheme, tail, ok := strings.Cut(raw, "://")
	if !ok {
		return "", "", nil, errNoURL
	}
	authority, path := cutAuthority(tail)
	start := strings.LastIndexByte(authority, '@') + 1
	rest, err = url.Parse(scheme + "://" + authority[:start] + "host" + path)
	if err != nil {
		return "", "", nil, errHost // net/url's error quotes what it stumbled over
	}
	return scheme, authority[start:], rest, nil
}

func parseHosts(hosts string) ([]string, error) {
	addrs := strings.Split(hosts, ",")
	for i, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			return nil, errHost
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
			return nil, errHost
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
		return errors.New("want a name of the master: sentinel://host:port,…/MASTER")
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
		return 0, errors.New("db: want a number")
	}
	return int(n), nil
}

func checkParams(query url.Values, known []string) error {
	for k, v := range query {
		if !slices.Contains(known, k) {
			return unknownParam(k, query)
		}
		if len(v) != 1 {
			return fmt.Errorf("parameter %q: %d times", k, len(v))
		}
	}
	return nil
}

// unknownParam names the parameter, unless it may be what follows an & in the
// password.
func unknownParam(name string, query url.Values) error {
	if query.Has("sentinel_password") {
		return fmt.Errorf("a parameter that is unknown here; or %w", errEncode)
	}
	return fmt.Errorf("parameter %q: unknown here", name)
}

// optionalTLS loads the TLS parameters when the switch named param is true.
func optionalTLS(query url.Values, param string) (*tls.Config, error) {
	switch query.Get(param) {
	case "", "false":
		return nil, nil //nolint:nilnil // no configuration is an answer: plain TCP
	case "true":
		return loadTLS(query)
	default:
		return nil, fmt.Errorf("%s: want true or false", param)
	}
}

// loadTLS reads the PEM files that the query names, and cert and key again for
// each connection. Without ca the system's authorities are trusted.
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
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	c.GetClientCertificate = load // for each new connection, because certificates are renewed
	return c, nil
}

// redact returns a URL without what may be secret: the user, the query, and
// everything that does not look as it should.
func redact(raw string) string {
	scheme, tail, ok := strings.Cut(raw, "://")
	if !ok || !slices.Contains([]string{"redis", "rediss", "sentinel"}, scheme) {
		return "(no URL)" // it may be a bare password
	}
	authority, rest := cutAuthority(tail)
	hosts := authority[strings.LastIndexByte(authority, '@')+1:]
	if _, err := parseHosts(hosts); errors.Is(err, errHost) || unencoded(raw) {
		return scheme + "://…"
	}
	path, _, _ := strings.Cut(rest, "?")
	return scheme + "://" + hosts + path // no password goes there
}
