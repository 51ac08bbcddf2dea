package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/topic"
)

// fakeTopics has a topic guild:7, whose members are ann, twice, and bob. cleo is not
// online, and dan is a member of too many topics.
type fakeTopics struct {
	mu    sync.Mutex
	err   error // answer of every method, when set
	asked []string
}

func (f *fakeTopics) ask(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeTopics) fates(users []hub.UserID) (fates []hub.TopicFate) {
	for _, u := range users {
		fates = append(fates, map[hub.UserID]hub.TopicFate{"ann": hub.TopicDone, "bob": hub.TopicDone, "dan": hub.TopicFull}[u])
	}
	return fates
}

func (f *fakeTopics) Join(_ context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error) {
	return f.fates(users), f.ask("join %s %v", name, users)
}

func (f *fakeTopics) Leave(_ context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error) {
	return f.fates(users), f.ask("leave %s %v", name, users)
}

func (f *fakeTopics) Members(_ context.Context, name hub.Topic, after hub.UserID, limit int) (topic.Members, error) {
	all := []topic.Member{{User: "ann", Connections: 2}, {User: "bob", Connections: 1}}
	all = slices.DeleteFunc(all, func(m topic.Member) bool { return m.User <= after })
	return topic.Members{Users: 2, Connections: 3, Processes: 1, Page: all[:min(limit, len(all))]}, f.ask("members %s %q %d", name, after, limit)
}

func (f *fakeTopics) List(_ context.Context, prefix string, after hub.Topic, limit int) ([]hub.TopicCount, error) {
	return []hub.TopicCount{{Topic: "guild:7", Connections: 3}}[:min(1, limit)], f.ask("list %q %q %d", prefix, after, limit)
}

func (f *fakeTopics) Read(_ context.Context, name hub.Topic, after string) (hub.Missed, error) {
	m := hub.Missed{Recovered: true, Last: "2"}
	for _, id := range []string{"1", "2"} {
		m.Entries = append(m.Entries, hub.Stored{ID: id, Payload: []byte(`{"t":"notify","id":"` + id + `","data":1}`)})
	}
	return m, f.ask("read %s %q", name, after)
}

func TestTopicMembers(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]string{
		"/topics?prefix=g&limit=1":                   `{"topics":[{"topic":"guild:7","connections":3}],"next":"guild:7"}`,
		"/topics/guild:7":                            `{"topic":"guild:7","users":2,"connections":3,"processes":1}`,
		"/topics/guild:7/members":                    `{"topic":"guild:7","members":[{"user":"ann","connections":2},{"user":"bob","connections":1}]}`,
		"/topics/guild:7/members?limit=1":            `{"topic":"guild:7","members":[{"user":"ann","connections":2}],"next":"ann"}`,
		"/topics/guild:7/members?limit=1&after=zoe":  `{"topic":"guild:7","members":[]}`,
		"/topics/guild:7/history?after=0&limit=1000": `{"topic":"guild:7","messages":[{"t":"notify","id":"1","data":1},{"t":"notify","id":"2","data":1}],"recovered":true,"last":"2"}`,
		"/topics/guild:7/history?limit=1":            `{"topic":"guild:7","messages":[{"t":"notify","id":"2","data":1}],"recovered":false,"last":"2"}`,
	} {
		out := w.get(path)
		wantOK(t, out)
		if got := strings.TrimSpace(string(out.body)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	wantOK(t, w.send(w.request(http.MethodGet, "/topics/a%2Fb", "")))
	if got := w.topics.asked[len(w.topics.asked)-1]; got != `members a/b "" 0` {
		t.Errorf("asked %s", got)
	}
	for _, path := range []string{"/topics/a%20b", "/topics/" + strings.Repeat("x", 129), "/topics?limit=0", "/topics?limit=1001", "/topics/a/members?limit=x", "/topics/a/history?limit=-1"} {
		wantCode(t, w.send(w.request(http.MethodGet, path, "")), CodeInvalidField)
	}
	w.topics.err = hub.ErrUnavailable
	for _, path := range []string{"/topics", "/topics/a", "/topics/a/members", "/topics/a/history"} {
		wantCode(t, w.get(path), CodeUnavailable)
	}
}

func TestTopicChange(t *testing.T) {
	w := newWorld(t)
	for _, what := range []string{"join", "leave"} {
		out := w.post("/topics/guild:7/"+what, `{"users":["ann","cleo","bob","ann","dan"]}`)
		wantOK(t, out)
		if got, want := strings.TrimSpace(string(out.body)), `{"topic":"guild:7","done":2,"away":["cleo"],"full":["dan"]}`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if got := w.topics.asked[len(w.topics.asked)-1]; got != what+" guild:7 [ann cleo bob dan]" {
			t.Errorf("asked %s", got)
		}
		wantCode(t, w.post("/topics/guild:7/"+what, `{"users":[]}`), CodeInvalidField)
		wantCode(t, w.post("/topics/guild:7/"+what, `{"users":["a b"]}`), CodeInvalidField)
		wantCode(t, w.post("/topics/a%20b/"+what, `{"users":["ann"]}`), CodeInvalidField)
	}
	w.topics.err = hub.ErrUnavailable
	wantCode(t, w.post("/topics/guild:7/join", `{"users":["ann"]}`), CodeUnavailable)
}

func TestDecodeTopics(t *testing.T) {
	list := func(n int) string {
		b, _ := json.Marshal(slices.Repeat([]string{"a"}, n)) // strings always marshal
		return string(b)
	}
	for body, field := range map[string]string{
		`{"topics":["a"],"data":1}`:                                           "",
		`{"topics":` + list(hub.MaxTopics) + `,"users":["a"],"data":1}`:       "",
		`{"topics":["a"],"keep":{"count":1000,"age":"720h"},"data":1}`:        "",
		`{"topics":` + list(hub.MaxTopics+1) + `,"data":1}`:                   "topics",
		`{"topics":["a b"],"data":1}`:                                         "topics[0]",
		`{"topics":["a",""],"data":1}`:                                        "topics[1]",
		`{"topics":[],"data":1}`:                                              "users",
		`{"topics":["a"],"users":["a b"],"data":1}`:                           "users[0]",
		`{"topics":["a"],"store":"1h","data":1}`:                              "store",
		`{"users":["a"],"keep":{"count":1,"age":"1h"},"data":1}`:              "keep",
		`{"topics":["a"],"keep":{"count":0,"age":"1h"},"data":1}`:             "keep.count",
		`{"topics":["a"],"keep":{"count":1001,"age":"1h"},"data":1}`:          "keep.count",
		`{"topics":["a"],"keep":{"count":1,"age":"1ms"},"data":1}`:            "keep.age",
		`{"topics":["a"],"keep":{"count":1,"age":"x"},"data":1}`:              "keep.age",
		`{"topics":["a"],"keep":{"count":1},"data":1}`:                        "keep.age",
		`{"topics":["a"],"data":1,"x":"` + strings.Repeat(",", 20_000) + `"}`: "x",
	} {
		_, err := DecodeNotify([]byte(body))
		got := ""
		if e, ok := errors.AsType[*Error](err); ok {
			got = e.Field
		}
		if (err == nil) != (field == "") || got != field {
			t.Errorf("%.80s: %v, want field %q", body, err, field)
		}
	}
}
