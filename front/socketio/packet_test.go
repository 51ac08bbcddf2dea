package socketio

import (
	"bytes"
	"strings"
	"testing"
)

// packets are those of the protocol's description.
var packets = []struct {
	text string
	want Packet
}{
	{`0`, Packet{Type: Connect, Namespace: "/"}},
	{`0{"token":"123"}`, Packet{Type: Connect, Namespace: "/", Data: []byte(`{"token":"123"}`)}},
	{`0/admin,`, Packet{Type: Connect, Namespace: "/admin"}},
	{`0/admin,{"token":"123"}`, Packet{Type: Connect, Namespace: "/admin", Data: []byte(`{"token":"123"}`)}},
	{`0{"sid":"wZX3oN0bSVIhsaknAAAI"}`, Packet{Type: Connect, Namespace: "/", Data: []byte(`{"sid":"wZX3oN0bSVIhsaknAAAI"}`)}},
	{`1`, Packet{Type: Disconnect, Namespace: "/"}},
	{`1/admin,`, Packet{Type: Disconnect, Namespace: "/admin"}},
	{`2["foo"]`, Packet{Type: Event, Namespace: "/", Data: []byte(`["foo"]`)}},
	{`2/admin,["bar"]`, Packet{Type: Event, Namespace: "/admin", Data: []byte(`["bar"]`)}},
	{`212["foo"]`, Packet{Type: Event, Namespace: "/", ID: 12, HasID: true, Data: []byte(`["foo"]`)}},
	{`3/admin,13["bar"]`, Packet{Type: Ack, Namespace: "/admin", ID: 13, HasID: true, Data: []byte(`["bar"]`)}},
	{`4{"message":"Not authorized"}`, Packet{Type: ConnectError, Namespace: "/", Data: []byte(`{"message":"Not authorized"}`)}},
	{`51-["baz",{"_placeholder":true,"num":0}]`, Packet{Type: BinaryEvent, Namespace: "/", Attachments: 1, Data: []byte(`["baz",{"_placeholder":true,"num":0}]`)}},
	{`52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, Packet{Type: BinaryEvent, Namespace: "/admin", Attachments: 2, Data: []byte(`["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)}},
	{`61-15["bar",{"_placeholder":true,"num":0}]`, Packet{Type: BinaryAck, Namespace: "/", Attachments: 1, ID: 15, HasID: true, Data: []byte(`["bar",{"_placeholder":true,"num":0}]`)}},
}

func TestPackets(t *testing.T) {
	for _, c := range packets {
		got, err := Parse([]byte(c.text))
		if err != nil || got.Type != c.want.Type || got.Namespace != c.want.Namespace || got.ID != c.want.ID ||
			got.HasID != c.want.HasID || got.Attachments != c.want.Attachments || !bytes.Equal(got.Data, c.want.Data) {
			t.Errorf("%s: %+v, %v", c.text, got, err)
		}
		got.Binaries = make([][]byte, got.Attachments)
		if back := got.Append(nil); string(back) != c.text {
			t.Errorf("%s was written as %s", c.text, back)
		}
	}
	if p, err := Parse([]byte(`0/custom`)); err != nil || p.Namespace != "/custom" {
		t.Errorf("a namespace without a comma: %+v, %v", p, err)
	}
}

func TestWrongPackets(t *testing.T) {
	for _, text := range []string{
		``, `abc`, `7`, `2`, `2{}`, `2"a"`, `2[`, `2["a"]x`, `2abc["a"]`, `2-1["a"]`, `2` + strings.Repeat("1", 17) + `["a"]`,
		`0[]`, `0"a"`, `0{`, `1{}`, `1"a"`, `3["a"]`, `31{}`, `4`, `4[]`,
		`5["a"]`, `5-["a"]`, `511-["a"]`, `5x-["a"]`, `5-1-["a"]`, `61-[]`, `0/` + strings.Repeat("n", 256) + `,`,
	} {
		if p, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s was read as %+v", text, p)
		}
	}
}

func TestEvents(t *testing.T) {
	p := Packet{Data: []byte(`["foo", 1 ,{"a":[2]},null]`)}
	name, args, err := p.Event()
	if err != nil || name != "foo" || len(args) != 3 || string(args[0]) != "1" || string(args[1]) != `{"a":[2]}` || string(args[2]) != "null" {
		t.Errorf("%s, %s, %v", name, args, err)
	}
	for _, data := range []string{`[]`, `[1]`, `[null,"a"]`, `["connect"]`, `["disconnecting",1]`, `["a"` + strings.Repeat(",1", maxArgs+1) + `]`} {
		p.Data = []byte(data)
		if name, args, err := p.Event(); err == nil {
			t.Errorf("%s was read as %q, %s", data, name, args)
		}
	}
	if got := AppendEvent(nil, `a"b`, []byte(`{}`), []byte(`1`)); string(got) != `["a\"b",{},1]` {
		t.Errorf("%s", got)
	}
}

func TestAttachments(t *testing.T) {
	var d Decoder
	text := []byte(`52-["baz",{"_placeholder":true,"num":0},{"a":[{"num":1,"_placeholder":true}]}]`)
	if _, ok, err := d.Text(text); ok || err != nil || !d.Pending() {
		t.Fatal(ok, err)
	}
	clear(text) // it was only lent
	if _, ok, err := d.Binary([]byte{1}, 100); ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, _, err := d.Text([]byte(`2["a"]`)); err == nil {
		t.Error("text was taken while an attachment is due")
	}
	p, ok, err := d.Binary([]byte{2, 3}, 100)
	if !ok || err != nil || len(p.Binaries) != 2 || !bytes.Equal(p.Binaries[1], []byte{2, 3}) || !bytes.HasPrefix(p.Data, []byte(`["baz"`)) || d.Pending() {
		t.Errorf("%+v, %v, %v", p, ok, err)
	}
	if _, _, err := d.Binary([]byte{1}, 100); err == nil {
		t.Error("a binary message of no packet was taken")
	}
	if _, ok, err := d.Text([]byte(`50-["none"]`)); !ok || err != nil {
		t.Errorf("no attachments: %v, %v", ok, err)
	}
	for _, text := range []string{
		`51-["a",{"_placeholder":true,"num":1}]`, `51-["a",{"_placeholder":true}]`, `51-["a",{"_placeholder":true,"num":-1}]`,
		`51-["a",{"b":[{"_placeholder":true,"num":"x"}]}]`, `51-["a",{"_placeholder":true,"num":{}}]`,
	} {
		if _, _, err := d.Text([]byte(text)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
	if _, _, err := d.Text([]byte(`51-["a",{"_placeholder":false,"num":9}]`)); err != nil {
		t.Error(err)
	}
	if _, _, err := d.Binary(make([]byte, 100), 100); err == nil {
		t.Error("more was taken than the limit")
	}
}

func FuzzPacket(f *testing.F) {
	for _, c := range packets {
		f.Add([]byte(c.text), []byte{1})
	}
	f.Fuzz(func(t *testing.T, text, binary []byte) {
		var d Decoder
		p, ok, err := d.Text(text)
		for !ok && err == nil {
			p, ok, err = d.Binary(binary, 1<<20)
		}
		if err != nil {
			return
		}
		again, err := Parse(p.Append(nil))
		if err != nil || again.Type != p.Type || again.Namespace != p.Namespace || again.ID != p.ID || again.HasID != p.HasID || !bytes.Equal(again.Data, p.Data) {
			t.Errorf("%q: %+v, and then %+v, %v", text, p, again, err)
		}
		if p.Type == Event || p.Type == BinaryEvent {
			_, _, _ = p.Event()
		}
	})
}
