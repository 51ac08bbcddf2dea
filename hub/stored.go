package hub

// Stored is a notification as the inbox of a user keeps it.
type Stored struct {
	ID       string
	Class    Class
	Services []Service // only connections of these services; empty: all
	Payload  []byte    // what a client reads, as Render built it
	Account  Account   // who is charged for it; not told by an inbox that is read
}

// Missed is what an inbox has for a client that resumes.
type Missed struct {
	Entries   []Stored // in the order stored
	Recovered bool     // with these the client has everything since it left
	Last      string   // id of the newest that the inbox ever held; where to resume from next
}
