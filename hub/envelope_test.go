package hub

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var envelopes = []struct {
	name string
	e    Envelope
}{
	{"notify", Envelope{
		Kind: KindNotify, Class: ClassLatest, ID: "01ARZ3", Key: "score",
		Services: []Service{"chess", "go"}, Users: []UserID{"anna", "bob"}, Payload: []byte(`{"t":"notify"}`),
	}},
	{"topics", Envelope{
		Kind: KindNotify, Class: ClassDroppable, Mix: MixTopics | MixUsers, ID: "1", Users: []UserID{"anna", Topic(strings.Repeat("t", MaxTopic)).Address()}, Shared: 1, Payload: []byte("x"),
	}},
	{"broadcast", Envelope{Kind: KindBroadcast, ID: "1", Payload: []byte("x")}},
	{"disconnect", Envelope{Kind: KindDisconnect, Users: []UserID{"anna"}, Payload: []byte("banned")}},
	{"longest", Envelope{
		Kind: KindNotify, Class: ClassDroppable, ID: strings.Repeat("i", MaxID), Key: strings.Repeat("k", MaxKey),
		Shared: MaxUsers, Age: MaxAge,
		Services: slices.Repeat([]Service{Service(strings.Repeat("s", MaxService))}, MaxServices),
		Users:    slices.Repeat([]UserID{UserID(strings.Repeat("u", MaxUserID))}, MaxUsers),
		Payload:  bytes.Repeat([]byte("d"), 2*MaxData),
	}},
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, tc := range envelopes {
		t.Run(tc.name, func(t *testing.T) {
			d, err := ParseEnvelope(tc.e.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			if d.UserCount() != len(tc.e.Users) {
				t.Errorf("UserCount() = %d, want %d", d.UserCount(), len(tc.e.Users))
			}
			if diff := cmp.Diff(tc.e, envelopeOf(&d)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// envelopeOf copies what d views.
func envelopeOf(d *Delivery) Envelope {
	var users []UserID
	for u := range d.Users {
		users = append(users, UserID(u))
	}
	return d.Envelope(d.Kind, users, d.Shared)
}

func TestDeliveryUsersStops(t *testing.T) {
	d, err := ParseEnvelope(envelopes[0].e.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	for u := range d.Users {
		if string(u) != "anna" {
			t.Fatalf("first user is %s", u)
		}
		break
	}
}

func TestParseEnvelopeRefuses(t *testing.T) {
	whole := (&Envelope{Kind: KindNotify, ID: "1", Services: []Service{"s"}, Users: []UserID{"u"}, Payload: []byte("p")}).Append(nil)
	for n := range whole {
		if _, err := ParseEnvelope(whole[:n]); !errors.Is(err, ErrBadEnvelope) {
			t.Errorf("first %d of %d bytes: %v", n, len(whole), err)
		}
	}
	for _, tc := range []struct {
		name string
		b    []byte
	}{
		{"bytes left over", append(slices.Clone(whole), 0)},
		{"another version", append([]byte{2}, whole[1:]...)},
		{"kind 0", append([]byte{1, 0}, whole[2:]...)},
		{"kind 5", append([]byte{1, 5}, whole[2:]...)},
		{"class 3", append([]byte{1, 1, 3}, whole[3:]...)},
		{"id too long", (&Envelope{Kind: KindNotify, ID: strings.Repeat("i", MaxID+1)}).Append(nil)},
		{"key too long", (&Envelope{Kind: KindNotify, Key: strings.Repeat("k", MaxKey+1)}).Append(nil)},
		{"too many services", (&Envelope{Kind: KindNotify, Services: make([]Service, MaxServices+1)}).Append(nil)},
		{"service too long", (&Envelope{Kind: KindNotify, Services: []Service{Service(strings.Repeat("s", MaxService+1))}}).Append(nil)},
		{"too many users", (&Envelope{Kind: KindNotify, Users: slices.Repeat([]UserID{"u"}, MaxUsers+1)}).Append(nil)},
		{"user too long", (&Envelope{Kind: KindNotify, Users: []UserID{UserID(strings.Repeat("u", MaxUserID+1))}}).Append(nil)},
		{"more shared than users", (&Envelope{Kind: KindNotify, Users: []UserID{"u"}, Shared: 2}).Append(nil)},
		{"too old", (&Envelope{Kind: KindNotify, Age: MaxAge + time.Second}).Append(nil)},
		{"empty user", (&Envelope{Kind: KindNotify, Users: []UserID{""}}).Append(nil)},
		{"length beyond the end", []byte{1, 1, 0, 60}},
		{"length of 64 bits", []byte{1, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}},
		{"length with a needless byte", []byte{1, 1, 0, 0x80, 0, 0, 0, 0, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := ParseEnvelope(tc.b); !errors.Is(err, ErrBadEnvelope) {
				t.Errorf("got %v, want ErrBadEnvelope", err)
			}
		})
	}
}

func TestReadingADeliveryAllocates(t *testing.T) {
	e := Envelope{Kind: KindNotify, ID: "1", Payload: []byte("p")}
	for i := range MaxUsers {
		e.Users = append(e.Users, UserID("user-"+strconv.Itoa(i)))
	}
	wire := e.Append(nil)
	bytesSeen := 0
	if n := testing.AllocsPerRun(10, func() {
		d, err := ParseEnvelope(wire)
		if err != nil {
			t.Fatal(err)
		}
		for u := range d.Users {
			bytesSeen += len(u)
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d users, want none", n, MaxUsers)
	}
	if bytesSeen == 0 {
		t.Error("no user seen")
	}
}

func FuzzParseEnvelope(f *testing.F) {
	for _, tc := range envelopes[:3] {
		f.Add(tc.e.Append(nil))
	}
	f.Add([]byte{1, 1, 0, 0x80, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseEnvelope(b)
		if err != nil {
			if !errors.Is(err, ErrBadEnvelope) {
				t.Fatalf("%v does not wrap ErrBadEnvelope", err)
			}
			return
		}
		e := envelopeOf(&d)
		if again := e.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x", b, again)
		}
	})
}

func TestReplies(t *testing.T) {
	o := Outcome{Statuses: []byte{1, 2}, Heard: 70_000}
	if got := o.Reply(KindNotify); string(got) != "\x01\x02" {
		t.Errorf("to a notification: %v", got)
	}
	if n, ok := ParseHeard(o.Reply(KindOf((&Envelope{Kind: KindBroadcast}).Append(nil)))); n != 70_000 || !ok {
		t.Errorf("to a broadcast: %d, %t", n, ok)
	}
	for _, none := range [][]byte{nil, {}, {0x80}, {1, 1}} {
		if n, ok := ParseHeard(none); ok {
			t.Errorf("%v is %d", none, n)
		}
	}
	if KindOf([]byte{1}) != 0 {
		t.Error("a byte has a kind")
	}
}
