package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

// openBatch is a batch that a test writes line by line.
type openBatch struct {
	t       *testing.T
	body    *io.PipeWriter
	answers *bufio.Reader
	status  int
}

// openBatch begins a batch, which ends with the test.
func (w *world) openBatch() *openBatch {
	w.t.Helper()
	pr, pw := io.Pipe()
	r := w.request(http.MethodPost, "/notify/batch", "x")
	r.Body, r.ContentLength, r.GetBody = pr, -1, nil
	r.Header.Set("Content-Type", "application/x-ndjson")
	tr := &http.Transport{}
	res, err := tr.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		pw.Close()
		res.Body.Close()
		tr.CloseIdleConnections()
	})
	return &openBatch{t: w.t, body: pw, answers: bufio.NewReader(res.Body), status: res.StatusCode}
}

// write sends part of the body. The server may have ended the batch already.
func (b *openBatch) write(part string) {
	b.t.Helper()
	if _, err := io.WriteString(b.body, part); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		b.t.Logf("write %q: %v", part, err)
	}
}

// answer reads the next line of the reply.
func (b *openBatch) answer() string {
	b.t.Helper()
	l, err := b.answers.ReadString('\n')
	if err != nil {
		b.t.Fatalf("%q, %v", l, err)
	}
	return strings.TrimSuffix(l, "\n")
}

// untilAtRest waits until nothing is taken of the server.
func (w *world) untilAtRest() {
	w.t.Helper()
	s := w.server.gate.share
	for deadline := time.Now().Add(10 * time.Second); s.Open() != 0 || s.Working() != 0 || s.Memory() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%d open, %d working, %d bytes", s.Open(), s.Working(), s.Memory())
		}
	}
}

// tooManyOpen fills the open requests of a key with batches.
func tooManyOpen(t *testing.T) reply {
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.Open = 2 }))
	w.openBatch()
	w.openBatch()
	return w.post("/notify", someone)
}

// tooManyInFlight fills what one key may have in work.
func tooManyInFlight(t *testing.T) reply {
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.InFlight = 1 }))
	w.hub.block = make(chan struct{})
	done := make(chan reply, 1)
	r := w.request(http.MethodPost, "/notify", someone)
	go func() { done <- w.send(r) }()
	for w.server.gate.share.Working() == 0 {
		time.Sleep(time.Millisecond)
	}
	out := w.post("/notify", someone)
	close(w.hub.block)
	wantOK(t, <-done)
	if n := testutil.ToFloat64(w.server.responder.metrics.limited.WithLabelValues("backend", "in_flight")); n != 1 {
		t.Errorf("counted %v", n)
	}
	return out
}

// TestOneKeyDoesNotShutOutOthers: a key with as many idle batches, slow bodies
// and waits as it may have leaves every slot to the others.
func TestOneKeyDoesNotShutOutOthers(t *testing.T) {
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.Open = 6 }), withConfig(func(c *Config) { c.MaxInFlight = 1 }))
	other := w.addKey("other")
	for range 2 {
		if b := w.openBatch(); b.status != http.StatusOK {
			t.Fatalf("batch: %d", b.status)
		}
	}
	for range 2 {
		w.slowBody()
	}
	w.hub.set(func(h *fakeHub) { h.receipts = make(chan struct{}) })
	waits := make(chan reply, 2)
	for range 2 {
		r := w.request(http.MethodPost, "/notify", `{"users":["ann"],"data":1,"wait":"5s"}`)
		go func() { waits <- w.send(r) }()
		w.until("a wait is open", func() bool { return w.hub.waiting() > len(waits) && w.server.gate.share.Working() == 0 })
	}
	w.until("all are open", func() bool {
		return w.server.gate.share.Open() == 6 && w.hub.waiting() == 2 && w.server.gate.share.Working() == 0
	})
	wantCode(t, w.post("/notify", someone), CodeTooManyOpen)
	own := w.key
	w.key = other
	wantOK(t, w.post("/notify", someone))
	w.key = own
	close(w.hub.receipts)
	for range 2 {
		wantOK(t, <-waits)
	}
}

// slowBody sends half a request, which stays open until the test ends.
func (w *world) slowBody() {
	w.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "POST /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n{", w.key)
}

// until waits for something that must become true.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

