package hub

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestClassRoundTrip(t *testing.T) {
	for c := range Classes {
		if got, err := ParseClass(c.String()); got != c || err != nil || c.String() == "" {
			t.Errorf("ParseClass(%q) = %v, %v", c.String(), got, err)
		}
		e := Envelope{Kind: KindNotify, Class: c, ID: "1", Users: []UserID{"ann"}, Payload: []byte("{}")}
		if d, err := ParseEnvelope(e.Append(nil)); err != nil || d.Class != c {
			t.Errorf("an envelope of class %v: %v, %v", c, d.Class, err)
		}
	}
	if got, err := ParseClass(""); got != ClassMust || err != nil {
		t.Errorf("ParseClass of nothing = %v, %v, want must", got, err)
	}
	for _, bad := range []string{"Must", "urgent", "class(3)"} {
		if _, err := ParseClass(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseClass(%q): %v, want ErrInvalid", bad, err)
		}
	}
	if got := Class(9).String(); got != "class(9)" {
		t.Errorf("unknown class reads %q", got)
	}
}

func TestNotificationCheckBody(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, tc := range []struct {
		name  string
		n     Notification
		field string // that the error begins with; empty: valid
	}{
		{"least", Notification{Data: json.RawMessage(`1`)}, ""},
		{"most", Notification{
			ID: long(MaxID), Type: long(MaxType), From: "a", Key: long(MaxKey), Class: ClassLatest,
			Services: slices.Repeat([]Service{"s"}, MaxServices), Data: json.RawMessage(long(MaxData)),
		}, ""},
		{"no data", Notification{}, "data:"},
		{"data too long", Notification{Data: json.RawMessage(long(MaxData + 1))}, "data:"},
		{"id too long", Notification{ID: long(MaxID + 1), Data: json.RawMessage(`1`)}, "id:"},
		{"id with a space", Notification{ID: "a b", Data: json.RawMessage(`1`)}, "id:"},
		{"type too long", Notification{Type: long(MaxType + 1), Data: json.RawMessage(`1`)}, "type:"},
		{"from", Notification{From: "Chess", Data: json.RawMessage(`1`)}, "from:"},
		{"too many services", Notification{Services: slices.Repeat([]Service{"s"}, MaxServices+1), Data: json.RawMessage(`1`)}, "services:"},
		{"empty service", Notification{Services: []Service{"s", ""}, Data: json.RawMessage(`1`)}, "services[1]:"},
		{"key too long", Notification{Key: long(MaxKey + 1), Class: ClassLatest, Data: json.RawMessage(`1`)}, "key:"},
		{"latest without key", Notification{Class: ClassLatest, Data: json.RawMessage(`1`)}, "key:"},
		{"key without latest", Notification{Key: "k", Data: json.RawMessage(`1`)}, "key:"},
		{"key with droppable", Notification{Key: "k", Class: ClassDroppable, Data: json.RawMessage(`1`)}, "key:"},
		{"store at its longest", Notification{Store: MaxStore, Data: json.RawMessage(`1`)}, ""},
		{"store too long", Notification{Store: MaxStore + 1, Data: json.RawMessage(`1`)}, "store:"},
		{"store below zero", Notification{Store: -1, Data: json.RawMessage(`1`)}, "store:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.n.CheckBody()
			checkErr(t, err, tc.field == "", ErrInvalid)
			if err != nil && !strings.HasPrefix(err.Error(), tc.field) {
				t.Errorf("%q does not begin with %q", err, tc.field)
			}
		})
	}
}

func TestCheckUsers(t *testing.T) {
	for _, tc := range []struct {
		name  string
		users []UserID
		want  string
	}{
		{"one", []UserID{"a"}, ""},
		{"most", slices.Repeat([]UserID{"a"}, MaxUsers), ""},
		{"none", nil, "users:"},
		{"too many", slices.Repeat([]UserID{"a"}, MaxUsers+1), "users:"},
		{"a bad one", []UserID{"a", "b c"}, "users[1]:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := CheckUsers(tc.users)
			checkErr(t, err, tc.want == "", ErrInvalid)
			if err != nil && !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("%q does not begin with %q", err, tc.want)
			}
		})
	}
}

func TestRender(t *testing.T) {
	for _, tc := range []struct {
		name string
		n    Notification
		want string
	}{
		{"least", Notification{ID: "1", Data: json.RawMessage(`null`)}, `{"t":"notify","id":"1","data":null}`},
		{
			"everything, data as given",
			Notification{ID: "1", Type: "gift", From: "shop", Data: json.RawMessage(`{"a": [1, 2]}`)},
			`{"t":"notify","id":"1","type":"gift","from":"shop","data":{"a": [1, 2]}}`,
		},
		{
			"stored, until it is acknowledged",
			Notification{ID: "1", Type: "gift", Store: 1, Data: json.RawMessage(`1`)},
			`{"t":"notify","id":"1","stored":true,"ack":true,"type":"gift","data":1}`,
		},
		{
			"stored",
			Notification{ID: "1", Class: ClassDroppable, Store: 1, Data: json.RawMessage(`1`)},
			`{"t":"notify","id":"1","stored":true,"data":1}`,
		},
		{
			"what JSON must escape",
			Notification{ID: `"\`, Type: "a\n\x00\xff", Data: json.RawMessage(`1`)},
			`{"t":"notify","id":"\"\\","type":"a\n\u0000\ufffd","data":1}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.n.Render()
			if string(got) != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if !json.Valid(got) {
				t.Errorf("%s is not JSON", got)
			}
		})
	}
}

func TestIsKept(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{false, true} {
		for _, sender := range []UserID{"", "bob"} {
			n := Notification{ID: `a"]`, Topics: []Topic{"guild:7", "all"}, Kept: kept, Sender: sender, Data: []byte(`{"kept":true}`)}
			if got := IsKept(n.Render()); got != kept || IsStored(n.Render()) {
				t.Errorf("%s: kept %v", n.Render(), got)
			}
		}
	}
	n := Notification{ID: "a", Store: time.Hour, Class: ClassMust, Data: []byte(`1`)}
	if !IsKept(n.Render()) {
		t.Error("what an inbox keeps is not kept")
	}
	if n.Store = 0; IsKept(n.Render()) || IsKept([]byte(`{"t":"notify","id":"a","topics":["`)) || IsKept(nil) {
		t.Error("what nobody keeps is kept")
	}
}

func TestIsStored(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", `quo"te`, `back\`, `","stored":true`, ""} {
		for _, store := range []time.Duration{0, time.Hour} {
			n := Notification{ID: id, Store: store, Data: []byte(`{"stored":true}`)}
			if got := IsStored(n.Render()); got != (store > 0) {
				t.Errorf("id %q stored for %v: %v", id, store, got)
			}
		}
	}
	for _, other := range []string{"", "{}", `{"t":"notify","id":"a`, `{"t":"hello","id":"a","stored":true}`} {
		if IsStored([]byte(other)) {
			t.Errorf("%q is stored", other)
		}
	}
}
