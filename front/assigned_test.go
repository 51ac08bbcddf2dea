package front

import (
	"testing"
	"time"
)

// TestTicketsOfTheAssigned has clients of all protocols show the ticket by which they were
// assigned to this node: who is told hears of those that are let in, once, and of nobody
// else.
func TestTicketsOfTheAssigned(t *testing.T) {
	told := make(chan string, 10)
	r := startDeps(t, func(d *Deps) { d.Arrived = func(ticket string) { told <- ticket } }, nil)
	want := func(ticket string) {
		t.Helper()
		select {
		case got := <-told:
			if got != ticket {
				t.Errorf("told of %q, want %q", got, ticket)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("not told of %q", ticket)
		}
	}
	r.dial("?token=ann&node_ticket=of-ann")
	want("of-ann")
	r.stream("?token=bob&node_ticket=of-bob")
	want("of-bob")
	talking, _ := r.engine("&node_ticket=of-cleo")
	talking.text(`40{"token":"cleo"}`)
	want("of-cleo")
	three, _ := r.engine("&token=dora&node_ticket=of-dora")
	three.text("40")
	want("of-dora")
	if status, _ := r.raw("GET /ws?token=bad&node_ticket=of-nobody HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); status.StatusCode != 401 {
		t.Errorf("a bad token: %s", status.Status)
	}
	r.join("eve") // without a ticket
	select {
	case ticket := <-told:
		t.Errorf("told of %q, who was not let in or has none", ticket)
	case <-time.After(50 * time.Millisecond):
	}
}
