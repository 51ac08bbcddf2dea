package hub

// Stored is a notification as the inbox of a user keeps it.
type Stored struct {
	ID       string
	Class    Class
	Services []Service // only connections of these services; empty: all
	Payload  []byte    // what a client reads, as Render built it
}
