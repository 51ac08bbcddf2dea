package front

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/homing/homing/hub"
)

func TestParseMessages(t *testing.T) {
	id := strings.Repeat("x", hub.MaxID)
	ids := func(n int) string { return "[" + strings.Repeat(`"a",`, n-1) + `"a"]` }
	for _, tc := range []struct {
		in   string
		want string // kind, after, number of ids, ref; "!" for what is marked as faulty
	}{
		{`{"t":"ping"}`, "ping  0 "},
		{` {"t":"ping","ref":{"a":[1]}} `, `ping  0 {"a":[1]}`},
		{`{"ref":null,"t":"ping"}`, "ping  0 null"},
		{`{"t":"\u0070ing"}`, "ping  0 "},
		{`{"t":"x","new":{"deep":[[1],{}]},"t":"y"}`, "y  0 "},
		{`{"t":"resume","after":"` + id + `"}`, "resume " + id + " 0 "},
		{`{"t":"resume","after":null}`, "resume  0 "},
		{`{"t":"resume","after":"` + id + `x"}`, "resume ! 0 "},
		{`{"t":"resume","after":7}`, "resume ! 0 "},
		{`{"t":"ack","id":"a","ids":["b"]}`, "ack  2 "},
		{`{"t":"ack","id":null,"ids":null}`, "ack  0 "},
		{`{"t":"ack","ids":` + ids(maxAck) + `}`, "ack  256 "},
		{`{"t":"ack","ids":[""]}`, "ack  0! "},
		{`{"t":"ack","ids":["a",7]}`, "ack  1! "},
		{`{"t":"ack","id":"a","id":null}`, "ack  1 "},
		{`{"t":"ack","ids":"a"}`, "ack  0! "},
		{`{"t":"ack","ids":["` + id + `x"]}`, "ack  0! "},
		{`{"t":"ack","ids":["` + id + `x","b"],"id":"a"}`, "ack  0! "},
		{`{"t":"ack","ids":` + ids(maxAck+1) + `}`, ""},
		{`{"t":"ack","id":"a","ids":` + ids(maxAck) + `}`, ""},
		{`{"t":"ping","ref":"` + strings.Repeat("x", maxRef) + `"}`, ""},
		{`{"t":""}`, ""},
		{`{"t":null}`, ""},
		{`{"t":1}`, ""},
		{`{"t":"` + id + `x"}`, ""},
		{`{}`, ""},
		{`[]`, ""},
		{`{"t":"ping"`, ""},
		{`{"t":"ping"}}`, ""},
		{`{"t":"ping"} {}`, ""},
		{`{"t":"ping",}`, ""},
		{``, ""},
	} {
		var p parser
		in, err := p.parse([]byte(tc.in))
		if got := describe(&in, err); got != tc.want {
			t.Errorf("%.60s: %q, want %q", tc.in, got, tc.want)
		}
	}
}

func describe(in *incoming, err error) string {
	if err != nil {
		return ""
	}
	after := in.after.value
	if in.after.faulty {
		after = "!"
	}
	n, _ := json.Marshal(len(in.ack.ids))
	if in.ack.faulty {
		n = append(n, '!')
	}
	return strings.Join([]string{in.kind.value, after, string(n), string(in.ref)}, " ")
}

// TestALongListIsNotReadToItsEnd stops where a message shows that it is not one.
func TestALongListIsNotReadToItsEnd(t *testing.T) {
	text := []byte(`{"t":"ack","ids":[` + strings.Repeat(`"",`, 21_800) + `""]}`)
	var p parser
	if _, err := p.parse(text); err == nil {
		t.Fatal("21,801 ids are taken")
	}
	if read := p.dec.InputOffset(); read > 4*maxAck {
		t.Errorf("%d bytes were read, want about %d", read, 3*maxAck)
	}
	_, _ = p.parse(text)
	if n := testing.AllocsPerRun(10, func() { _, _ = p.parse(text) }); n > 10 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse has encoding/json agree on what is taken.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"t":"resume","after":"x","ref":7}`, `{"t":"ack","id":"x","ids":["y"]}`, `{"t":"ack","ids":["x","y"],"ref":{}}`, `{"t":"ping"}`,
	} {
		f.Add([]byte(s))
	}
	var p parser
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := p.parse(slices.Clone(data))
		if err != nil {
			return
		}
		var other map[string]json.RawMessage
		if err := json.Unmarshal(data, &other); err != nil {
			t.Fatalf("%q is taken, although: %v", data, err)
		}
		var kind string
		if err := json.Unmarshal(other["t"], &kind); err != nil || kind != in.kind.value {
			t.Fatalf("%q is taken as %q, not %q: %v", data, in.kind.value, kind, err)
		}
		if len(in.ack.ids) > maxAck || len(in.ref) > maxRef || len(in.after.value) > hub.MaxID {
			t.Fatalf("%q is too long", data)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for name, text := range map[string]string{
		"ping": `{"t":"ping","ref":7}`,
		"ack":  `{"t":"ack","ids":[` + strings.Repeat(`"01JD2Z8Q4V7M3T9K5R1XWY6C0H",`, 63) + `"x"]}`,
		"64k":  `{"t":"ack","ids":[` + strings.Repeat(`"",`, 21_800) + `""]}`,
	} {
		b.Run(name, func(b *testing.B) {
			var p parser
			b.ReportAllocs()
			for b.Loop() {
				_, _ = p.parse([]byte(text))
			}
		})
	}
}
