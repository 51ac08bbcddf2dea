package players_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/bench/stack"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

// TestLeaveBehindJoin has a player say both at once: each has its own answer, in that
// order, and the seat is free. The room is the first thing that is asked of the API:
// it waits for the first front that takes rooms. It is listed with its seats at once.
func TestLeaveBehindJoin(t *testing.T) {
	_, b := start(t, stack.Options{})
	room, err := b.Open(t.Context(), "relay", []string{"ann", "bob"})
	if err != nil {
		t.Fatal(err)
	}
	defer end(t, b, room.Room)
	var list struct{ Rooms []struct{ Taken int } }
	if err := b.Do(t.Context(), http.MethodGet, "/rooms", nil, &list); err != nil || len(list.Rooms) != 1 || list.Rooms[0].Taken != 2 {
		t.Errorf("listed %+v, %v", list, err)
	}
	ticket := room.Seats[0].Ticket
	token, err := auth.Mint(b.Secret, auth.Identity{User: hub.UserID("ann")}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), client.Options{URL: room.URL + "?room=" + ticket, Token: client.StaticToken(token)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, text := range []string{
		`{"t":"join","ticket":"` + ticket + `","ref":1}`, `{"t":"leave","ref":2}`,
		`{"t":"join","ticket":"` + ticket + `","ref":3}`, `{"t":"leave","ref":4}`, // the seat is gone
	} {
		if err := c.Send([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(text, `"ref":2}`) {
			hearAnswers(t, c, answer{"joined", "", "", 1}, answer{"left", "", "left", 2})
		}
	}
	hearAnswers(t, c, answer{"error", "no_seat", "", 3}, answer{"error", "no_room", "", 4})
	if r := look(t, b, room.Room); len(r.Seats) != 1 || r.Seats[0].User != "bob" {
		t.Errorf("seats %+v", r.Seats)
	}
}

// hearAnswers reads as many messages and compares them.
func hearAnswers(t *testing.T, c *client.Conn, all ...answer) {
	t.Helper()
	for _, want := range all {
		m, err := receive(t, c)
		if err != nil {
			t.Fatal(err)
		}
		var got answer
		if err := json.Unmarshal(m.Raw, &got); err != nil || got != want {
			t.Errorf("told %s, want %+v: %v", m.Raw, want, err)
		}
	}
}

// answer is what a player is told.
type answer struct {
	T    string `json:"t"`
	Code string `json:"code"`
	Why  string `json:"why"`
	Ref  int    `json:"ref"`
}

func receive(t *testing.T, c *client.Conn) (client.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return c.Receive(ctx)
}
