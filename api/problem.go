package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/api/admit"
	"github.com/homing/homing/hub"
)

// Code names one kind of refusal. Codes are stable: callers may branch on
// them. Every one stands in Problems.
type Code string

// The codes, in the order of a request's life.
const (
	CodeNotFound             Code = "not_found"
	CodeMethodNotAllowed     Code = "method_not_allowed"
	CodeOverloaded           Code = "overloaded"
	CodeKeyMissing           Code = "key_missing"
	CodeKeyUnknown           Code = "key_unknown"
	CodeScopeMissing         Code = "scope_missing"
	CodeFromNotAllowed       Code = "from_not_allowed"
	CodeLoopbackOnly         Code = "loopback_only"
	CodeRateLimited          Code = "rate_limited"
	CodeTooManyOpen          Code = "too_many_open"
	CodeTooManyInFlight      Code = "too_many_in_flight"
	CodeUnsupportedMediaType Code = "unsupported_media_type"
	CodeBodyTooLarge         Code = "body_too_large"
	CodeBodyTimeout          Code = "body_timeout"
	CodeBodyUnreadable       Code = "body_unreadable"
	CodeTooManyLines         Code = "too_many_lines"
	CodeBatchIdle            Code = "batch_idle"
	CodeInvalidUTF8          Code = "invalid_utf8"
	CodeMalformedJSON        Code = "malformed_json"
	CodeDuplicateField       Code = "duplicate_field"
	CodeUnknownField         Code = "unknown_field"
	CodeWrongType            Code = "wrong_type"
	CodeInvalidField         Code = "invalid_field"
	CodeIdempotencyInFlight  Code = "idempotency_in_flight"
	CodeIdempotencyMismatch  Code = "idempotency_mismatch"
	CodeIdempotencyQuota     Code = "idempotency_quota"
	CodeIdempotencyFull      Code = "idempotency_full"
	CodeStoreQuota           Code = "store_quota"
	CodeInboxFull            Code = "inbox_full"
	CodeFriendsFull          Code = "friends_full"
	CodeRoomNotFound         Code = "room_not_found"
	CodeRoomEnded            Code = "room_ended"
	CodeRoomExists           Code = "room_exists"
	CodeRoomFull             Code = "room_full"
	CodeRoomRefused          Code = "room_refused"
	CodeRoomNotMoved         Code = "room_not_moved"
	CodeRoomsFull            Code = "rooms_full"
	CodeQueueFull            Code = "queue_full"
	CodeNoRooms              Code = "no_rooms"
	CodeTicketEnded          Code = "ticket_ended"
	CodeTicketClaimed        Code = "ticket_claimed"
	CodeNotAsked             Code = "not_asked"
	CodeNodeNotFound         Code = "node_not_found"
	CodeNoCapacity           Code = "no_capacity"
	CodeUnavailable          Code = "unavailable"
	CodeTimeout              Code = "timeout"
	CodeNotReady             Code = "not_ready"
	CodeInternal             Code = "internal"
)

// ProblemKind is what all problems of one code have in common.
type ProblemKind struct {
	Code   Code   `json:"code"`
	Status int    `json:"status"`
	Title  string `json:"title"`
	Help   string `json:"help"` // what the caller can do about it
}

