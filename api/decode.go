package api

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/topic"
)

// message is the part of a request that notifications and broadcasts share.
// A field that is null counts as left out, except data, whose null is data.
type message struct {
	ID       string         `json:"id"`
	Type     string         `json:"type"`
	From     hub.Service    `json:"from"`
	Services []hub.Service  `json:"services"`
	Class    string         `json:"class"`
	Key      string         `json:"key"`
	Data     jsontext.Value `json:"data"`
}

type notifyRequest struct {
	Users  []hub.UserID `json:"users"`
	Topics []hub.Topic  `json:"topics"`
	Store  string       `json:"store"`
	Keep   *keepRequest `json:"keep"`
	Wait   string       `json:"wait"`
	message
}

// keepRequest says how long the topics of a notification keep it.
type keepRequest struct {
	Count int    `json:"count"`
	Age   string `json:"age"`
}

type usersRequest struct {
	Users []hub.UserID `json:"users"`
}

// strict refuses names that no field has. The decoder of its own accord
// refuses repeated names, invalid UTF-8, other case, and trailing data.
var strict = json.RejectUnknownMembers(true)

// DecodeNotify reads the body of POST /notify and checks it against the
// limits of hub. The notification shares no memory with body. Errors are of
// type *Error.
func DecodeNotify(body []byte) (*hub.Notification, error) {
	var req notifyRequest
	if err := decode(body, &req); err != nil {
		return nil, err
	}
	if err := req.checkTargets(); err != nil {
		return nil, err
	}
	n, err := req.notification()
	if err != nil {
		return nil, err
	}
	n.Users, n.Topics = req.Users, req.Topics
	if n.Keep, err = req.keep(); err != nil {
		return nil, err
	}
	if n.Store, err = duration("store", req.Store, hub.MaxStore); err != nil {
		return nil, err
	}
	if n.Wait, err = duration("wait", req.Wait, hub.MaxWait); err != nil {
		return nil, err
	}
	return n, nil
}

// checkTargets checks whom a notification is for.
func (req *notifyRequest) checkTargets() error {
	if len(req.Users) > 0 || len(req.Topics) == 0 {
		if err := hub.CheckUsers(req.Users); err != nil {
			return fromHub(err)
		}
	}
	if err := hub.CheckTopics(req.Topics); err != nil {
		return fromHub(err)
	}
	if req.Store != "" && len(req.Topics) > 0 {
		return &Error{Code: CodeInvalidField, Field: "store", Detail: "topics keep what keep says; send what users are to have stored by itself"}
	}
	return nil
}

func (req *notifyRequest) keep() (hub.Keep, error) {
	if req.Keep == nil {
		return hub.Keep{}, nil
	}
	if len(req.Topics) == 0 {
		return hub.Keep{}, &Error{Code: CodeInvalidField, Field: "keep", Detail: "only topics keep; users have store"}
	}
	age, err := duration("keep.age", req.Keep.Age, hub.MaxStore)
	if err != nil {
		return hub.Keep{}, err
	}
	k := hub.Keep{Count: req.Keep.Count, Age: age}
	if err := topic.CheckKeep(k); err != nil {
		return hub.Keep{}, fromHub(err)
	}
	return k, nil
}

// duration reads an optional field such as "300ms" or "24h": above 0 and at
// most limit, or 0 when it is left out.
func duration(field, s string, limit time.Duration) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > limit {
		return 0, &Error{Code: CodeInvalidField, Field: field, Detail: fmt.Sprintf("%q, want a duration above 0 and at most %v, such as \"300ms\"", s, limit)}
	}
	return d, nil
}

// DecodeBroadcast reads the body of POST /broadcast, as DecodeNotify does.
func DecodeBroadcast(body []byte) (*hub.Notification, error) {
	var req message
	if err := decode(body, &req); err != nil {
		return nil, err
	}
	return req.notification()
}

func decodeUsers(body []byte) ([]hub.UserID, error) {
	var req usersRequest
	if err := decode(body, &req); err != nil {
		return nil, err
	}
	if err := hub.CheckUsers(req.Users); err != nil {
		return nil, fromHub(err)
	}
	return req.Users, nil
}

func (m *message) notification() (*hub.Notification, error) {
	class, err := hub.ParseClass(m.Class)
	if err != nil {
		return nil, fromHub(err)
	}
	n := &hub.Notification{
		ID:       m.ID,
		Services: m.Services,
		Type:     m.Type,
		From:     m.From,
		Data:     []byte(m.Data),
		Class:    class,
		Key:      m.Key,
	}
	if err := n.CheckBody(); err != nil {
		return nil, fromHub(err)
	}
	return n, nil
}

// decode fills v from a body that must be one JSON object.
func decode(body []byte, v any) error {
	if string(bytes.Trim(body, " \t\r\n")) == "null" {
		// The decoder takes null for an empty object.
		return refuse(CodeWrongType, "null, want object")
	}
	err := json.Unmarshal(body, v, optionsFor(body))
	if err == nil {
		return nil
	}
	if !utf8.Valid(body) {
		return refuse(CodeInvalidUTF8, "the body is not UTF-8")
	}
	return decodeError(err)
}

func decodeError(err error) *Error {
	var own *Error
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &semantic):
		field := fieldPath(semantic.JSONPointer)
		if errors.Is(err, json.ErrUnknownName) {
			return &Error{Code: CodeUnknownField, Field: field, Detail: "unknown field " + field}
		}
		return &Error{Code: CodeWrongType, Field: field, Detail: mismatch(semantic)}
	case errors.As(err, &syntactic):
		field := fieldPath(syntactic.JSONPointer)
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return &Error{Code: CodeDuplicateField, Field: field, Detail: "given twice"}
		}
		return &Error{
			Code:   CodeMalformedJSON,
			Field:  field,
			Detail: fmt.Sprintf("%v, after byte %d", syntactic.Err, syntactic.ByteOffset),
		}
	}
	return refuse(CodeMalformedJSON, "%v", err)
}

func mismatch(e *json.SemanticError) string {
	want := "another type"
	if e.GoType != nil {
		switch e.GoType.Kind() {
		case reflect.String:
			want = "string"
		case reflect.Slice:
			want = "array"
		case reflect.Struct:
			want = "object"
		case reflect.Float64:
			want = "number"
		case reflect.Bool:
			want = "boolean"
		default: // requests have no other kinds
		}
	}
	return kindName(e.JSONKind) + ", want " + want
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindBeginObject:
		return "object"
	case jsontext.KindBeginArray:
		return "array"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "boolean"
	default:
		return k.String()
	}
}

// fieldPath writes a JSON pointer as people do: /users/3 is users[3].
func fieldPath(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + token + "]")
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	return truncate(b.String(), 200)
}

// truncate keeps an answer short whatever a caller named a field. It cuts at
// a rune's start, because the answer must be UTF-8.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
