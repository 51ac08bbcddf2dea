package hub

// Report says what became of a notification within the time that its sender
// waited. Every target is counted once, by the best that is known of it.
type Report struct {
	Written     int `json:"written"`              // handed to the kernel of a connection's machine
	Queued      int `json:"queued"`               // waits for a slow connection
	DroppedSlow int `json:"dropped_slow"`         // given up because the connections are too slow
	Offline     int `json:"offline"`              // connected nowhere
	Moved       int `json:"moved"`                // was on the way between two processes, and is told at the new one
	Stored      int `json:"stored"`               // not written, and kept for later
	Unknown     int `json:"unknown"`              // no word came in time
	Unavailable int `json:"unavailable,omitzero"` // nobody can say where the user is; nothing was sent

	PerUser map[UserID]string `json:"users,omitempty"` // each target's fate, by the names above; if asked for

	// UsersOmitted says that PerUser was asked for and is not remembered: the
	// report is of an earlier request that had too many users.
	UsersOmitted bool `json:"users_omitted,omitzero"`
}

// Count adds one target whose fate has the name given, which is one of the
// JSON names above.
func (r *Report) Count(u UserID, fate string) {
	switch fate {
	case "written":
		r.Written++
	case "queued":
		r.Queued++
	case "dropped_slow":
		r.DroppedSlow++
	case "offline":
		r.Offline++
	case "moved":
		r.Moved++
	case "stored":
		r.Stored++
	case "unavailable":
		r.Unavailable++
	default:
		fate = "unknown"
		r.Unknown++
	}
	if r.PerUser != nil {
		r.PerUser[u] = fate
	}
}
