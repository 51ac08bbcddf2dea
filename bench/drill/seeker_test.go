package drill

import (
	"errors"
	"testing"
	"time"

	client "github.com/homing/homing/client/go"
)

// pair are two players who were told of one match and have been in its room.
func pair() []*seeker {
	at := time.Unix(1000, 0)
	seat := func(user string, team int) *seeker {
		f := found{id: "m:" + user, Match: "m", Room: "r", Team: team, Players: []string{"ann", "bob"}}
		return &seeker{user: user, asked: at, told: at.Add(time.Second), waits: true, seated: true, found: []found{f}}
	}
	return []*seeker{seat("ann", 0), seat("bob", 1)}
}

func TestSeekersAreJudged(t *testing.T) {
	good := seekersVerdict{waited: 2, told: 2, longest: time.Second}
	for name, c := range map[string]struct {
		spoil func(all []*seeker)
		want  func(v *seekersVerdict)
	}{
		"nothing is wrong": {func([]*seeker) {}, func(*seekersVerdict) {}},
		"told of two matches": {
			func(all []*seeker) { all[0].found = append(all[0].found, found{id: "n:ann"}) },
			func(v *seekersVerdict) { v.twice = 1 },
		},
		"told of different rooms": {func(all []*seeker) { all[0].found[0].Room = "s" }, func(v *seekersVerdict) { v.strange = 2 }},
		"in the same team":        {func(all []*seeker) { all[0].found[0].Team = 1 }, func(v *seekersVerdict) { v.strange = 2 }},
		"another's match":         {func(all []*seeker) { all[0].found[0].Players = []string{"cat", "bob"} }, func(v *seekersVerdict) { v.strange = 1 }},
		"never told":              {func(all []*seeker) { all[0].found = nil }, func(v *seekersVerdict) { v.told, v.strange = 1, 1 }},
		"told again":              {func(all []*seeker) { all[0].again = 3 }, func(v *seekersVerdict) { v.repeated = 3 }},
		"not seated": {
			func(all []*seeker) { all[0].seated, all[0].seat = false, errors.New("full") },
			func(v *seekersVerdict) { v.unseated, v.example = 1, "ann: full" },
		},
		"refused": {func(all []*seeker) { all[0].refuse = "no" }, func(v *seekersVerdict) { v.refused, v.example = 1, "ann: no" }},
		"disconnected": {
			func(all []*seeker) { all[0].failed = errSentAway },
			func(v *seekersVerdict) { v.unconnected, v.example = 1, "ann: sent away" },
		},
	} {
		all, want := pair(), good
		c.spoil(all)
		c.want(&want)
		if got := judgeSeekers(all); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestSeekersTakeEachMatchOnce(t *testing.T) {
	s := newSeeker(1)
	note := func(id string) *client.Message {
		return &client.Message{Kind: "notify", Notification: &client.Notification{ID: id, Type: "match.found", Data: []byte(`{"match":"m","room":"r"}`)}}
	}
	if s.over() {
		t.Error("it is over before it began")
	}
	s.take(&client.Message{Kind: "ok"})
	if f := s.take(note("a")); f == nil || f.Match != "m" || f.Room != "r" {
		t.Errorf("%+v", f)
	}
	if s.take(note("a")) != nil || s.take(note("b")) != nil || s.again != 1 || len(s.found) != 2 || !s.waits {
		t.Errorf("%d again, %d matches", s.again, len(s.found))
	}
	s.take(&client.Message{Kind: "error", Raw: []byte(`{"code":"queue_full"}`)})
	if !s.over() || s.refuse == "" {
		t.Error("a refusal was not seen")
	}
}
