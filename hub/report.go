package hub

// Report says what became of a notification within the time that its sender
// waited. Every user is counted once, by the best that is known of it.
type Report struct {
	Written     int `json:"written"`              // handed to the kernel of a connection's machine
	Queued      int `json:"queued"`               // waits for a slow connection
	DroppedSlow int `json:"dropped_slow"`         // given up because the connections are too slow
	Offline     int `json:"offline"`              // connected nowhere
	Moved       int `json:"moved"`                // was on the way between two processes, and is told at the new one
	Stored      int `json:"stored"`               // not written, and kept for later
	Unknown     int `json:"unknown"`              // no word came in time
	Unavailable int `json:"unavailable,omitzero"` // nobody can say where the user is; nothing was sent

	// Topics has the connections of each topic that it was written to or queued for,
	// as far as the processes have said so in time.
	Topics map[Topic]int `json:"topics,omitempty"`

	PerUser map[UserID]Fate `json:"users,omitempty"` // each target's; if asked for

	// UsersOmitted says that PerUser was asked for and is not remembered: the
	// report is of an earlier request that had too many users.
	UsersOmitted bool `json:"users_omitted,omitzero"`
}

// Fate is what became of one target. Its values are the JSON names of Report.
type Fate string

// The fates.
const (
	FateWritten     Fate = "written"
	FateQueued      Fate = "queued"
	FateDroppedSlow Fate = "dropped_slow"
	FateOffline     Fate = "offline"
	FateMoved       Fate = "moved"
	FateStored      Fate = "stored"
	FateUnknown     Fate = "unknown"
	FateUnavailable Fate = "unavailable"
)

// Count adds one target.
func (r *Report) Count(u UserID, fate Fate) {
	switch fate {
	case FateWritten:
		r.Written++
	case FateQueued:
		r.Queued++
	case FateDroppedSlow:
		r.DroppedSlow++
	case FateOffline:
		r.Offline++
	case FateMoved:
		r.Moved++
	case FateStored:
		r.Stored++
	case FateUnavailable:
		r.Unavailable++
	case FateUnknown:
		r.Unknown++
	default: // so that every target is counted
		fate = FateUnknown
		r.Unknown++
	}
	if r.PerUser != nil {
		r.PerUser[u] = fate
	}
}