// TestBodiesAreBoundedInBytes: a key holds a quarter of the memory, counted as
// the bytes come and not as a header promises them.
func TestBodiesAreBoundedInBytes(t *testing.T) {
	w := newWorld(t, withConfig(func(c *Config) {
		c.BodyLimit = 256 << 10
		c.BodyMemory = keyShare * (int64(c.BodyLimit) + batchMemory)
	}))
	for range 10 { // promises of 10 times as much as there is
		w.slowBody()
	}
	w.until("all promises are open", func() bool { return w.server.gate.share.Open() == 10 })
	if held := w.server.gate.share.Memory(); held > 10*bodyStep {
		t.Errorf("%d bytes held for 10 that came", held)
	}
	large := `{"users":["ann"],"data":"` + strings.Repeat("x", 60<<10) + `"` + strings.Repeat(" ", 180<<10) + `}`
	wantCode(t, w.send(w.request(http.MethodPost, "/notify", large)), CodeTooManyInFlight)
	own := w.key
	w.key = w.addKey("other")
	wantOK(t, w.post("/notify", large))
	w.key = own
}

// TestBatchLinesAreBoundedInBytes: a line for which there is no memory is
// refused alone, and a long one gives back what it took.
func TestBatchLinesAreBoundedInBytes(t *testing.T) {
	w := newWorld(t, withConfig(func(c *Config) {
		c.BodyLimit = 256 << 10
		c.BodyMemory = keyShare * (int64(c.BodyLimit) + batchMemory)
	}))
	first, second := w.openBatch(), w.openBatch()
	long := `{"users":["ann"],"data":1}` + strings.Repeat(" ", 150<<10)
	first.write(long)
	w.until("the first has its memory", func() bool { return w.server.gate.share.Memory() > 2*batchMemory+100<<10 })
	second.write(long + "\n" + someone + "\n")
	if l := second.answer(); parseLine(t, l).Code != CodeTooManyInFlight {
		t.Errorf("got %s", l)
	}
	if l := second.answer(); parseLine(t, l).Targets != 1 {
		t.Errorf("got %s", l)
	}
	first.write("\n")
	if l := first.answer(); parseLine(t, l).Targets != 1 {
		t.Errorf("got %s", l)
	}
	w.until("the memory is given back", func() bool { return w.server.gate.share.Memory() <= 2*batchMemory+2*pooledBody })
}

// TestWorkIsCharged: a request costs by what it has the hub do.
func TestWorkIsCharged(t *testing.T) {
	users := func(n int) string {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprintf(`"u%d"`, i)
		}
		return strings.Join(ids, ",")
	}
	kib := `"` + strings.Repeat("x", 1022) + `"` // 1 KiB of data
	for name, c := range map[string]struct {
		path, body string
		cost       int
	}{
		"small":        {"/notify", someone, 1},
		"many users":   {"/notify", `{"users":[` + users(1000) + `],"data":1}`, 1 + 10},
		"much written": {"/notify", `{"users":[` + users(1000) + `],"data":` + kib + `}`, 1 + 10 + 125},
		"stored":       {"/notify", `{"users":[` + users(1000) + `],"data":1,"store":"1h"}`, 1 + 10 + 100},
		"named":        {"/notify?per_user=1", `{"users":[` + users(1000) + `],"data":1,"wait":"1ms"}`, 1 + 10 + 10},
		"long body":    {"/notify", someone + strings.Repeat(" ", 160<<10), 1 + 10},
		"broadcast":    {"/broadcast", `{"data":1}`, 1 + costBroadcast},
		"query":        {"/users/query", `{"users":[` + users(1000) + `]}`, 1 + 10},
	} {
		t.Run(name, func(t *testing.T) {
			const burst = 1000
			w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 1e-6, burst }))
			wantOK(t, w.post(c.path, c.body))
			if cost := w.spent(burst); cost != c.cost {
				t.Errorf("cost %d, want %d", cost, c.cost)
			}
		})
	}
}

// TestLargeRequestsArePaidOff: a request may cost more than the burst; the key
// is in debt then.
func TestLargeRequestsArePaidOff(t *testing.T) {
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 1, 2 }))
	large := `{"users":["ann"],"data":1}` + strings.Repeat(" ", 1<<20)
	wantOK(t, w.post("/notify", large))
	out := w.post("/notify", someone)
	wantCode(t, out, CodeRateLimited)
	if after := out.header.Get("Retry-After"); after != "30" { // of 64 s: bounded
		t.Errorf("Retry-After: %q", after)
	}
}

