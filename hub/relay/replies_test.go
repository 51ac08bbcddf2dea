package relay

import (
	"testing"
	"time"
)

func seqs(rs []reply) (s []uint64) {
	for _, r := range rs {
		s = append(s, r.seq)
	}
	return s
}

func TestRepliesAreBounded(t *testing.T) {
	var rs replies
	for i := range uint64(maxReplies) {
		if full := rs.add(reply{seq: i + 1, body: make([]byte, 10)}); full != (i+1 == maxReplies) {
			t.Errorf("after %d: full %t", i+1, full)
		}
	}
	if now, lost := rs.tell(false); len(now) != maxReplies || lost != 0 {
		t.Errorf("told %d, lost %d", len(now), lost)
	}
	rs.add(reply{seq: 100, body: make([]byte, 10)}) // the oldest was told: it is not lost
	if now, lost := rs.tell(false); len(now) != maxReplies || now[0].seq != 2 || lost != 0 {
		t.Errorf("told %v, lost %d", seqs(now), lost)
	}
	for i := range uint64(maxReplies + 3) {
		rs.add(reply{seq: 200 + i})
	}
	if now, lost := rs.tell(false); len(now) != maxReplies || lost != 3 {
		t.Errorf("told %d, lost %d", len(now), lost)
	}
	if rs.forget(1000); rs.kept != nil || rs.bytes != 0 {
		t.Errorf("kept %d, %d bytes", len(rs.kept), rs.bytes)
	}
}

func TestLargeRepliesAreTold(t *testing.T) {
	var rs replies
	told := 0
	for i := range uint64(100) {
		if rs.add(reply{seq: i + 1, body: make([]byte, MaxReply)}) {
			now, _ := rs.tell(false)
			told += len(now)
		}
		if rs.bytes > maxReplyBytes {
			t.Fatalf("%d bytes kept", rs.bytes)
		}
	}
	now, lost := rs.tell(false)
	if told += len(now); told < 100 || lost != 0 {
		t.Errorf("told %d of 100, lost %d", told, lost)
	}
	// The next ack tells the last of them again, and a repeat has all told.
	again, _ := rs.tell(false)
	all, _ := rs.tell(true)
	if len(again) != repeatBytes/MaxReply || len(all) != maxReplyBytes/MaxReply {
		t.Errorf("told again %d, all %d", len(again), len(all))
	}
}

// TestOneUnhandledMessageKeepsNoOthers: what is behind it is confirmed late,
// and not kept in memory meanwhile.
func TestOneUnhandledMessageKeepsNoOthers(t *testing.T) {
	in := incoming{room: &memory{limit: maxAheadBytes}}
	var took []*Message
	handle := func(m *Message) bool { took = append(took, m); return true }
	arrive := func(seq uint64) verdict {
		return in.accept(&Message{Seq: seq, ticket: &ticket{seq: seq}}, 1, time.Time{}, handle)
	}
	for seq := range uint64(maxOpen) {
		if v := arrive(seq + 1); v != released {
			t.Fatalf("message %d: %v", seq+1, v)
		}
	}
	if v := arrive(maxOpen + 1); v != kept || len(took) != maxOpen {
		t.Errorf("one too many: %v, handed over %d", v, len(took))
	}
	for _, m := range took[1:] {
		in.settle(m, nil)
	}
	if in.handled() != 1 {
		t.Errorf("handled %d", in.handled())
	}
	in.settle(took[0], nil)
	if in.release(time.Time{}, handle); in.handled() != maxOpen+1 || len(in.open) != 1 {
		t.Errorf("handled %d, open %d", in.handled(), len(in.open))
	}
}

// TestWhatWaitsBehindGapsIsShared: senders with gaps have a pot together, and
// none of them has all of it.
func TestWhatWaitsBehindGapsIsShared(t *testing.T) {
	room := memory{limit: 1000 + 8*overhead}
	handle := func(*Message) bool { return true }
	fill := func() (in *incoming, n int) {
		in = &incoming{room: &room}
		in.accept(&Message{Seq: 1, ticket: &ticket{seq: 1}}, 1, time.Time{}, handle)
		for seq := uint64(3); ; seq++ {
			if in.accept(&Message{Seq: seq, Body: make([]byte, 100), ticket: &ticket{seq: seq}}, 1, time.Time{}, handle) != kept {
				return in, n
			}
			n++
		}
	}
	first, n := fill()
	second, m := fill()
	if n != 4 || m != 2 {
		t.Errorf("the first kept %d, the second %d", n, m)
	}
	first.clear()
	second.accept(&Message{Seq: 2, ticket: &ticket{seq: 2}}, 1, time.Time{}, handle)
	if room.used != 0 {
		t.Errorf("%d bytes of room are not given back", room.used)
	}
}
