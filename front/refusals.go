package front

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/http1"
)

// The refusals that are the worker's own; the rest come from http1, ws and auth.
var (
	errHeaderTooLarge = &http1.Error{Status: http.StatusRequestHeaderFieldsTooLarge, Code: "header_too_large", Detail: "The request's head is longer than this server reads."}
	errNotFound       = &http1.Error{Status: http.StatusNotFound, Code: "not_found", Detail: "There is nothing at this path; WebSocket clients connect to /ws, event streams are at /events, inboxes at /inbox, Socket.IO is at /socket.io/."}
	errOrigin         = &http1.Error{Status: http.StatusForbidden, Code: "origin_not_allowed", Detail: "Pages of this origin may not connect."}
	errSubprotocol    = &http1.Error{Status: http.StatusBadRequest, Code: "unsupported_subprotocol", Detail: "Of the subprotocols offered none is homing.v1."}
	errTimeout        = &http1.Error{Status: http.StatusRequestTimeout, Code: "handshake_timeout", Detail: "The handshake took too long."}
	errStopping       = &http1.Error{Status: http.StatusServiceUnavailable, Code: "not_ready", Detail: "This server stops."}
	errNotGood        = &http1.Error{Status: http.StatusServiceUnavailable, Code: "not_ready", Detail: "This server has lost touch with the hub."}
)

func retryAfter(seconds int) string { return fmt.Sprintf("Retry-After: %d", seconds) }

// uncheckedFor is the longest time in seconds after which a client comes back
// whose token could not be checked.
const uncheckedFor = 4

// unchecked refuses a client whose token cannot be checked now. The time to come
// back is drawn: the others are told the same, and would be a herd.
func unchecked(code, detail string) error {
	return &http1.Error{
		Status: http.StatusServiceUnavailable, Code: code, Detail: detail,
		Header: retryAfter(1 + rand.N(uncheckedFor)),
	}
}

func errAuthBusy() error {
	return unchecked("busy", "Too many connections are being checked; try again.")
}

func errAuthUnavailable() error {
	return unchecked("auth_unavailable", "The token cannot be checked now; try again.")
}

// refusalOf is the answer to a client whose token the error is about.
func refusalOf(err error) error {
	e, ok := errors.AsType[*auth.Error](err)
	if !ok {
		return errAuthUnavailable()
	}
	return &http1.Error{
		Status: http.StatusUnauthorized, Code: e.Code(), Detail: e.Error(),
		Header: `WWW-Authenticate: Bearer error="invalid_token"`,
	}
}

// refuseUser refuses a client because of its user. The time to come back is
// drawn, so that a herd does not stay one.
func refuseUser(code, detail string) error {
	return &http1.Error{
		Status: http.StatusTooManyRequests, Code: code, Detail: detail,
		Header: retryAfter(1 + rand.N(2)),
	}
}

func errTooManyConnections() error {
	return refuseUser("too_many_connections", "This user has as many connections as it may have.")
}

func errTooManyConnects() error {
	return refuseUser("too_many_connects", "This user connects too often.")
}

// errTooManyOfAddress refuses a client because of what others of its address do.
func errTooManyOfAddress() error {
	return &http1.Error{
		Status: http.StatusTooManyRequests, Code: "too_many_from_address",
		Detail: "Too many connections come from this address.",
		Header: retryAfter(5 + rand.N(10)),
	}
}

// errCrowded refuses a client that may come back after so many seconds.
func errCrowded(after int) error {
	return &http1.Error{
		Status: http.StatusServiceUnavailable, Code: "crowded",
		Detail: "More clients come than this server lets in at a time; come back after the time in Retry-After.",
		Header: retryAfter(after),
	}
}

// errUnreachable refuses a client that the hub could not reach here. The time to
// come back is drawn, so that not everybody comes in the same second.
func errUnreachable() error {
	return &http1.Error{
		Status: http.StatusServiceUnavailable, Code: "hub_unreachable",
		Detail: "This server has lost touch with the hub; try again.",
		Header: retryAfter(1 + rand.N(2)),
	}
}

// errDraining refuses a client because the node sends its players away. The time to
// come back is drawn, so that those who find no other node are no herd.
func errDraining() error {
	return &http1.Error{
		Status: http.StatusServiceUnavailable, Code: "draining",
		Detail: "This server sends its players to others; come back, where others are let in.",
		Header: retryAfter(1 + rand.N(4)),
	}
}