// Problems lists every code the server answers with.
var Problems = []ProblemKind{
	{CodeNotFound, 404, "No such resource", "Check the path."},
	{CodeMethodNotAllowed, 405, "Method not allowed", "The Allow header lists the methods of this path."},
	{CodeOverloaded, 503, "Too many requests at once", "Try again after Retry-After seconds."},
	{CodeKeyMissing, 401, "API key missing", "Send the header Authorization: Bearer hk_..."},
	{CodeKeyUnknown, 401, "API key unknown", "The key is mistyped or was removed."},
	{CodeScopeMissing, 403, "API key lacks a scope", "The operator gives a key its scopes in the file of keys."},
	{CodeFromNotAllowed, 403, "API key may not speak for this service", "Set from to one of the services that the key may speak for."},
	{CodeLoopbackOnly, 403, "Only from this machine", "Development routes answer callers on the same machine."},
	{CodeRateLimited, 429, "API key over its rate", "Try again after Retry-After seconds. Large requests cost more than small ones."},
	{CodeTooManyOpen, 429, "Too many requests of this API key under way", "End batches that have nothing to send, wait for replies, and try again after Retry-After seconds."},
	{CodeTooManyInFlight, 429, "Too many requests of this API key at once", "Send fewer at a time, or several in one batch; try again after Retry-After seconds."},
	{CodeUnsupportedMediaType, 415, "Unsupported media type", "Send application/json, or application/x-ndjson for a batch, in UTF-8 and not compressed."},
	{CodeBodyTooLarge, 413, "Body too large", "Send fewer users or less data, or use a batch."},
	{CodeBodyTimeout, 408, "Body too slow", "Send the body without pauses."},
	{CodeBodyUnreadable, 400, "Body unreadable", "The body ended early or was not framed as HTTP asks."},
	{CodeTooManyLines, 413, "Too many lines", "Send the rest in another batch."},
	{CodeBatchIdle, 408, "Batch idle", "End a batch when there is nothing to send, and begin another; empty lines do not keep one open."},
	{CodeInvalidUTF8, 400, "Not UTF-8", "JSON is exchanged in UTF-8."},
	{CodeMalformedJSON, 400, "Malformed JSON", "The body must be one JSON object and nothing after it."},
	{CodeDuplicateField, 400, "Field given twice", "Give each field once, also within data."},
	{CodeUnknownField, 400, "Unknown field", "Remove the field; names are case sensitive."},
	{CodeWrongType, 400, "Wrong type", "Give the field the type that the detail names."},
	{CodeInvalidField, 400, "Invalid value", "Give the field a value within the limits that the detail names."},
	{CodeIdempotencyInFlight, 409, "Request with this id in flight", "Try again after Retry-After seconds to get its reply."},
	{CodeIdempotencyMismatch, 422, "Id used for another request", "Use a fresh id for every notification; repeat one byte for byte."},
	{CodeIdempotencyQuota, 429, "Too many requests of this API key remembered", "Try again after Retry-After seconds, or send without an id what need not be recognised when it is repeated."},
	{CodeIdempotencyFull, 503, "No room to remember requests", "Try again after Retry-After seconds. Requests without an id are not concerned."},
	{CodeStoreQuota, 429, "API key has stored all it may", "Store less, for less time or for fewer users; try again after Retry-After seconds. Requests without store are not concerned."},
	{CodeInboxFull, 503, "No room to store notifications", "Try again after Retry-After seconds. Requests without store are not concerned."},
	{CodeFriendsFull, 503, "No room for lists of friends", "Try again after Retry-After seconds, or name friends in the players' tokens."},
	{CodeRoomNotFound, 404, "No such room", "Check the id. A room that has ended can be asked for during ten minutes."},
	{CodeRoomEnded, 409, "The room has ended", "GET /rooms/{id} says why, and with what result."},
	{CodeRoomExists, 409, "There is a room of that id", "It is of another class: use a fresh id."},
	{CodeRoomFull, 409, "Not enough seats", "Seats that are reserved and not joined are free again after the class's time for that."},
	{CodeRoomRefused, 422, "Refused by the room's logic", "The detail is what the logic says."},
	{CodeRoomNotMoved, 409, "The room was not moved", "It goes on where it is. The detail says why."},
	{CodeRoomsFull, 503, "No front takes more rooms", "Try again after Retry-After seconds, or start more fronts."},
	{CodeQueueFull, 503, "Too many wait for a match", "Try again after Retry-After seconds."},
	{CodeNoRooms, 503, "No rooms for matches", "The operator has not given this deployment workers that run rooms."},
	{CodeTicketEnded, 409, "Ticket has ended before", "The detail says how; GET the ticket for the match."},
	{CodeTicketClaimed, 409, "A match is being made with the ticket", "Try again after Retry-After seconds to hear which came first. The ticket does not wait again."},
	{CodeNotAsked, 409, "Nothing to accept", "The match was given up, or the ticket has not been offered one."},
	{CodeNodeNotFound, 404, "No such node", "GET /nodes lists them. A node that does not report for a minute is forgotten."},
	{CodeNoCapacity, 503, "No node has room", "Try again after Retry-After seconds, with the same id; or ask with wait_ms, or start more nodes."},
	{CodeUnavailable, 503, "Hub unavailable", "Redis cannot be reached: try again after Retry-After seconds, with the same id."},
	{CodeTimeout, 504, "Timed out", "Some users may have been reached: repeat with the same id."},
	{CodeNotReady, 503, "Not ready", "The detail says what is missing."},
	{CodeInternal, 500, "Internal error", "The server's log has the cause."},
}

