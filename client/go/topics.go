package client

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// Subscription says how a Client hears of a topic.
type Subscription struct {
	History bool   // what the topic keeps is told, too: after After, and after each loss what came since
	After   string // the TopicPosition of an earlier Client; empty: all that is kept
}

// Subscribed says that the client is a member of a topic, after each connect anew.
type Subscribed struct {
	Topic     string `json:"topic"`
	Recovered bool   `json:"recovered"` // with history: nothing that was kept since has been given up
	Count     int    `json:"count"`     // messages that follow
	Last      string `json:"last"`
}

// topics are what a Client is to be a member of. Safe for concurrent use.
type topics struct {
	mu   sync.Mutex
	all  map[string]*topic
	refs int   // given away
	conn *Conn // that may be asked; nil: none
}

// topic is one of them. Guarded by the mutex of topics.
type topic struct {
	name, ref string
	sub       Subscription
	left      int  // of the history that is on its way
	live      bool // all of it was dealt with
	last      string
	again     *time.Timer // asks again; nil: the server was not away
}

// Subscribe makes the client a member of a topic, now and after each loss. It does
// not block: Handler.Subscribed and Handler.Ended tell what becomes of it. It may be
// called before Run and from any goroutine; a topic that is there already stays as
// it is.
func (c *Client) Subscribe(name string, sub Subscription) {
	t := &c.topics
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[name] != nil {
		return
	}
	if t.all == nil {
		t.all = make(map[string]*topic)
	}
	t.refs++
	x := &topic{name: name, ref: "s" + strconv.Itoa(t.refs), sub: sub}
	t.all[name] = x
	t.askLocked(x)
}

// Unsubscribe ends that. It does not wait for the server's answer.
func (c *Client) Unsubscribe(name string) {
	t := &c.topics
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.removeLocked(name) == nil || t.conn == nil {
		return
	}
	b, _ := json.Marshal(map[string]string{"t": "unsubscribe", "topic": name, "ref": "u"}) // strings always marshal
	_ = t.conn.Send(b)                                                                     // a failed write shows where the connection is read
}

// TopicPosition is where the next subscription of a topic with history goes on.
func (c *Client) TopicPosition(name string) string {
	c.topics.mu.Lock()
	defer c.topics.mu.Unlock()
	if x := c.topics.all[name]; x != nil {
		return x.sub.After
	}
	return ""
}

func (t *topics) removeLocked(name string) *topic {
	x := t.all[name]
	delete(t.all, name)
	if x != nil && x.again != nil {
		x.again.Stop()
	}
	return x
}

// up asks a new connection for all topics.
func (t *topics) up(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn = c
	for _, x := range t.all {
		t.askLocked(x)
	}
}

// down says that the connection has ended.
func (t *topics) down() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn = nil
	for _, x := range t.all {
		if x.again != nil {
			x.again.Stop()
		}
	}
}

func (t *topics) askLocked(x *topic) {
	x.live, x.left = false, 0
	if t.conn == nil {
		return
	}
	m := map[string]string{"t": "subscribe", "topic": x.name, "ref": x.ref}
	if x.sub.History {
		m["after"] = x.sub.After
	}
	b, _ := json.Marshal(m) // strings always marshal
	_ = t.conn.Send(b)      // a failed write shows where the connection is read
}

// subscribed notes the server's answer.
func (t *topics) subscribed(s *Subscribed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.all[s.Topic]
	if x == nil {
		return
	}
	x.left, x.last = max(0, s.Count), s.Last
	if x.left == 0 {
		x.caughtUp()
	}
}

func (x *topic) caughtUp() {
	x.live = true
	if x.last != "" {
		x.sub.After = x.last
	}
}

// dealt notes that a message was dealt with; fresh: for the first time.
func (t *topics) dealt(n *Notification, fresh bool) {
	if len(n.Topics) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range n.Topics {
		x := t.all[name]
		switch {
		case x == nil:
		case x.left > 0:
			if x.left--; x.left == 0 {
				x.caughtUp()
			}
		case x.live && fresh && n.Kept:
			x.sub.After = n.ID
		}
	}
}

// refused notes an error of subscribe. It returns the name of a topic that is given
// up; what may work soon is asked for again.
func (t *topics) refused(ref, code string) (ended string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.all {
		if x.ref != ref {
			continue
		}
		if passing(code) {
			x.again = time.AfterFunc(soon(), func() { t.again(x) })
			return ""
		}
		t.removeLocked(x.name)
		return x.name
	}
	return ""
}

func (t *topics) again(x *topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[x.name] == x {
		t.askLocked(x)
	}
}

// ended takes a topic off that a backend has taken the client out of.
func (t *topics) ended(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.removeLocked(name) != nil
}

// passing reports whether what was refused with this code may work soon.
func passing(code string) bool { return code == "unavailable" || code == "rate_limited" }

// soon is how long to wait then: a second or two.
func soon() time.Duration { return resumeAgain + jitter(resumeAgain) }

// Error implements error.
func (e *ServerError) Error() string {
	return fmt.Sprintf("%s: refused by the server: %s", e.Of, e.Code)
}
