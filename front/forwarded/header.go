package forwarded

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// The parts of a PROXY protocol header of version 2: a fixed one that ends with
// the length of the rest, and the rest, of which we read at most so much.
const (
	fixedPart = 16
	maxRest   = 4096
)

// MaxHeader is the length of the longest header that is read, in bytes.
const MaxHeader = fixedPart + maxRest

var errNoHeader = errors.New("the connection does not begin with a PROXY protocol header of version 2")

// Missing returns how many bytes to read next so that b, the beginning of a
// connection, becomes a whole header of PROXY protocol version 2, and nothing
// beyond it is read; 0 when it is whole. It returns an error as soon as b is
// the beginning of something else.
func Missing(b []byte) (int, error) {
	signature := proxyproto.SIGV2[:min(len(b), len(proxyproto.SIGV2))]
	if !bytes.HasPrefix(b, signature) {
		return 0, errNoHeader
	}
	if len(b) < fixedPart {
		return fixedPart - len(b), nil
	}
	rest := int(binary.BigEndian.Uint16(b[fixedPart-2:]))
	if rest > maxRest {
		return 0, fmt.Errorf("a PROXY protocol header of %d bytes, want at most %d", fixedPart+rest, MaxHeader)
	}
	return max(0, fixedPart+rest-len(b)), nil
}

// Source returns whose connection it is that a whole header begins; the zero
// Addr when the proxy speaks for itself, as in its health checks, or does not
// come from an IP address.
func Source(header []byte) (netip.Addr, error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("PROXY protocol header: %w", err)
	}
	tcp, ok := h.SourceAddr.(*net.TCPAddr)
	if h.Command.IsLocal() || !ok {
		return netip.Addr{}, nil
	}
	return tcp.AddrPort().Addr().Unmap(), nil
}