var problemKinds = func() map[Code]ProblemKind {
	m := make(map[Code]ProblemKind, len(Problems))
	for _, k := range Problems {
		m[k.Code] = k
	}
	return m
}()

// Error is a refusal on its way to the caller.
type Error struct {
	Code       Code
	Field      string // path of the field at fault, such as users[3]; may be empty
	Detail     string // for people; may be empty
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Field != "" {
		s += ": " + e.Field
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// problem is an RFC 9457 document, or a line of a batch's reply.
type problem struct {
	Line   int    `json:"line,omitzero"`
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   Code   `json:"code"`
	Detail string `json:"detail,omitzero"`
	Field  string `json:"field,omitzero"`
}

func (e *Error) problem() problem {
	k := problemKinds[e.Code]
	return problem{
		Type:   "/problems/" + string(e.Code),
		Title:  k.Title,
		Status: k.Status,
		Code:   e.Code,
		Detail: e.Detail,
		Field:  e.Field,
	}
}

// write answers the request with e.
func (e *Error) write(w http.ResponseWriter) {
	p := e.problem()
	h := w.Header()
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="homing"`)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(retrySeconds(e.RetryAfter)))
	}
	writeBody(w, p.Status, "application/problem+json", mustJSON(p))
}

// retrySeconds rounds up: a caller who comes back too early is refused again.
func retrySeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// fromHub turns an error of the vocabulary's checks into a refusal.
func fromHub(err error) *Error {
	if f, ok := errors.AsType[*hub.FieldError](err); ok {
		return &Error{Code: CodeInvalidField, Field: f.Field, Detail: f.Detail}
	}
	return &Error{Code: CodeInvalidField, Detail: err.Error()}
}

// fromLimit turns the refusal of a limit into that of a request.
func fromLimit(r *admit.LimitError) *Error {
	e := &Error{Code: CodeOverloaded, Detail: r.Error(), RetryAfter: time.Second}
	switch {
	case r.Own && r.Limit == admit.LimitOpen:
		e.Code = CodeTooManyOpen
	case r.Own:
		e.Code = CodeTooManyInFlight
	}
	return e
}

// fromRoom turns the refusal of what would have to be kept into that of a request.
func fromRoom(r *hub.RoomError) *Error {
	codes := map[hub.Pot][2]Code{
		hub.PotInbox: {CodeInboxFull, CodeStoreQuota},
		hub.PotOnce:  {CodeIdempotencyFull, CodeIdempotencyQuota},
		hub.PotMatch: {CodeQueueFull, CodeQueueFull},

		hub.PotFriends: {CodeFriendsFull, CodeFriendsFull},
	}[r.Pot]
	e := &Error{Code: codes[0], RetryAfter: r.After}
	if r.Account != "" {
		e.Code, e.Detail = codes[1], "key "+r.Account+": "+r.Detail
	}
	return e
}

// asError maps any error to the refusal that the caller sees. Causes inside
// the hub are for the log, not for the caller.
func asError(err error) *Error {
	var e *Error
	var full *admit.LimitError
	var room *hub.RoomError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &full):
		return fromLimit(full)
	case errors.As(err, &room):
		return fromRoom(room)
	case errors.Is(err, hub.ErrInvalid):
		return fromHub(err)
	case errors.Is(err, hub.ErrUnavailable):
		return &Error{Code: CodeUnavailable, Detail: "Redis, or the server that has to do it, cannot be reached now or has too much to do", RetryAfter: time.Second}
	case isTimeout(err):
		return &Error{Code: CodeTimeout, Detail: "the hub did not finish in time"}
	}
	return &Error{Code: CodeInternal}
}

// mustJSON marshals values of this package's own types, which always do.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err))
	}
	return b
}

func writeJSON(w http.ResponseWriter, v any) {
	writeBody(w, http.StatusOK, "application/json", mustJSON(v))
}

// writeBody sends a whole reply. A caller who has gone is no error of ours.
func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON, YAML or a token, and never typed as HTML
}
