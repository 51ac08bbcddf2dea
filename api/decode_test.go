package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/hub"
)

func TestDecodeNotify(t *testing.T) {
	got, err := DecodeNotify([]byte(`{"id":"o-1","users":["ann","bob"],"services":["chess"],"type":"t","from":"shop",
		"class":"latest","key":"k","data": {"n": 12345678901234567890, "s":"é"} }`))
	if err != nil {
		t.Fatal(err)
	}
	want := &hub.Notification{
		ID: "o-1", Users: []hub.UserID{"ann", "bob"}, Services: []hub.Service{"chess"}, Type: "t", From: "shop",
		Class: hub.ClassLatest, Key: "k", Data: json.RawMessage(`{"n": 12345678901234567890, "s":"é"}`),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestDecodeNotifyCopies makes sure that a body's buffer may be used again.
func TestDecodeNotifyCopies(t *testing.T) {
	body := []byte(`{"users":["ann"],"type":"move","data":{"a":1}}`)
	n, err := DecodeNotify(body)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		body[i] = 'x'
	}
	if n.Users[0] != "ann" || n.Type != "move" || string(n.Data) != `{"a":1}` {
		t.Errorf("changed with the body: %+v", n)
	}
}

func TestDecodeNotifyAccepts(t *testing.T) {
	for name, body := range map[string]string{
		"null data":            `{"users":["a"],"data":null}`,
		"false data":           `{"users":["a"],"data":false}`,
		"null options":         `{"users":["a"],"data":1,"id":null,"type":null,"from":null,"services":null,"class":null,"key":null}`,
		"empty options":        `{"users":["a"],"data":1,"id":"","type":"","from":"","services":[],"class":"","key":""}`,
		"users named twice":    `{"users":["a","a"],"data":1}`,
		"white space around":   " \r\n\t{\"users\":[\"a\"],\"data\":1}\n ",
		"escaped user":         `{"users":["\u0061nn"],"data":1}`,
		"10,000 users":         manyUsers(hub.MaxUsers),
		"largest data":         `{"users":["a"],"data":"` + strings.Repeat("x", hub.MaxData-2) + `"}`,
		"store at its longest": `{"users":["a"],"data":1,"store":"720h"}`,
		"store a latest":       `{"users":["a"],"data":1,"class":"latest","key":"k","store":"1h30m"}`,
		"store null":           `{"users":["a"],"data":1,"store":null}`,
		"same name, two depth": `{"users":["a"],"data":{"data":1}}`,
	} {
		if _, err := DecodeNotify([]byte(body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func manyUsers(n int) string {
	users := make([]string, n)
	for i := range users {
		users[i] = fmt.Sprintf(`"player-%08d"`, i)
	}
	return `{"users":[` + strings.Join(users, ",") + `],"data":1}`
}

func TestDecodeNotifyRefuses(t *testing.T) {
	const ok = `"users":["a"],"data":1`
	for _, c := range []struct {
		name, body string
		code       Code
		field      string
	}{
		{"nothing", ``, CodeMalformedJSON, ""},
		{"null", `null`, CodeWrongType, ""},
		{"array", `[]`, CodeWrongType, ""},
		{"string", `"x"`, CodeWrongType, ""},
		{"half", `{"users":["a"`, CodeMalformedJSON, "users"},
		{"bytes after it", `{` + ok + `} {`, CodeMalformedJSON, ""},
		{"two objects", `{` + ok + `}{` + ok + `}`, CodeMalformedJSON, ""},
		{"not UTF-8", `{` + ok + `,"type":"` + "\xff" + `"}`, CodeInvalidUTF8, ""},
		{"half a surrogate", `{` + ok + `,"type":"\ud800"}`, CodeMalformedJSON, "type"},
		{"field twice", `{` + ok + `,"users":["b"]}`, CodeDuplicateField, "users"},
		{"field twice in data", `{"users":["a"],"data":{"x":[{"y":1,"y":2}]}}`, CodeDuplicateField, "data.x[0].y"},
		{"unknown field", `{` + ok + `,"user":"b"}`, CodeUnknownField, "user"},
		{"other case", `{` + ok + `,"Type":"b"}`, CodeUnknownField, "Type"},
		{"store without a unit", `{` + ok + `,"store":"24"}`, CodeInvalidField, "store"},
		{"store for no time", `{` + ok + `,"store":"0h"}`, CodeInvalidField, "store"},
		{"negative store", `{` + ok + `,"store":"-1h"}`, CodeInvalidField, "store"},
		{"store too long", `{` + ok + `,"store":"721h"}`, CodeInvalidField, "store"},
		{"store of another type", `{` + ok + `,"store":true}`, CodeWrongType, "store"},
		{"wait without a unit", `{` + ok + `,"wait":"300"}`, CodeInvalidField, "wait"},
		{"wait of nothing", `{` + ok + `,"wait":"0s"}`, CodeInvalidField, "wait"},
		{"negative wait", `{` + ok + `,"wait":"-1s"}`, CodeInvalidField, "wait"},
		{"wait too long", `{` + ok + `,"wait":"6s"}`, CodeInvalidField, "wait"},
		{"wait of another type", `{` + ok + `,"wait":300}`, CodeWrongType, "wait"},
		{"per_user", `{` + ok + `,"per_user":true}`, CodeUnknownField, "per_user"},
		{"users a string", `{"users":"a","data":1}`, CodeWrongType, "users"},
		{"a user a number", `{"users":["a",7],"data":1}`, CodeWrongType, "users[1]"},
		{"type an object", `{` + ok + `,"type":{}}`, CodeWrongType, "type"},
		{"services an object", `{` + ok + `,"services":{}}`, CodeWrongType, "services"},
		{"class a boolean", `{` + ok + `,"class":true}`, CodeWrongType, "class"},
		{"users missing", `{"data":1}`, CodeInvalidField, "users"},
		{"users null", `{"users":null,"data":1}`, CodeInvalidField, "users"},
		{"no users", `{"users":[],"data":1}`, CodeInvalidField, "users"},
		{"10,001 users", manyUsers(hub.MaxUsers + 1), CodeInvalidField, "users"},
		{"empty user", `{"users":["a",""],"data":1}`, CodeInvalidField, "users[1]"},
		{"user with a space", `{"users":["a b"],"data":1}`, CodeInvalidField, "users[0]"},
		{"user null", `{"users":[null],"data":1}`, CodeInvalidField, "users[0]"},
		{"long user", `{"users":["` + strings.Repeat("u", hub.MaxUserID+1) + `"],"data":1}`, CodeInvalidField, "users[0]"},
		{"data missing", `{"users":["a"]}`, CodeInvalidField, "data"},
		{"much data", `{"users":["a"],"data":"` + strings.Repeat("x", hub.MaxData-1) + `"}`, CodeInvalidField, "data"},
		{"unknown class", `{` + ok + `,"class":"maybe"}`, CodeInvalidField, "class"},
		{"latest without key", `{` + ok + `,"class":"latest"}`, CodeInvalidField, "key"},
		{"key without latest", `{` + ok + `,"key":"k"}`, CodeInvalidField, "key"},
		{"bad from", `{` + ok + `,"from":"Chess"}`, CodeInvalidField, "from"},
		{"bad service", `{` + ok + `,"services":["a","B"]}`, CodeInvalidField, "services[1]"},
		{"long id", `{` + ok + `,"id":"` + strings.Repeat("i", hub.MaxID+1) + `"}`, CodeInvalidField, "id"},
		{"long type", `{` + ok + `,"type":"` + strings.Repeat("t", hub.MaxType+1) + `"}`, CodeInvalidField, "type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeNotify([]byte(c.body))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			if e.Code != c.code || e.Field != c.field {
				t.Errorf("got %s of %q (%s), want %s of %q", e.Code, e.Field, e.Detail, c.code, c.field)
			}
			if e.Detail == "" {
				t.Error("no detail")
			}
			// With so many commas its lists are bounded as they are read.
			many := strings.Replace(c.body, `"data":1`, `"data":[0`+strings.Repeat(",0", hub.MaxUsers)+`]`, 1)
			if _, err := DecodeNotify([]byte(many)); !errors.As(err, &e) || e.Code != c.code || e.Field != c.field {
				t.Errorf("with more data got %v, want %s of %q", err, c.code, c.field)
			}
		})
	}
}

// TestListsAreNotReadToTheirEnd: what would take many times its text in memory is
// refused when it is too long.
func TestListsAreNotReadToTheirEnd(t *testing.T) {
	names := make([]string, 200_000)
	for i := range names {
		names[i] = fmt.Sprintf(`"u%d"`, i)
	}
	list := "[" + strings.Join(names, ",") + "]"
	for field, body := range map[string]string{
		"users":    `{"users":` + list + `,"data":1}`,
		"services": `{"users":["a"],"services":` + list + `,"data":1}`,
	} {
		read := func() {
			_, err := DecodeNotify([]byte(body))
			var e *Error
			if !errors.As(err, &e) || e.Code != CodeInvalidField || e.Field != field || e.Detail == "" {
				t.Errorf("got %v", err)
			}
		}
		if n := testing.AllocsPerRun(1, read); n > 2*hub.MaxUsers+100 {
			t.Errorf("%v allocations for %s", n, field)
		}
	}
	if users, err := decodeUsers([]byte(`{"users":["u"` + strings.Repeat(`,"u"`, hub.MaxUsers-1) + `]}`)); err != nil || len(users) != hub.MaxUsers {
		t.Errorf("%d users, %v", len(users), err)
	}
}

func TestDecodeBroadcastRefusesUsers(t *testing.T) {
	_, err := DecodeBroadcast([]byte(`{"users":["a"],"data":1}`))
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeUnknownField || e.Field != "users" {
		t.Errorf("got %v", err)
	}
}

func FuzzDecodeNotify(f *testing.F) {
	for _, seed := range []string{
		`{"users":["ann","bob"],"data":{"a":[1,2.5e3,null,true,"x"]},"type":"t","from":"s","services":["a"],"id":"i","class":"latest","key":"k"}`,
		`{"users":["a"],"data":1,"unknown":{}}`, `{"users":["a"],"users":[]}`, `{"users":[1]}`, `null`, `[`, "{\"data\":\"\xff\"}",
		`{"users":["a"],"data":{"` + strings.Repeat("é", 200) + `":1,"` + strings.Repeat("é", 200) + `":2}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := DecodeNotify(body)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error of type %T: %v", err, err)
			}
			if _, err := jsonv2.Marshal(e.problem()); err != nil {
				t.Fatalf("a refusal that cannot be written: %v", err)
			}
			return
		}
		if err := hub.CheckUsers(n.Users); err != nil {
			t.Fatal(err)
		}
		if err := n.CheckBody(); err != nil {
			t.Fatal(err)
		}
		if msg := n.Render(); !json.Valid(msg) {
			t.Fatalf("rendered as %s", msg)
		}
	})
}

// benchmarkBody is a notification to 300 users, with 200 bytes of data.
func benchmarkBody() []byte {
	users := make([]string, 300)
	for i := range users {
		users[i] = fmt.Sprintf("player-%08d", i*7919)
	}
	return mustJSON(map[string]any{
		"users": users, "type": "friend.online", "from": "chess",
		"data": map[string]string{"text": strings.Repeat("x", 190)},
	})
}

// BenchmarkDecodeNotify300 is what a request of 300 users costs to decode and
// check; encoding/json, beside it, does less: it takes other case, repeated
// names, invalid UTF-8 and trailing bytes, and checks no limits.
func BenchmarkDecodeNotify300(b *testing.B) {
	body := benchmarkBody()
	b.Run("decoder=homing", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeNotify(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decoder=encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var req struct {
				Users                      []hub.UserID
				Services                   []hub.Service
				ID, Type, From, Class, Key string
				Data                       json.RawMessage
			}
			dec := json.NewDecoder(strings.NewReader(string(body)))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&req); err != nil {
				b.Fatal(err)
			}
		}
	})
}
