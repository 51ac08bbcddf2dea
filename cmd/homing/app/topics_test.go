package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

// speaker is a client's connection that is spoken to and read by hand.
type speaker struct {
	*client.Conn

	t    *testing.T
	refs int
}

// speak connects user to the front at the place, with what its token says of topics.
func (s *stack) speak(t *testing.T, front int, user hub.UserID, topics *auth.Topics) *speaker {
	t.Helper()
	token, err := auth.Mint(s.secret, auth.Identity{User: user, Topics: topics}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), client.Options{URL: s.fronts[front], Token: func(context.Context) (string, error) { return token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Abort() })
	return &speaker{Conn: c, t: t}
}

// next reads the next message, which must be of one of kinds.
func (s *speaker) next(kinds ...string) map[string]any {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), clientPatience)
	defer cancel()
	m, err := s.Receive(ctx)
	if err != nil {
		s.t.Fatalf("waiting for %s: %v", kinds, err)
	}
	if !slices.Contains(kinds, m.Kind) {
		s.t.Fatalf("read %s, want %s", m.Raw, kinds)
	}
	var fields map[string]any
	if err := json.Unmarshal(m.Raw, &fields); err != nil {
		s.t.Fatal(err)
	}
	return fields
}

// publish publishes to a topic that the speaker is a member of, again while the front
// says that it cannot yet, and returns what it hears of that.
func (s *speaker) publish(text string) (heard map[string]any) {
	s.t.Helper()
	for deadline := time.Now().Add(clientPatience); ; time.Sleep(100 * time.Millisecond) {
		s.say("%s", text)
		first := s.next("notify", "published", "error")
		switch {
		case first["t"] == "notify":
			s.next("published")
			return first
		case first["t"] == "published":
			return s.next("notify")
		case first["code"] != "unavailable" || time.Now().After(deadline):
			s.t.Fatalf("publish: %v", first)
		}
	}
}

