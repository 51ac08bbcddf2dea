package directory

import (
	"strconv"
	"time"

	"github.com/homing/homing/hub"
)

// Record is what the directory knows of a room.
type Record struct {
	Room  string
	Class string
	Owner hub.ProcessID
	Epoch uint64 // of the owner, from 1
	URL   string // where players find the owner
	Made  time.Time

	// As the owner has noted them last.
	Seats    int
	Taken    int    // reserved ones too
	Metadata []byte // JSON; nil: none

	Ended  string // why it has ended; empty while it lives
	Result []byte // what it has ended with
}

// fields are r's names and values in Redis.
func (r *Record) fields() []any {
	return []any{
		"class", r.Class, "owner", string(r.Owner), "epoch", r.Epoch, "url", r.URL, "made", r.Made.UnixMilli(),
		"seats", r.Seats, "taken", r.Taken, "metadata", r.Metadata,
	}
}

// names are those that parse reads, in its order.
var names = []string{"class", "owner", "epoch", "url", "made", "seats", "taken", "metadata", "ended", "result"}

// parse reads what HMGET has answered. It reports false when there is no record.
func (r *Record) parse(values []any) bool {
	text := func(i int) string {
		s, _ := values[i].(string)
		return s
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(text(i), 10, 64)
		return n
	}
	r.Class, r.Owner, r.URL = text(0), hub.ProcessID(text(1)), text(3)
	r.Epoch, r.Made = uint64(max(0, number(2))), time.UnixMilli(number(4))
	r.Seats, r.Taken = int(number(5)), int(number(6))
	r.Ended = text(8)
	if s := text(7); s != "" {
		r.Metadata = []byte(s)
	}
	if s := text(9); s != "" {
		r.Result = []byte(s)
	}
	return r.Owner != ""
}
