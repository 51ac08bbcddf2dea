package hub

import (
	"path"
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	k := NewKeys("game")
	for _, tc := range []struct{ got, want string }{
		{k.User("anna"), "game:u:anna"},
		{string(k.AppendUser([]byte("x"), "anna")), "xgame:u:anna"},
		{k.UserPattern(), "game:u*"},
		{k.Lease("p"), "game:w:p"},
		{k.Processes(), "game:procs"},
		{k.Turn("sweep"), "game:turn:sweep"},
		{k.Once("api", "1"), "game:once:api:1"},
		{k.OnceAccount("api"), "game:oa:api"},
		{k.Inbox("anna"), "game:i:anna"},
		{k.InboxIDs("anna"), "game:in:anna"},
		{k.InboxBook("anna"), "game:ib:anna"},
		{k.InboxAccounts(), "game:ia:"},
		{k.InboxMark(), "game:ih"},
		{k.User(Topic("guild:7").Address()), "game:ut:guild:7"},
		{string(k.AppendUser(nil, Topic("guild:7").Address())), "game:ut:guild:7"},
		{k.Inbox(Topic("guild:7").Address()), "game:it:guild:7"},
		{k.InboxIDs(Topic("guild:7").Address()), "game:int:guild:7"},
		{k.InboxBook(Topic("guild:7").Address()), "game:ibt:guild:7"},
		{k.Room("r"), "game:r:r"},
		{k.RoomsOf("p"), "game:ro:p"},
		{k.Rooms(), "game:rooms"},
		{k.RoomOwners(), "game:roomowners"},
		{k.RoomOffers(), "game:roomoffers"},
		{k.RoomCheckpoint("r"), "game:rc:r"},
		{k.Hook("").Stream(7), "game:hs:7"},
		{k.Hook("").Book(7), "game:hb:7"},
		{k.Hook("").Lease(7), "game:hl:7"},
		{k.Hook("").Written(7, "p"), "game:hw:7:p"},
		{k.Hook("").Senders(), "game:hm"},
		{k.Hook("").State(), "game:hn"},
		{k.Hook("push").Stream(7), "game:hs:push:7"},
		{k.Hook("push").Written(7, "p"), "game:hw:push:7:p"},
		{k.Hook("push").Senders(), "game:hm:push"},
		{k.Hook("push").State(), "game:hn:push"},
		{k.HookEndpoints(), "game:he"},
		{k.Unreached(), "game:nu"},
		{k.UnreachedTurn(), "game:nut"},
		{k.Match("duel", "book"), "game:m:duel:book"},
		{k.Channel("p"), "game:c:p"},
		{NewKeys("").User("anna"), DefaultPrefix + ":u:anna"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestKeysUserOf(t *testing.T) {
	k := NewKeys("game")
	for _, tc := range []struct {
		key  string
		user UserID
		ok   bool
	}{
		{k.User("anna"), "anna", true},
		{k.User("a:u:b"), "a:u:b", true},
		{"game:u:", "", false},
		{"game:w:anna", "", false},
		{"other:u:anna", "", false},
		{"", "", false},
	} {
		if user, ok := k.UserOf(tc.key); user != tc.user || ok != tc.ok {
			t.Errorf("UserOf(%q) = %q, %t, want %q, %t", tc.key, user, ok, tc.user, tc.ok)
		}
	}
}

func TestKeysUserPatternMatchesOnlyItsPrefix(t *testing.T) {
	for _, prefix := range []string{"plain", "a*b", "a?b", "a[1-9]", `a\b`, "a^b"} {
		k := NewKeys(prefix)
		if ok, err := path.Match(k.UserPattern(), k.User("anna")); !ok || err != nil {
			t.Errorf("%q does not match its own %q (%v)", k.UserPattern(), k.User("anna"), err)
		}
		other := NewKeys(strings.NewReplacer("*", "x", "?", "x", "[1-9]", "5", `\`, "", "^", "x", "plain", "other").Replace(prefix))
		if ok, _ := path.Match(k.UserPattern(), other.User("anna")); ok {
			t.Errorf("%q matches %q", k.UserPattern(), other.User("anna"))
		}
	}
}
