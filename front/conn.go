package front

import (
	"slices"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room/host"
)

// stage is how far a connection has come. It only ever grows, but that a client of
// Socket.IO may show another token after one that was refused, and that an HTTP
// connection which is kept begins anew.
type stage uint8

const (
	stageRequest  stage = iota // its request is arriving
	stageLocate                // the process that is to serve it is being found
	stageExchange              // its request's body is arriving, or its answer is awaited
	stageConnect               // it has its protocol, in which a token is to come
	stageVerify                // its token is being checked
	stageRegister              // it has its protocol; the index does not name the user yet
	stageOpen                  // the client may have read hello
	stageLeft                  // the client has taken leave, and its connection goes on
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
	asked    bool // pinged is when it was asked for a Pong; else when the last one came. Of Engine.IO
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
	watch *watch      // nil: the client has heard who of its friends is online, or has none

	// Of Engine.IO; nil as a rule.
	talk     *talk
	polled   *polled   // the session is polled
	exchange *exchange // the connection carries HTTP requests
	probing  *conn     // the session for which a WebSocket is tried

	topics *subscriptions // nil: it has nothing to do with topics

	holding *holding // what waits until the connection has caught up; nil: nothing has
}

// request is what a connection needs until it has its protocol.
type request struct {
	head   []byte // so far, then whatever followed it
	reply  []byte // what gives the connection its protocol
	origin string // of the page that may read the answer; empty: none need be told
	noBody bool   // it is a HEAD, whose answer has no body
	// assigned is the ticket by which the client was assigned to this node; empty: none.
	assigned string
	passed   bool // another process has passed it to this one
	room     bool // it asks for a room that somebody runs
	// proxied says that a proxy that is trusted has named the client.
	proxied bool
}

// speaks reports whether the connection has its protocol, and nothing of it is
// being looked at elsewhere.
func (c *client) speaks() bool {
	return c.stage == stageConnect || c.stage >= stageRegister && c.stage < stageClosing
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

// seeksRoom reports whether the request under way is of a client that another process
// has passed to this one, or whose room has been found.
func (s *session) seeksRoom() bool {
	r := s.request()
	return r != nil && (r.passed || r.room)
}

// endRequest lets go of the request, and returns what came behind it.
func (s *session) endRequest() (early []byte) {
	if r := s.request(); r != nil {
		early = r.head
		s.extra.request = nil
		s.spare()
	}
	return early
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

// watching is what a session waits for to hear of its friends; nil: nothing.
func (s *session) watching() *watch {
	if s.extra == nil {
		return nil
	}
	return s.extra.watch
}

// allResumes is what the connection catches up with, or has done lately: its inbox, then
// topics.
func (s *session) allResumes() (all []*resume) {
	if s.extra == nil {
		return nil
	}
	if s.extra.resume != nil {
		all = append(all, s.extra.resume)
	}
	if s.extra.topics != nil {
		all = append(all, s.extra.topics.catching...)
	}
	return all
}

// catching reports whether the connection catches up with something.
func (s *session) catching() bool {
	if s.extra == nil {
		return false
	}
	if s.extra.resume.active() {
		return true
	}
	return s.extra.topics != nil && slices.ContainsFunc(s.extra.topics.catching, (*resume).active)
}

// due is when one of the connection's resumes is; 0: none by itself.
func (s *session) due() loop.Tick {
	due := s.resuming().due()
	if t := s.subscriptions(); t != nil {
		for _, r := range t.catching {
			due = earlier(due, r.due())
		}
	}
	return due
}
