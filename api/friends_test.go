package api

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

// fakeFriends keeps lists in memory.
type fakeFriends struct {
	mu    sync.Mutex
	lists map[hub.UserID][]hub.UserID
	err   error
}

func (f *fakeFriends) Put(_ context.Context, user hub.UserID, friends []hub.UserID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lists == nil {
		f.lists = make(map[hub.UserID][]hub.UserID)
	}
	if f.err == nil {
		f.lists[user] = friends
	}
	return f.err
}

func (f *fakeFriends) Get(_ context.Context, user hub.UserID) ([]hub.UserID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lists[user], f.err
}

func (f *fakeFriends) Delete(_ context.Context, user hub.UserID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.lists, user)
	return f.err
}

func TestFriendsAreStored(t *testing.T) {
	w := newWorld(t)
	const path = "/users/ann/friends"
	for _, c := range []struct {
		method, body, want string
	}{
		{http.MethodGet, "", `{"user":"ann","friends":[]}`},
		{http.MethodPut, `{"friends":["bob","cy"]}`, `{"user":"ann","friends":["bob","cy"]}`},
		{http.MethodGet, "", `{"user":"ann","friends":["bob","cy"]}`},
		{http.MethodPut, `{"friends":[]}`, `{"user":"ann","friends":[]}`},
		{http.MethodPut, `{"friends":["bob"]}`, `{"user":"ann","friends":["bob"]}`},
		{http.MethodDelete, "", `{"user":"ann","friends":[]}`},
		{http.MethodGet, "", `{"user":"ann","friends":[]}`},
	} {
		out := w.do(w.request(c.method, path, c.body))
		if out.status != http.StatusOK || strings.TrimSpace(string(out.body)) != c.want {
			t.Errorf("%s %s: %d %s, want %s", c.method, c.body, out.status, out.body, c.want)
		}
	}
}

func TestFriendsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	many := strings.TrimSuffix(strings.Repeat(`"x",`, hub.MaxFriends+1), ",")
	for body, code := range map[string]Code{
		`{"friends":[` + many + `]}`:   CodeInvalidField,
		`{"friends":["bob","bob"]}`:    CodeInvalidField,
		`{"friends":["ann"]}`:          CodeInvalidField,
		`{"friends":["a b"]}`:          CodeInvalidField,
		`{}`:                           CodeInvalidField,
		`{"friends":null}`:             CodeInvalidField,
		`{"friends":"bob"}`:            CodeWrongType,
		`{"friends":["bob"],"more":1}`: CodeUnknownField,
		`{"friends":["bob"`:            CodeMalformedJSON,
	} {
		wantCode(t, w.send(w.request(http.MethodPut, "/users/ann/friends", body)), code)
	}
	w.friends.err = hub.ErrUnavailable
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		wantCode(t, w.do(w.request(method, "/users/ann/friends", "")), CodeUnavailable)
	}
	if _, ok := w.friends.lists["ann"]; ok {
		t.Error("something was stored")
	}
}

// TestListsOfFriendsCost: to store one costs 2 units, and 1 for each 100 friends.
func TestListsOfFriendsCost(t *testing.T) {
	for n, want := range map[int]int{0: 2, 99: 2, 100: 3, 300: 5} {
		if got := costOfFriends(n); got != want {
			t.Errorf("%d friends cost %d, want %d", n, got, want)
		}
	}
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 0.001, 5 }))
	const list = `"bob"`
	for i := range 2 {
		if out := w.do(w.request(http.MethodPut, "/users/ann/friends", `{"friends":[`+list+`]}`)); out.status != http.StatusOK {
			t.Fatalf("list %d: %d %s", i, out.status, out.body)
		}
	}
	w.do(w.request(http.MethodGet, "/users/ann/friends", "")) // the fifth unit
	wantCode(t, w.do(w.request(http.MethodPut, "/users/ann/friends", `{"friends":[`+list+`]}`)), CodeRateLimited)
}

func TestWithoutListsOfFriends(t *testing.T) {
	w := newWorld(t, func(_ *testing.T, _ *Config, deps *Deps) { deps.Friends = nil })
	for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete} {
		wantCode(t, w.do(w.request(method, "/users/ann/friends", `{"friends":["bob"]}`)), CodeNotFound)
	}
}
