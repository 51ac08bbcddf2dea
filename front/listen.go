package front

import (
	"fmt"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/loop"
)

// Listener is a listening socket that a worker serves.
type Listener = loop.Listener

// ListenOption is the option that names the address of plain or TLS
// connections.
func ListenOption(overTLS bool) string {
	if overTLS {
		return "front.tls-listen"
	}
	return "front.listen"
}

// Listen opens the listeners that cfg names, for a worker without a master. It
// fails where another process listens already.
func Listen(cfg *Config) ([]Listener, error) {
	var out []Listener
	for _, at := range []struct {
		addr string
		tls  bool
	}{{cfg.Listen, false}, {cfg.TLSListen, true}} {
		if at.addr == "" {
			continue
		}
		fd, err := epoll.Listen(at.addr, cfg.SocketOptions())
		if err != nil {
			for _, ln := range out {
				_ = epoll.Close(ln.FD)
			}
			return nil, fmt.Errorf("%s: %w", ListenOption(at.tls), err)
		}
		out = append(out, Listener{FD: fd, TLS: at.tls})
	}
	return out, nil
}

// SocketOptions are the options of the listeners that cfg names.
func (c *Config) SocketOptions() epoll.Options {
	return epoll.Options{
		Backlog:     c.Backlog,
		SendBuffer:  c.SendBuffer,
		KeepAlive:   4 * c.PingInterval,             // the pings come first; this is for what they miss
		UserTimeout: c.PingInterval + c.PongTimeout, // likewise
	}
}

// recordsPerMessage is how many TLS records a client may send for each message
// that it may send. It needs one or two for most, five for the longest: each
// costs us as much as a small message, and a key update, which comes in one, 20
// times that.
const recordsPerMessage = 5

// loopConfig is what the loop is told.
func (c *Config) loopConfig(needCertificate bool, limiter loop.Handshakes) loop.Config {
	return loop.Config{
		HandshakeTimeout: c.HandshakeTimeout, WriteTimeout: c.WriteTimeout, CloseTimeout: c.CloseTimeout,
		TLSHandshakeLimit: 2 * c.HandshakeLimit,
		MaxDescriptors:    c.MaxDescriptors,
		Backlog:           c.Backlog,
		QueueBytes:        c.OutboxBytes,
		QueueMessages:     c.OutboxMessages,
		Limiter:           limiter,
		Arrivals: loop.Arrivals{
			Pending:            c.Pending,
			AddressPrefix:      c.AddressPrefix,
			AddressRate:        c.AddressRate,
			AddressBurst:       c.AddressBurst,
			AddressPending:     c.AddressPending,
			AddressConnections: c.AddressConnections,
			TrustedProxies:     c.TrustedProxies,
			ProxyProtocol:      c.ProxyProtocol,
			TLSProxyProtocol:   c.TLSProxyProtocol,
		},
		TLS: loop.TLS{
			Cert: c.TLSCert, Key: c.TLSKey,
			Handshakes:      c.TLSHandshakes,
			RecordRate:      recordsPerMessage * c.MessageRate,
			RecordBurst:     recordsPerMessage * c.MessageBurst,
			NeedCertificate: needCertificate,
		},
	}
}
