package hub

// OnceState says what a request found under its idempotency key.
type OnceState int

const (
	// OnceFresh means that the key is the caller's now, to finish or give up.
	OnceFresh OnceState = iota
	// OnceInFlight means that another request holds the key.
	OnceInFlight
	// OnceDone means that the same request finished before.
	OnceDone
	// OnceMismatch means that the key stands for another request.
	OnceMismatch
)
