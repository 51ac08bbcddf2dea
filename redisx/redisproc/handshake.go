package redisproc

import (
	"bytes"
	"strconv"
	"strings"
)

// handshake reads the first commands of a connection to learn whether it is a
// replica's, which says PING, AUTH and REPLCONF and then PSYNC.
type handshake struct {
	sync  bool // it asked for the replication stream
	port  int  // that it announced
	plain bool // it is somebody else's
	rest  []byte
}

const maxHandshake = 4 << 10

// take reads on. It looks at nothing any more once it knows.
func (h *handshake) take(b []byte) {
	if h.sync || h.plain {
		return
	}
	h.rest = append(h.rest, b...)
	for !h.sync && !h.plain {
		args, n := command(h.rest)
		if n == 0 {
			break
		}
		h.rest = h.rest[n:]
		h.hear(args)
	}
	h.plain = h.plain || !h.sync && len(h.rest) > maxHandshake
	if h.sync || h.plain {
		h.rest = nil
	}
}

func (h *handshake) hear(args []string) {
	switch strings.ToUpper(args[0]) {
	case "PSYNC", "SYNC":
		h.sync = true
	case "REPLCONF":
		if len(args) > 2 && strings.EqualFold(args[1], "listening-port") {
			h.port, _ = strconv.Atoi(args[2]) // a replica writes a number
		}
	case "PING", "AUTH":
	default:
		h.plain = true
	}
}

// command parses the command that b begins with and says how long it is; 0
// when it is not complete. What is no array of strings is a command of one
// odd word.
func command(b []byte) (args []string, length int) {
	count, at, ok := header(b, '*')
	if !ok {
		return oddCommand(b)
	}
	for range count {
		size, n, ok := header(b[at:], '$')
		if !ok || len(b) < at+n+size+2 {
			return oddCommand(b[at:])
		}
		at += n
		args = append(args, string(b[at:at+size]))
		at += size + 2
	}
	return args, at
}

// oddCommand tells what is not complete yet from what is no command.
func oddCommand(b []byte) ([]string, int) {
	if len(b) == 0 || b[0] == '*' || b[0] == '$' {
		return nil, 0
	}
	return []string{"?"}, len(b)
}

// header parses a line of the given kind with a number above 0 in it.
func header(b []byte, kind byte) (number, length int, ok bool) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 2 || b[0] != kind {
		return 0, 0, false
	}
	number, err := strconv.Atoi(string(b[1:end]))
	return number, end + 2, err == nil && number > 0 && number <= maxHandshake
}
