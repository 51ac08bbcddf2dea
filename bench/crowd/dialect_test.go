package crowd

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/gobwas/ws"
)

var everyDialect = []Dialect{Homing, HomingBinary, SocketIO, Colyseus}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatServersSay(t *testing.T) {
	for _, c := range []struct {
		dialect Dialect
		op      ws.OpCode
		text    string
		kind    kind
		tick    int64
	}{
		{Homing, ws.OpText, `{"t":"hello","id":"x"}`, invitation, 0},
		{Homing, ws.OpText, `{"t":"joined","room":"r","ref":1}`, seated, 0},
		{Homing, ws.OpText, `{"t":"frame","tick":7,"recovered":true,"state":{}}`, frame, 7},
		{Homing, ws.OpText, `{"t":"frame","tick":}`, violation, 0},
		{Homing, ws.OpText, `{"t":"error","of":"join","code":"ticket_bad","ref":1}`, goodbye, 0},
		{Homing, ws.OpText, `{"t":"error","of":"say","code":"too_much"}`, refusal, 0},
		{Homing, ws.OpText, `{"t":"left","room":"r","why":"closed"}`, goodbye, 0},
		{Homing, ws.OpText, `{"t":"moved","room":"r"}`, elsewhere, 0},
		{Homing, ws.OpText, `{"t":"reconnect","after_ms":1}`, goodbye, 0},
		{Homing, ws.OpBinary, "\x07\x02\x00\x00", violation, 0},
		{HomingBinary, ws.OpBinary, "\xbc\x05\x02\x00\x00", frame, 700},
		{HomingBinary, ws.OpBinary, "\xff", violation, 0},
		{HomingBinary, ws.OpText, `{"t":"joined","room":"r","ref":1}`, seated, 0},
		{SocketIO, ws.OpText, `0{"sid":"x"}`, invitation, 0},
		{SocketIO, ws.OpText, `40{"sid":"x"}`, noise, 0},
		{SocketIO, ws.OpText, `42["joined",{"state":{}}]`, seated, 0},
		{SocketIO, ws.OpText, `42["frame",{"tick":12,"state":{}}]`, frame, 12},
		{SocketIO, ws.OpText, "2", ping, 0},
		{SocketIO, ws.OpText, `44{"message":"no such ticket"}`, goodbye, 0},
		{SocketIO, ws.OpText, "41", goodbye, 0},
		{SocketIO, ws.OpText, "?", violation, 0},
		{SocketIO, ws.OpBinary, "2", violation, 0},
		{Colyseus, ws.OpBinary, "\x0a\x01a", invitation, 0},
		{Colyseus, ws.OpBinary, "\x0e\x80", seated, 0},
		{Colyseus, ws.OpBinary, "\x0b\x01no", goodbye, 0},
		{Colyseus, ws.OpBinary, "\x0f\xff\x00\x80\x2d\x01\x00\x00", frame, 301},
		{Colyseus, ws.OpBinary, "\x0f\xff\x03\x80\x07\x00", noise, 0},
		{Colyseus, ws.OpBinary, "\x0d", violation, 0},
		{Colyseus, ws.OpBinary, "", violation, 0},
		{Colyseus, ws.OpText, "\x0e", violation, 0},
	} {
		s, err := c.dialect.speech()
		if err != nil {
			t.Fatal(err)
		}
		m := s.read(c.op, []byte(c.text))
		if m.kind != c.kind || m.tick != c.tick || (m.end != nil) != (c.kind == goodbye) {
			t.Errorf("%s %q: %+v, want kind %d, tick %d", c.dialect, c.text, m, c.kind, c.tick)
		}
	}
	if _, err := Dialect("klingon").speech(); err == nil {
		t.Error("an unknown dialect is spoken")
	}
}

// TestPatches reads what @colyseus/schema 5.0.34 has written: two players, both
// move; one moves; a third comes; the first goes.
func TestPatches(t *testing.T) {
	for _, c := range []struct {
		patch string
		tick  int64
		own   map[position]bool
	}{
		{"802c010000ff02800102810304ff03800500810600", 300, map[position]bool{{513, 1027}: true, {5, 6}: true, {5, 7}: false}},
		{"ff03800700810800ff00802d010000", 301, map[position]bool{{7, 8}: true}},
		{"ff018002a2636304ff04800900ff00802e010000ff03800300", 302, map[position]bool{{9, 3}: false}},
		{"ff014000ff00802f010000ff03800400", 303, map[position]bool{{4, 0}: false}},
		{"802f0100008101ff018001a26262038002a2636304ff03800400810800ff04800900", 303, map[position]bool{{4, 8}: true}},
	} {
		b := unhex(t, c.patch)
		if tick, ok := patchTick(b); !ok || tick != c.tick {
			t.Errorf("%s: tick %d, %v, want %d", c.patch, tick, ok, c.tick)
		}
		for p, there := range c.own {
			if got, ok := ownPatch(b, p.mark()); ok != there || there && got != p {
				t.Errorf("%s: position %v %v, want %v %v", c.patch, got, ok, p, there)
			}
		}
	}
}

func TestOwnPosition(t *testing.T) {
	own := positionOf(70_000, markOf(3))
	text := []byte(`{"even":1,"ann":{"x":1,"y":1},"cut":{"x":7},"bob":`)
	text = append(positionText(text, own), `,"cat":{"x":5,"y":9}}`...)
	for d, told := range map[Dialect][]byte{Homing: text, SocketIO: text, HomingBinary: binaryState(own)[2:]} {
		s, err := d.speech()
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := s.own(told, own.mark()); !ok || got != own {
			t.Errorf("%s: %v, %v, want %v", d, got, ok, own)
		}
		if got, ok := s.own(told, markOf(200)); ok {
			t.Errorf("%s: %v is told, and is not there", d, got)
		}
	}
}

func TestWhatPlayersSay(t *testing.T) {
	p := position{x: 0x0102, y: 0x0304}
	for d, want := range map[Dialect]string{
		Homing:       `{"t":"say","data":{"x":258,"y":772}}`,
		HomingBinary: "\x02\x01\x04\x03",
		SocketIO:     `42["move",{"x":258,"y":772}]`,
		Colyseus:     "\x0d\xa4move\x82\xa1x\xcd\x01\x02\xa1y\xcd\x03\x04",
	} {
		s, err := d.speech()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.position(nil, p); string(got) != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

// FuzzRead: whatever a server sends, it is read without harm.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x0f\x80\x2c\x01\x00\x00\xff\x02\x80\x01\x02\x81\x03\x04"), uint16(4))
	f.Add(binaryState(position{1, 2}), uint16(3))
	f.Add([]byte(`{"t":"frame","tick":1,"state":{"a":{"x":1,"y":2}}}`), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, mark uint16) {
		before := bytes.Clone(b)
		for _, d := range everyDialect {
			s, err := d.speech()
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary} {
				m := s.read(op, b)
				if p, ok := s.own(m.told, mark); ok && p.mark() != mark {
					t.Errorf("%s: %v for mark %d", d, p, mark)
				}
			}
		}
		if !bytes.Equal(b, before) {
			t.Error("reading has changed what was read")
		}
	})
}