// TestBroadcastIsPaidAfterwards: what a broadcast costs is known when it is out.
func TestBroadcastIsPaidAfterwards(t *testing.T) {
	n := &hub.Notification{Data: []byte(strings.Repeat("x", 1<<10))}
	if cost := costOfBroadcast(n, 10_000); cost != 100+1250 {
		t.Errorf("cost %d", cost)
	}
}

// TestStrangersAreRefusedUnread: without a key nothing of a body is read, and
// the connection ends.
func TestStrangersAreRefusedUnread(t *testing.T) {
	w := newWorld(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST /notify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized || !res.Close {
		t.Errorf("got %d, close %t", res.StatusCode, res.Close)
	}
	if _, strangers := w.server.conns.Open(); strangers != 1 {
		t.Errorf("%d strangers", strangers)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection goes on: %v", err)
	}
	if open := w.server.gate.share.Open(); open != 0 {
		t.Errorf("%d open", open)
	}
}

// TestConnectionsOfOneKey: those beyond the limit are served and end.
func TestConnectionsOfOneKey(t *testing.T) {
	w := newWorld(t, withConfig(func(c *Config) { c.KeyConnections = 1 }))
	get := func(tr *http.Transport) *http.Response {
		res, err := tr.RoundTrip(w.request(http.MethodGet, "/users/ann", ""))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res
	}
	first, second := &http.Transport{}, &http.Transport{}
	defer second.CloseIdleConnections()
	if res := get(first); res.StatusCode != http.StatusOK || res.Close {
		t.Errorf("first: %d, close %t", res.StatusCode, res.Close)
	}
	if res := get(second); res.StatusCode != http.StatusOK || !res.Close {
		t.Errorf("second: %d, close %t", res.StatusCode, res.Close)
	}
	first.CloseIdleConnections()
	w.until("there is room again", func() bool { return !get(second).Close })
}

// TestRefusedBodiesAreSkipped: a caller over its rate keeps its connection when
// the body comes, and loses it when it does not.
func TestRefusedBodiesAreSkipped(t *testing.T) {
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 1e-6, 1 }))
	wantOK(t, w.post("/notify", someone))
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for _, whole := range []bool{true, true, false} {
		fmt.Fprintf(c, "POST /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", w.key, len(someone))
		if whole {
			_, _ = io.WriteString(c, someone)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusTooManyRequests || res.Close == whole {
			t.Errorf("whole %t: got %d, close %t", whole, res.StatusCode, res.Close)
		}
	}
}

// TestWhatNobodyPaysForIsPaced: who asks for what needs no key, or is refused,
// waits when it does so too often, so that it cannot keep the server busy.
func TestWhatNobodyPaysForIsPaced(t *testing.T) {
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 1, 1 }))
	paced := func(first, path, key string, free int) bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in := bufio.NewReader(c)
		ask := func(path, key string) {
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n", path)
			if key != "" {
				fmt.Fprintf(c, "Authorization: Bearer %s\r\n", key)
			}
			fmt.Fprint(c, "\r\n")
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		if first != "" {
			ask("/users/ann", first)
		}
		before := testutil.ToFloat64(w.server.responder.metrics.paced)
		for range 5 * free { // a slow machine makes good some of it meanwhile
			ask(path, key)
			if testutil.ToFloat64(w.server.responder.metrics.paced) > before {
				return true
			}
		}
		return false
	}
	for _, path := range []string{"/nothing", "/problems", "/openapi.yaml", "/healthz", "/users/ann"} {
		if !paced("", path, "", 100) {
			t.Errorf("%s is never paced without a key", path)
		}
	}
	if !paced(w.key, "/users/ann", w.key, 1000) {
		t.Error("refusals of a key over its rate are never paced")
	}
	if open := w.server.gate.share.Open(); open != 0 {
		t.Errorf("%d open", open)
	}
}

// spent is how much of burst, which does not grow again, was taken of w's key.
func (w *world) spent(burst int) int {
	w.t.Helper()
	key, _ := w.server.gate.keys.Lookup(w.key)
	left := 0
	for key.Take(time.Now(), 1) == 0 {
		left++
	}
	return burst - left
}

