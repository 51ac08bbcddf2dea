package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"
)

// ErrOutboxFull says that too many messages wait to be published.
var ErrOutboxFull = errors.New("too many messages wait to be published")

// maxUnsent is how many may wait.
const maxUnsent = 100

// outbox has what is to be published sent, one message at a time, so that it stays
// in order whatever is lost. Safe for concurrent use.
type outbox struct {
	mu     sync.Mutex
	queue  []*publication
	refs   int         // given away
	asked  string      // the ref that an answer is waited for; empty: none
	conn   *Conn       // nil: none
	paused *time.Timer // until the server may take more; nil: it may
}

// publication is a message that waits for its answer.
type publication struct {
	ref  string
	text []byte
	done chan published // takes one without blocking
}

type published struct {
	id  string
	err error
}

// Publish says something, JSON, to the members of a topic, and blocks until they
// have all been told: then it returns the notification's id. Messages go one after
// the other. A loss before the answer has the message sent again under the same id,
// so that nobody is given it twice. typ may be empty. Errors: *ServerError; ctx's,
// after which the message may or may not have been sent; ErrOutboxFull. Without Run
// it waits.
func (c *Client) Publish(ctx context.Context, name, typ string, data []byte) (id string, err error) {
	p, err := c.outbox.add(name, typ, data)
	if err != nil {
		return "", err
	}
	select {
	case r := <-p.done:
		return r.id, r.err
	case <-ctx.Done():
		c.outbox.remove(p)
		return "", ctx.Err()
	}
}

func (o *outbox) add(name, typ string, data []byte) (*publication, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= maxUnsent {
		return nil, ErrOutboxFull
	}
	o.refs++
	p := &publication{ref: "p" + strconv.Itoa(o.refs), done: make(chan published, 1)}
	var err error
	p.text, err = json.Marshal(struct {
		T     string          `json:"t"`
		Topic string          `json:"topic"`
		Type  string          `json:"type,omitempty"`
		Data  json.RawMessage `json:"data"`
		ID    string          `json:"id"`
		Ref   string          `json:"ref"`
	}{"publish", name, typ, data, rand.Text(), p.ref})
	if err != nil {
		return nil, err
	}
	o.queue = append(o.queue, p)
	o.flushLocked()
	return p, nil
}

func (o *outbox) remove(p *publication) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = slices.DeleteFunc(o.queue, func(x *publication) bool { return x == p })
}

// flushLocked sends the message that is next, unless one is under way.
func (o *outbox) flushLocked() {
	if o.conn == nil || o.asked != "" || o.paused != nil || len(o.queue) == 0 {
		return
	}
	o.asked = o.queue[0].ref
	_ = o.conn.Send(o.queue[0].text) // a failed write shows where the connection is read
}

// set says which connection there is now; nil: none.
func (o *outbox) set(c *Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conn, o.asked = c, ""
	o.goOnLocked()
}

func (o *outbox) goOnLocked() {
	if o.paused != nil {
		o.paused.Stop()
		o.paused = nil
	}
	o.flushLocked()
}

// answered takes the server's answer to a message.
func (o *outbox) answered(ref string, r published) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ref == "" || ref != o.asked {
		return
	}
	o.asked = ""
	if e, ok := errors.AsType[*ServerError](r.err); ok && passing(e.Code) {
		o.paused = time.AfterFunc(soon(), o.goOn)
		return
	}
	if len(o.queue) > 0 && o.queue[0].ref == ref { // else nobody waits for it any more
		o.queue[0].done <- r
		o.queue = o.queue[1:]
	}
	o.flushLocked()
}

func (o *outbox) goOn() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.goOnLocked()
}
