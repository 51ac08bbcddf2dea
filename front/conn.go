package front

import (
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room/host"
)

// stage is how far a connection has come. It only ever grows.
type stage uint8

const (
	stageRequest  stage = iota // its request is arriving
	stageLocate                // the room that it asks for is being found
	stageVerify                // its token is being checked
	stageRegister              // it has its protocol; the index does not name the user yet
	stageOpen                  // the client may have read hello
	stageClosing               // its last bytes are on their way, or it is gone
)

// conn is one connection with what the front keeps of it.
type conn = loop.Conn[client]

// client is what the front keeps of one connection: the session, and what the
// protocol needs. An idle one has no more than this.
type client struct {
	session

	dec      ws.Decoder // of a WebSocket
	pinged   loop.Tick  // of the ping that nothing was heard since; 0: none
	stage    stage
	protocol protocolID
	leaving  bool // it was told when to come back, and is closed then
}

// session is what a user's connection is to the rest of the hub.
type session struct {
	user    hub.UserID // set while registered
	service serviceName
	extra   *extra // nil as a rule

	joined uint64    // place in the order in which connections were registered under their users
	used   usage     // by what the client has sent
	opened loop.Tick // when the index was told of it
}

// extra is what few sessions have, or for a while only.
type extra struct {
	request *request // until the connection has its protocol

	// Of a user with several connections, or with something used from before.
	newer, older *conn
	group        *group

	piped *conn // the other end of its pipe; nil: it is no pipe

	resume *resume // nil unless the client resumes, has just done so, or was promised it

	seat  *host.Seat  // in a game room; nil: the connection is in none
	lobby *lobbyPlace // nil: the connection waits for no match
}

// request is what a connection needs until it has its protocol.
type request struct {
	head   []byte // so far, then whatever followed it
	reply  []byte // what gives the connection its protocol
	origin string // of the page that may read the answer; empty: none need be told
	noBody bool   // it is a HEAD, whose answer has no body
	passed bool   // another process has passed it to this one
}

// more returns the session's extra, a new one when it has none.
func (s *session) more() *extra {
	if s.extra == nil {
		s.extra = &extra{}
	}
	return s.extra
}

// spare lets go of an extra that holds nothing.
func (s *session) spare() {
	if s.extra != nil && *s.extra == (extra{}) {
		s.extra = nil
	}
}

// request is the request under way; nil: none.
func (s *session) request() *request {
	if s.extra == nil {
		return nil
	}
	return s.extra.request
}

// group is what s shares with the other connections of its user; nil: nothing.
func (s *session) group() *group {
	if s.extra == nil {
		return nil
	}
	return s.extra.group
}

// older is the user's connection that was registered before s; nil: none.
func (s *session) older() *conn {
	if s.extra == nil {
		return nil
	}
	return s.extra.older
}

// piped is the other end of the pipe that the connection is one of; nil: it is
// none.
func (s *session) piped() *conn {
	if s.extra == nil {
		return nil
	}
	return s.extra.piped
}

// resuming is the session's resume; nil: none.
func (s *session) resuming() *resume {
	if s.extra == nil {
		return nil
	}
	return s.extra.resume
}