// TestWhatIsRefusedIsCharged: to find out that a body says nothing costs what it
// would have cost to read it.
func TestWhatIsRefusedIsCharged(t *testing.T) {
	const burst = 1000
	long := strings.Repeat(" ", 160<<10)
	start := func(t *testing.T) *world {
		return newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 1e-6, burst }), withConfig(func(c *Config) { c.BodyLimit = 256 << 10 }))
	}
	for path, body := range map[string]string{
		"/notify":      long + `{"users":["ann"],"data":1`,
		"/broadcast":   long + `{"data":1`,
		"/users/query": long + `{"users":["ann"]`,
	} {
		t.Run(path, func(t *testing.T) {
			w := start(t)
			wantCode(t, w.send(w.request(http.MethodPost, path, body)), CodeMalformedJSON)
			if cost := w.spent(burst); cost != 11 {
				t.Errorf("cost %d, want 11", cost)
			}
		})
	}
	for code, line := range map[Code]string{
		CodeMalformedJSON: long + "{\n",
		CodeBodyTooLarge:  long + long + long + "\n",
	} {
		t.Run("line "+string(code), func(t *testing.T) {
			w := start(t)
			b := w.openBatch()
			b.write(line)
			if l := b.answer(); parseLine(t, l).Code != code {
				t.Errorf("got %s", l)
			}
			if cost, want := w.spent(burst), 1+len(line)/unitBody; cost != want {
				t.Errorf("cost %d, want %d", cost, want)
			}
		})
	}
}

// TestADebtorIsNotRead: what a key in debt sends is not decoded.
func TestADebtorIsNotRead(t *testing.T) {
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 1e-6, 10 }))
	key, _ := w.server.gate.keys.Lookup(w.key)
	r := w.request(http.MethodPost, "/notify", "x")
	pr, pw := io.Pipe()
	r.Body, r.ContentLength, r.GetBody = pr, -1, nil
	done := make(chan reply, 1)
	go func() { done <- w.send(r) }()
	w.until("its body is waited for", func() bool { return w.server.gate.share.Memory() > 0 })
	if wait := key.Take(time.Now(), 20); wait > 0 {
		t.Fatalf("in debt by %v", wait)
	}
	if _, err := io.WriteString(pw, strings.Repeat("x", 20<<10)); err != nil {
		t.Error(err)
	}
	pw.Close()
	wantCode(t, <-done, CodeRateLimited)
}

// TestABatchDoesNotOutliveItsKey: what the file of keys says now holds for the
// next line of a batch that began before.
func TestABatchDoesNotOutliveItsKey(t *testing.T) {
	w := newWorld(t)
	before, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	rewrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.server.gate.keys.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	_, other, _ := apikey.Generate("other", apikey.AllScopes())
	for code, text := range map[Code]string{
		CodeKeyUnknown:     "keys:\n" + other.YAML(),
		CodeScopeMissing:   strings.Replace(string(before), "- notify\n", "- presence\n", 1),
		CodeFromNotAllowed: string(before) + "    from: [shop]\n",
	} {
		rewrite(string(before))
		b := w.openBatch()
		b.write(someone + "\n")
		if l := b.answer(); parseLine(t, l).Targets != 1 {
			t.Fatalf("got %s", l)
		}
		rewrite(text)
		b.write(someone + "\n")
		if l := b.answer(); parseLine(t, l).Code != code {
			t.Errorf("got %s, want %s", l, code)
		}
	}
}

// TestLargeRequestsTakeTurns: of one key's large requests, and lines, few are
// worked on, so that the CPUs are not all theirs.
func TestLargeRequestsTakeTurns(t *testing.T) {
	w := newWorld(t)
	w.hub.block = make(chan struct{})
	large := strings.Repeat(" ", largest) + someone
	most := int(w.server.cfg.shareOfKey().Large / largest)
	n := most + 2
	done := make(chan reply, n)
	for range n {
		r := w.request(http.MethodPost, "/notify", large)
		go func() { done <- w.send(r) }()
	}
	b := w.openBatch()
	b.write(large + "\n")
	w.until("all of them are there, and few are worked on", func() bool {
		return w.server.gate.share.Open() == int64(n)+1 && w.server.gate.share.Memory() > int64(n+1)*largest && w.server.gate.share.Working() == int64(most)
	})
	small := make(chan reply, 1)
	r := w.request(http.MethodPost, "/notify", someone)
	go func() { small <- w.send(r) }()
	w.until("a small one is worked on", func() bool { return w.server.gate.share.Working() == int64(most)+1 })
	close(w.hub.block)
	wantOK(t, <-small)
	for range n {
		wantOK(t, <-done)
	}
	if l := b.answer(); parseLine(t, l).Code != "" {
		t.Errorf("the line: %s", l)
	}
	if waited := testutil.ToFloat64(w.server.responder.metrics.limited.WithLabelValues("backend", "large")); waited < 2 {
		t.Errorf("%v have waited", waited)
	}
}
