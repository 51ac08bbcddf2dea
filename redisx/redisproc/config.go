package redisproc

import "fmt"

const (
	serverProgram   = "redis-server"
	sentinelProgram = "redis-sentinel"
)

// serverConfig is the configuration of a Redis that keeps nothing on disk.
// The replication and client limits are those that deploy/ uses.
func serverConfig(o ServerOptions) []string {
	lines := append(listenConfig(o),
		`save ""`,
		"appendonly no",
		"daemonize no",
		"repl-diskless-sync yes",
		"repl-diskless-sync-delay 0",
		"repl-diskless-load swapdb",
		"repl-backlog-size 64mb",
		"client-output-buffer-limit pubsub 64mb 16mb 10",
	)
	if o.ReplicaOf != "" {
		lines = append(lines, "replicaof "+hostPort(o.ReplicaOf))
	}
	if o.announce != 0 {
		lines = append(lines, "replica-announce-ip "+o.Host, fmt.Sprintf("replica-announce-port %d", o.announce))
	}
	return append(lines, serverAuth(o)...)
}

// listenConfig is what servers and Sentinels have in common.
func listenConfig(o ServerOptions) []string {
	lines := []string{"dir " + quote(o.Dir), "bind " + o.Host, "protected-mode no"}
	if o.TLS == nil {
		return append(lines, fmt.Sprintf("port %d", o.Port))
	}
	return append(lines,
		"port 0",
		fmt.Sprintf("tls-port %d", o.Port),
		"tls-replication yes",
		"tls-auth-clients optional",
		"tls-ca-cert-file "+quote(o.TLS.CA),
		"tls-cert-file "+quote(o.TLS.Cert),
		"tls-key-file "+quote(o.TLS.Key),
	)
}

func serverAuth(o ServerOptions) []string {
	switch {
	case o.Password == "":
		return nil
	case o.User == "":
		return []string{"requirepass " + quote(o.Password), "masterauth " + quote(o.Password)}
	default:
		return []string{
			"user default off",
			"user " + o.User + " on " + quote(">"+o.Password) + " ~* &* +@all",
			"masteruser " + o.User,
			"masterauth " + quote(o.Password),
		}
	}
}

// quote makes s one argument of a configuration line.
func quote(s string) string { return fmt.Sprintf("%q", s) }