// say sends a message with a reference of its own.
func (s *speaker) say(format string, args ...any) {
	s.t.Helper()
	s.refs++
	text := strings.TrimSuffix(fmt.Sprintf(format, args...), "}") + fmt.Sprintf(`,"ref":%d}`, s.refs)
	if err := s.Send([]byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

// ask says something and reads the answer, which must be of kind.
func (s *speaker) ask(kind, format string, args ...any) map[string]any {
	s.t.Helper()
	s.say(format, args...)
	got := s.next(kind)
	if got["ref"] != float64(s.refs) {
		s.t.Fatalf("%v answers another message than %d", got, s.refs)
	}
	return got
}

// quiet fails when anything comes before the answer to a ping.
func (s *speaker) quiet() {
	s.t.Helper()
	s.ask("ok", `{"t":"ping"}`)
}

// call asks an API server and returns its answer, whose status must be want.
func (s *stack) call(t *testing.T, method, path, body string, want int) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.apis[0]+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != want {
		t.Fatalf("%s %s: HTTP %d, want %d: %s", method, path, res.StatusCode, want, reply)
	}
	var fields map[string]any
	if err := json.NewDecoder(bytes.NewReader(reply)).Decode(&fields); err != nil {
		t.Fatalf("%s: %v", reply, err)
	}
	return fields
}

func member(topics ...hub.Topic) *auth.Topics { return &auth.Topics{Member: topics} }

// TestTopic has members on two fronts, by their tokens, by their own wish and by a
// backend's, and each hears everything once.
func TestTopic(t *testing.T) {
	s := newStack(t)
	ann := s.speak(t, 0, "ann", member("guild:7", "region:eu"))
	bob := s.speak(t, 1, "bob", &auth.Topics{MayJoin: hub.TopicPatterns{"guild:*"}, MayPublish: hub.TopicPatterns{"guild:7"}})
	eve := s.speak(t, 1, "eve", nil)

	t.Run("client", func(t *testing.T) {
		bob.ask("subscribed", `{"t":"subscribe","topic":"guild:7"}`)
		bob.ask("subscribed", `{"t":"subscribe","topic":"guild:7"}`) // again
		for code, topic := range map[string]string{"not_allowed": "region:eu", "bad_topic": "a b"} {
			if got := bob.ask("error", `{"t":"subscribe","topic":%q}`, topic); got["code"] != code {
				t.Errorf("%v, want %s", got, code)
			}
		}
		heard := bob.publish(`{"t":"publish","topic":"guild:7","type":"chat","data":{"text":"hi"}}`)
		for _, got := range []map[string]any{ann.next("notify"), heard} {
			if got["user"] != "bob" || got["type"] != "chat" || fmt.Sprint(got["topics"]) != "[guild:7]" {
				t.Errorf("%v", got)
			}
		}
		for code, text := range map[string]string{
			"not_allowed": `{"t":"publish","topic":"guild:8","data":1}`,
			"bad_json":    `{"t":"publish","topic":"guild:7"}`,
			"too_large":   `{"t":"publish","topic":"guild:7","data":"` + strings.Repeat("x", hub.MaxPublish) + `"}`,
		} {
			if got := bob.ask("error", "%s", text); got["code"] != code || got["of"] != "publish" {
				t.Errorf("%v, want %s", got, code)
			}
		}
		if got := ann.ask("error", `{"t":"publish","topic":"guild:7","data":1}`); got["code"] != "not_allowed" {
			t.Errorf("%v", got)
		}
	})
	t.Run("once", func(t *testing.T) {
		got := s.call(t, "POST", "/notify", `{"users":["ann","bob","nobody"],"topics":["guild:7","region:eu","guild:7"],"data":1,"wait":"2s"}`, 200)
		if got["targets"] != 3.0 || got["online"] != 2.0 || got["offline"] != 1.0 || got["topics"] != 2.0 {
			t.Errorf("%v", got)
		}
		report, _ := got["report"].(map[string]any)
		if report["written"] != 2.0 || report["offline"] != 1.0 {
			t.Errorf("%v", report)
		}
		for _, m := range []*speaker{ann, bob} {
			m.next("notify")
			m.quiet()
		}
		got = s.call(t, "POST", "/notify", `{"topics":["guild:7","none"],"services":[],"data":1,"wait":"2s"}`, 200)
		report, _ = got["report"].(map[string]any)
		if got["topics"] != 1.0 || fmt.Sprint(report["topics"]) != "map[guild:7:2]" {
			t.Errorf("%v", got)
		}
		ann.next("notify")
		bob.next("notify")
		eve.quiet()
	})
	t.Run("backend", func(t *testing.T) {
		got := s.call(t, "POST", "/topics/guild:7/join", `{"users":["eve","nobody"]}`, 200)
		if got["done"] != 1.0 || fmt.Sprint(got["away"]) != "[nobody]" {
			t.Errorf("%v", got)
		}
		eve.next("subscribed")
		if got := s.call(t, "GET", "/topics/guild:7", "", 200); got["connections"] != 3.0 || got["users"] != 3.0 || got["processes"] != 2.0 {
			t.Errorf("%v", got)
		}
		got = s.call(t, "GET", "/topics/guild:7/members?limit=2", "", 200)
		if fmt.Sprint(got["members"]) != "[map[connections:1 user:ann] map[connections:1 user:bob]]" || got["next"] != "bob" {
			t.Errorf("%v", got)
		}
		got = s.call(t, "GET", "/topics/guild:7/members?limit=2&after=bob", "", 200)
		if fmt.Sprint(got["members"]) != "[map[connections:1 user:eve]]" || got["next"] != nil {
			t.Errorf("%v", got)
		}
		if got := s.call(t, "GET", "/topics?prefix=guild", "", 200); fmt.Sprint(got["topics"]) != "[map[connections:3 topic:guild:7]]" {
			t.Errorf("%v", got)
		}
		s.call(t, "POST", "/topics/guild:7/leave", `{"users":["eve"]}`, 200)
		eve.next("unsubscribed")
		s.call(t, "POST", "/notify", `{"topics":["guild:7"],"data":1,"wait":"2s"}`, 200)
		ann.next("notify")
		bob.next("notify")
		eve.quiet()
		bob.ask("unsubscribed", `{"t":"unsubscribe","topic":"guild:7"}`)
		if got := bob.ask("error", `{"t":"unsubscribe","topic":"guild:7"}`); got["code"] != "not_subscribed" {
			t.Errorf("%v", got)
		}
		_ = ann.Close()
		for deadline := time.Now().Add(clientPatience); ; time.Sleep(20 * time.Millisecond) {
			if got := s.call(t, "POST", "/notify", `{"topics":["guild:7"],"data":1}`, 200); got["topics"] == 0.0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("a topic without members is still found")
			}
		}
	})
	t.Run("bad", func(t *testing.T) {
		for _, body := range []string{
			`{"topics":["a b"],"data":1}`, `{"topics":[""],"data":1}`, `{"topics":[],"data":1}`, `{"data":1}`,
			`{"topics":["a"],"data":1,"store":"1h"}`, `{"users":["a"],"data":1,"keep":{"count":1,"age":"1h"}}`,
			`{"topics":["a"],"data":1,"keep":{"count":0,"age":"1h"}}`, `{"topics":["a"],"data":1,"keep":{"count":1}}`,
			`{"topics":["` + strings.Repeat("x", hub.MaxTopic+1) + `"],"data":1}`,
			`{"topics":["` + strings.Join(slices.Repeat([]string{"x"}, hub.MaxTopics+1), `","`) + `"],"data":1}`,
		} {
			if got := s.call(t, "POST", "/notify", body, 400); got["code"] != "invalid_field" && got["code"] != nil {
				t.Logf("%s: %v", body, got)
			}
		}
		s.call(t, "GET", "/topics/a%20b", "", 400)
		s.call(t, "GET", "/topics?limit=0", "", 400)
	})
}

