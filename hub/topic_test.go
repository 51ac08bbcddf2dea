package hub

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestTopicCheck(t *testing.T) {
	for _, good := range []Topic{"a", "guild:7", "A-z_0.9/@", Topic(strings.Repeat("x", MaxTopic))} {
		if err := good.Check(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []Topic{"", " a", "a b", "a*", "ä", "a\x00", Topic(strings.Repeat("x", MaxTopic+1))} {
		if err := bad.Check(); !errors.Is(err, ErrBadTopic) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestTopicAddress(t *testing.T) {
	a := Topic("guild:7").Address()
	if name, ok := a.Topic(); !ok || name != "guild:7" || !IsTopic(a) || !IsTopic([]byte(a)) {
		t.Errorf("%q: %q, %v", a, name, ok)
	}
	if a.Check() == nil {
		t.Error("a user may have the address of a topic")
	}
	if _, ok := UserID("guild:7").Topic(); ok || IsTopic(UserID("guild:7")) || IsTopic("") {
		t.Error("a user is taken for a topic")
	}
}

func TestTopicPatterns(t *testing.T) {
	p := TopicPatterns{"guild:*", "lobby"}
	for name, want := range map[Topic]bool{"guild:": true, "guild:7": true, "guild": false, "lobby": true, "lobby2": false, "*": false} {
		if p.Match(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if !(TopicPatterns{"*"}).Match("anything") || TopicPatterns(nil).Match("a") {
		t.Error("a star is every topic, nothing is none")
	}
	if err := (TopicPatterns{"*", "a*", "b"}).Check(); err != nil {
		t.Error(err)
	}
	for _, bad := range []TopicPatterns{{""}, {"a b"}, {"*a"}, {"a**"}, {strings.Repeat("x", MaxTopic+1)}, slices.Repeat(TopicPatterns{"a"}, maxPatterns+1)} {
		if err := bad.Check(); !errors.Is(err, ErrBadTopic) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestReceipts(t *testing.T) {
	users := []UserID{"ann", Topic("a").Address(), "bob", Topic("b").Address()}
	o := Outcome{Statuses: []byte{3, 2, 0, 1}, Reached: []int{20_000, 0}}
	statuses, reached, ok := ParseReceipt(o.Reply(KindNotify), users)
	if !ok || !slices.Equal(statuses, o.Statuses) || !slices.Equal(reached, o.Reached) {
		t.Errorf("%v, %v, %v", statuses, reached, ok)
	}
	for _, bad := range [][]byte{nil, {3}, {3, 2, 0, 1}, append(o.Reply(KindNotify), 0)} {
		if _, _, ok := ParseReceipt(bad, users); ok {
			t.Errorf("%v is taken for a receipt", bad)
		}
	}
}
