package clients

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/bench/times"
)

// polledBee is a client whose session is polled, and the front's end of its connection.
func polledBee(t *testing.T, d Dialect) (*engine, int) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(ends[0]), unix.Close(ends[1]) })
	s, err := d.speech()
	if err != nil {
		t.Fatal(err)
	}
	at := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:81"), netip.MustParseAddrPort("127.0.0.1:82")}
	return &engine{
		epoll: -1, speech: s, tokens: []string{"tok"}, swarm: swarm{Fronts: at, Path: s.path, Count: 1}, recent: times.New(), under: 1,
		bees: []bee{{fd: int32(ends[0]), state: upgrading, poll: new(poll), got: make([]uint32, 0, 500)}},
	}, ends[1]
}

// sent is what the front reads now.
func sent(t *testing.T, fd int) string {
	t.Helper()
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	return string(b[:max(0, n)])
}

func replyOf(body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestPolledSession(t *testing.T) {
	e, front := polledBee(t, Polling)
	for _, step := range []struct{ reply, want string }{
		{`0{"sid":"abc","upgrades":["websocket"]}`, "POST /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\nHost: 127.0.0.1:81\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: 17\r\n\r\n40{\"token\":\"tok\"}"},
		{"ok", "GET /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\nHost: 127.0.0.1:81\r\n\r\n"},
		{"40{\"sid\":\"x\"}\x1e42[\"hello\",{\"t\":\"hello\"}]", "GET "},
		{"2\x1e" + `42["notify",{"t":"notify","id":"a","data":{"at":1,"n":6,"pad":""}}]`, "POST "},
		{"ok", "GET "},
		{"6", "GET "},
	} {
		in := replyOf(step.reply)
		for _, part := range [][]byte{in[:40], in} { // at first not whole
			rest, err := e.consume(0, part)
			if whole := len(part) == len(in); err != nil || (len(rest) == 0) != whole {
				t.Fatalf("%q: %q is left, %v", part, rest, err)
			}
		}
		if got := sent(t, front); !strings.HasPrefix(got, step.want) {
			t.Errorf("after %q it asks %q, want %q", step.reply, got, step.want)
		}
	}
	if b := e.bees[0]; b.state != open || len(b.got) != 1 || b.got[0] != 6 || e.count != (Counts{Open: 1, Deliveries: 1}) {
		t.Errorf("state %d, got %v, %+v", b.state, b.got, e.count)
	}
	if _, err := e.consume(0, replyOf("1")); !errors.Is(err, errFarewell) {
		t.Errorf("the end: %v", err)
	}
}

func TestPolledSessionIsDeclined(t *testing.T) {
	const head = "HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s"
	for name, c := range map[string]struct {
		reply string
		wait  time.Duration
		says  string
	}{
		"unknown":   {fmt.Sprintf(head, "400 Bad Request", "", 10, `{"code":1}`), 0, `{"code":1}`},
		"later":     {fmt.Sprintf(head, "503 Later", "Retry-After: 3\r\n", 2, "{}"), 3 * time.Second, "503"},
		"no length": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, "length"},
		"too long":  {fmt.Sprintf(head, "200 OK", "", 1<<40, ""), 0, "length"},
		"no sid":    {fmt.Sprintf(head, "200 OK", "", 2, "0{"), 0, "no session"},
	} {
		e, _ := polledBee(t, Polling)
		_, err := e.consume(0, []byte(c.reply))
		told, waits := errors.AsType[*waitError](err)
		if err == nil || !strings.Contains(err.Error(), c.says) || waits != (c.wait > 0) || waits && told.wait != c.wait {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPollingFromAfarGoesToTheNextFront(t *testing.T) {
	for d, want := range map[Dialect]string{Polling: "127.0.0.1:81", Foreign: "127.0.0.1:82", Upgraded: "127.0.0.1:81"} {
		e, _ := polledBee(t, d)
		if got := e.at(0).String(); got != "127.0.0.1:81" {
			t.Errorf("%s begins at %s", d, got)
		}
		e.bees[0].poll.sid = "abc"
		if got := e.at(0).String(); got != want {
			t.Errorf("%s goes on at %s, want %s", d, got, want)
		}
	}
}

func TestReadingAPolledNotificationAllocatesNothing(t *testing.T) {
	e, front := polledBee(t, Polling)
	if _, err := e.consume(0, replyOf(`0{"sid":"abc"}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.consume(0, replyOf("ok")); err != nil {
		t.Fatal(err)
	}
	e.bees[0].state = open
	in, out := replyOf((&fakeFront{dialect: SocketIO}).message(1)), make([]byte, 4096)
	allocs := testing.AllocsPerRun(100, func() {
		_, _ = unix.Read(front, out)
		if rest, err := e.consume(0, in); err != nil || len(rest) > 0 {
			t.Fatalf("%q is left, %v", rest, err)
		}
	})
	if allocs > 0 || e.count.Deliveries != 101 || !bytes.HasPrefix(out, []byte("GET ")) {
		t.Errorf("%v allocations, %+v", allocs, e.count)
	}
}
