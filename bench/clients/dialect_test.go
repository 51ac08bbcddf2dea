package clients

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/homing/homing/bench/times"
)

func TestReadKnowsEveryMessage(t *testing.T) {
	const data = `"data":{"at":5,"n":6,"pad":""}`
	for d, messages := range map[Dialect]map[string]kind{
		Homing: {
			`{"t":"hello","user":"a"}`:             hello,
			`{"t":"notify","id":"a",` + data + `}`: notification,
			`{"t":"notify","id":"a","data":1}`:     violation,
			`{"t":"reconnect","after_ms":250}`:     goodbye,
			`{"t":"presence","user":"a"}`:          noise,
			`{"t":"error","code":"x"}`:             violation,
			``:                                     violation,
		},
		SocketIO: {
			`0{"sid":"a"}`:                         invitation,
			`40{"sid":"b"}`:                        hello,
			`44{"message":"no"}`:                   goodbye,
			`41`:                                   goodbye,
			`1`:                                    goodbye,
			`2`:                                    ping,
			`6`:                                    noise,
			`42["notify",{"id":"a",` + data + `}]`: notification,
			`42["other",{}]`:                       violation,
			``:                                     violation,

			`42["hello",{"t":"hello"}]`:                              noise,
			`42["presence",{"t":"presence"}]`:                        noise,
			`42["place",{"t":"place"},"p"]`:                          noise,
			`42["reconnect",{"t":"reconnect","after_ms":250}]`:       goodbye,
			`42["closing",{"t":"closing","code":1012,"reason":"r"}]`: goodbye,
			`3probe`: probed,
		},
		Centrifuge: {
			`{"id":1,"connect":{"client":"a"}}`:                      hello,
			`{"id":1,"error":{"code":101,"message":"unauthorized"}}`: goodbye,
			`{}`: ping,
			``:   noise,
			`{"push":{"channel":"c","pub":{"data":{"id":"a",` + data + `}}}}`: notification,
			`{"push":{"channel":"c","pub":{"data":{"id":"a"}}}}`:              violation,
			`{"push":{"channel":"c","subscribe":{}}}`:                         noise,
			`{"push":{"disconnect":{"code":3000,"reason":"shutdown"}}}`:       goodbye,
			`{"id":2,"rpc":{}}`: violation,
		},
	} {
		s, err := d.speech()
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range messages {
			m := s.read([]byte(text))
			if m.kind != want || (m.end != nil) != (want == goodbye) {
				t.Errorf("%s: %q is %d (%v), want %d", d, text, m.kind, m.end, want)
			}
			if want == notification && m.stamp != (stamp{at: 5, n: 6}) {
				t.Errorf("%s: %q has stamp %+v", d, text, m.stamp)
			}
		}
	}
	for text, want := range map[string]time.Duration{
		`42["reconnect",{"t":"reconnect","after_ms":250}]`:      250 * time.Millisecond,
		`42["closing",{"t":"closing","code":1012,"reason":""}]`: restartPause,
		`42["closing",{"t":"closing","code":1013,"reason":""}]`: laterPause,
	} {
		told, ok := errors.AsType[*waitError](readSocketIO([]byte(text)).end)
		if !ok || told.wait != want {
			t.Errorf("%s: %v", text, told)
		}
	}
	sent, ok := errors.AsType[*waitError](readHoming([]byte(`{"t":"reconnect","after_ms":250,"to":"127.0.0.2:80"}`)).end)
	if !ok || sent.to != netip.MustParseAddrPort("127.0.0.2:80") || sent.wait != 250*time.Millisecond {
		t.Errorf("reconnect elsewhere: %+v", sent)
	}
	named, ok := errors.AsType[*waitError](readHoming([]byte(`{"t":"reconnect","after_ms":250,"to":"b.example:80"}`)).end)
	if !ok || named.to.IsValid() {
		t.Errorf("reconnect to a name: %+v", named)
	}
	told, ok := errors.AsType[*waitError](readHoming([]byte(`{"t":"reconnect","after_ms":250}`)).end)
	if !ok || told.wait != 250*time.Millisecond {
		t.Errorf("reconnect: %v", told)
	}
}

func TestReadingANotificationAllocatesNothing(t *testing.T) {
	for _, d := range []Dialect{Homing, Events, SocketIO, Centrifuge} {
		s, err := d.speech()
		if err != nil {
			t.Fatal(err)
		}
		e := &engine{speech: s, bees: []bee{{state: open, got: make([]uint32, 0, 200)}}, recent: times.New()}
		in := (&fakeFront{dialect: d}).notify(1)
		allocs := testing.AllocsPerRun(100, func() {
			if rest, err := e.consume(0, in); err != nil || len(rest) > 0 {
				t.Fatalf("%s: %q is left, %v", d, rest, err)
			}
		})
		if allocs > 0 || e.count.Deliveries != 101 || e.count.Violations != 0 {
			t.Errorf("%s: %v allocations a notification, %+v", d, allocs, e.count)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"t":"reconnect","after_ms":250}`))
	f.Add([]byte(`42["notify",{"data":{"at":5,"n":6`))
	f.Add([]byte(`{"push":{"pub":{"data":{"data":{"at":5,"n":6`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, d := range []Dialect{Homing, Events, SocketIO, Centrifuge} {
			s, _ := d.speech()
			if m := s.read(text); (m.end != nil) != (m.kind == goodbye) {
				t.Fatalf("%s: %q: %+v", d, text, m)
			}
		}
		_, _, _ = homing.readReply(append(text, "\r\n\r\n"...))
	})
}

func TestLagIsByTheHivesClock(t *testing.T) {
	e := &engine{bees: make([]bee, 1), recent: times.New(), swarm: swarm{Ahead: time.Hour}}
	now := time.Now()
	e.deliver(0, stamp{at: now.Add(-time.Hour - time.Second).UnixNano()}, now)
	if lag := time.Duration(e.recent.Max()) * time.Microsecond; lag < 990*time.Millisecond || lag > 1010*time.Millisecond {
		t.Errorf("lag %v, want a second", lag)
	}
}