// TestTopicServices sends to members of services that there are none of, and to a topic
// whose last member has just left: nothing is handed over for long.
func TestTopicServices(t *testing.T) {
	s := newStack(t)
	ann := s.speak(t, 0, "ann", member("guild:7"))
	bob := s.speak(t, 1, "bob", member("guild:7"))
	s.call(t, "POST", "/notify", `{"topics":["guild:7"],"services":["chess"],"data":1}`, 200)
	s.call(t, "POST", "/notify", `{"topics":["guild:7"],"data":2,"wait":"2s"}`, 200)
	for _, m := range []*speaker{ann, bob} {
		if got := m.next("notify"); got["data"] != 2.0 {
			t.Errorf("%v", got)
		}
	}
	time.Sleep(time.Second) // in which a storm would have begun
	for _, m := range []*speaker{ann, bob} {
		m.quiet()
	}
	for i, reg := range s.registries {
		if n := metric(t, reg, "homing_notify_returned_total"); n > 0 {
			t.Errorf("process %d has returned %v users", i, n)
		}
	}
}

// TestTopicHistory has clients come with a place, or without one, and hear what they have
// missed and then what is live, in order.
func TestTopicHistory(t *testing.T) {
	s := newStack(t)
	may := &auth.Topics{MayJoin: hub.TopicPatterns{"*"}, MayPublish: hub.TopicPatterns{"*"}}
	send := func(n int) string {
		got := s.call(t, "POST", "/notify", fmt.Sprintf(`{"topics":["chat"],"data":%d,"keep":{"count":5,"age":"1h"}}`, n), 200)
		return got["id"].(string)
	}
	var ids []string
	for n := range 4 {
		ids = append(ids, send(n))
	}
	heard := func(m *speaker, want ...int) {
		t.Helper()
		for _, n := range want {
			if got := m.next("notify"); got["data"] != float64(n) {
				t.Fatalf("%v, want %d", got, n)
			}
		}
	}
	late := s.speak(t, 0, "late", may)
	got := late.ask("subscribed", `{"t":"subscribe","topic":"chat","after":""}`)
	if got["recovered"] != true || got["count"] != 4.0 || got["last"] != ids[3] {
		t.Errorf("%v", got)
	}
	heard(late, 0, 1, 2, 3)
	send(4)
	heard(late, 4)
	late.quiet()

	gone := s.speak(t, 1, "gone", may)
	got = gone.ask("subscribed", `{"t":"subscribe","topic":"chat","after":"unheard-of"}`)
	if got["recovered"] != false || got["count"] != 5.0 {
		t.Errorf("%v", got)
	}
	heard(gone, 0, 1, 2, 3, 4)
	for n := 5; n < 12; n++ {
		send(n)
	}
	heard(gone, 5, 6, 7, 8, 9, 10, 11)

	back := s.speak(t, 1, "back", may)
	if got = back.ask("subscribed", `{"t":"subscribe","topic":"chat","after":%q}`, ids[3]); got["recovered"] != false || got["count"] != 5.0 {
		t.Errorf("%v", got) // 5 and 6 are not kept any more
	}
	heard(back, 7, 8, 9, 10, 11)
	back.ask("unsubscribed", `{"t":"unsubscribe","topic":"chat"}`)
	back.ask("subscribed", `{"t":"subscribe","topic":"chat"}`)
	back.quiet()

	got = s.call(t, "GET", "/topics/chat/history?limit=2", "", 200)
	if list, _ := got["messages"].([]any); len(list) != 2 || list[1].(map[string]any)["data"] != 11.0 || got["recovered"] != false {
		t.Errorf("%v", got)
	}
}

// metric is the sum of the counters of a name.
func metric(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
