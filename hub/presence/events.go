package presence

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/index"
)

// events tells game backends. The subject is the user. Ids follow from the user and
// the time of its move, so that a move which is told again can be recognized, whoever
// tells it.
type events struct{ hooks *hook.Publisher }

// The types of events.
const (
	typeOnline  = "user.online"
	typeOffline = "user.offline"
)

type onlineData struct {
	User     hub.UserID    `json:"user"`
	Services []hub.Service `json:"services"`
}

type offlineData struct {
	User hub.UserID `json:"user"`
}

// moved publishes m. What finds no room is lost, and counted by hub/hook.
func (e events) moved(m *index.Moves) {
	for _, a := range m.Came {
		e.came(a.User, a.Services, a.At)
	}
	for _, d := range m.Went {
		e.went(d.User, d.At)
	}
}

// ended publishes that a user has gone, and that it came, where that may not be
// known. It reports false when there was no room.
func (e events) ended(x *index.Ended) bool {
	if !x.Came.IsZero() {
		e.came(x.User, nil, x.Came)
	}
	return e.went(x.User, x.At)
}

// came publishes that a user has come.
func (e events) came(user hub.UserID, services []hub.Service, at time.Time) {
	e.hooks.Publish(hook.Event{
		Type: typeOnline, Subject: string(user), Time: at, Data: onlineData{user, append([]hub.Service{}, services...)},
		ID: moveID("on", user, at),
	})
}

// went publishes that a user has gone, and reports false when there was no room.
func (e events) went(user hub.UserID, at time.Time) bool {
	return e.hooks.Publish(hook.Event{
		Type: typeOffline, Subject: string(user), Time: at, Data: offlineData{user}, ID: moveID("off", user, at),
	})
}

// endID is the id of the event that the user of x has gone.
func endID(x *index.Ended) string { return moveID("off", x.User, x.At) }

// moveID is the id of the event that user made a move.
func moveID(move string, user hub.UserID, at time.Time) string {
	sum := sha256.Sum256([]byte(user)) // a user's id may have what an event's may not
	return move + "_" + base64.RawURLEncoding.EncodeToString(sum[:12]) + "_" + strconv.FormatInt(at.UnixMicro(), 36)
}
