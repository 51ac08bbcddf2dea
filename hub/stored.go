package hub

import "time"

// Stored is a notification as the inbox of a user keeps it.
type Stored struct {
	ID       string
	Class    Class
	Services []Service // only connections of these services; empty: all
	Payload  []byte    // what a client reads, as Render built it
	Account  Account   // who is charged for it; not told by an inbox that is read

	// Told by an inbox that is read.
	At    int64 // when it was stored, in Unix milliseconds by the clock of its Redis
	Again bool  // the client has seen it, as far as its place tells: it waits for an acknowledgement
}

// ReplayOverlap is how far before the last notification that a client has seen a
// replay begins. What is stored first may arrive last: it was stored in several
// tries, the relay sends it again for up to half a minute, a message of class
// latest overtakes it in an outbox. A client that saw the later one only must
// not miss it.
const ReplayOverlap = 40 * time.Second

// Missed is what an inbox has for a client that resumes.
type Missed struct {
	Entries   []Stored // in the order stored
	Recovered bool     // with these the client has everything since it left
	Last      string   // id of the newest that the inbox ever held; where to resume from next
}
