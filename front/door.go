package front

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
)

// door reads requests and leads each to the protocol of its path. The loop owns
// it.
type door struct {
	loop      *loop.Loop[client]
	entry     *entry
	protocols *protocols
	paths     map[string]protocolID
	below     map[string]protocolID // for a path and all below it; it ends with "/"
	anyPath   bool                  // every other path leads to the first protocol; else: 404
	ready     func() error          // why nobody is let in now, as a *http1.Error; nil: somebody is
	m         *metrics
	headLimit int
	passages  *passages // nil: nobody is passed to another process
	health    bool      // /healthz and /readyz are answered
}

// received takes bytes of c's request until it is whole, and answers it.
func (d *door) received(c *conn, data []byte) {
	req := c.State.request()
	if req == nil {
		req = &request{}
		c.State.more().request = req
	}
	if len(req.head) > 0 {
		req.head = append(req.head, data...)
		data = req.head
	}
	req.noBody = bytes.HasPrefix(data, []byte("HEAD "))
	head, n, err := http1.ParseRequest(data)
	switch {
	case errors.Is(err, http1.ErrIncomplete) && len(data) < d.headLimit:
		if len(req.head) == 0 {
			req.head = bytes.Clone(data)
		}
		return
	case errors.Is(err, http1.ErrIncomplete), err == nil && n > d.headLimit:
		err = errHeaderTooLarge
	case err == nil:
		req.head = bytes.Clone(data[n:])
		err = d.route(c, head, data)
	}
	if err != nil {
		d.entry.refuse(c, err)
	}
}

// early keeps what a client sends before its token has been checked.
func (d *door) early(c *conn, data []byte) {
	req := c.State.request()
	if len(req.head)+len(data) > d.headLimit {
		d.entry.refuse(c, errHeaderTooLarge)
		return
	}
	req.head = append(req.head, data...)
}

// route leads a request to where it is answered. data is the request and what
// came with it.
func (d *door) route(c *conn, req *http1.Request, data []byte) error {
	if err := d.identify(c, req); err != nil {
		return err
	}
	if d.isHealth(req) {
		d.answerHealth(c, req)
		return nil
	}
	id, ok := d.find(req.Path)
	if !ok && !d.anyPath {
		return errNotFound
	}
	c.State.protocol = id
	if d.passages.hold(c, req, data) {
		return nil
	}
	return d.protocols[id].upgrade(c, req)
}

// identify notes whose request it is, if a proxy that is trusted says so. A
// connection that is in service has been identified.
func (d *door) identify(c *conn, req *http1.Request) error {
	if c.State.known() {
		return nil
	}
	client := d.loop.Client(c, req.Values("X-Forwarded-For"))
	if client == c.Addr() {
		return nil
	}
	c.State.request().proxied = true
	if !d.loop.Identify(c, client) {
		return errTooManyOfAddress()
	}
	return nil
}

// find returns the protocol of a path.
func (d *door) find(path string) (id protocolID, ok bool) {
	if id, ok = d.paths[path]; ok {
		return id, true
	}
	for folder, id := range d.below {
		if strings.HasPrefix(path+"/", folder) {
			return id, true
		}
	}
	return 0, false
}

func (d *door) isHealth(req *http1.Request) bool {
	return d.health && (req.Path == "/healthz" || req.Path == "/readyz")
}

// answerHealth answers a load balancer: /healthz says that the worker runs,
// /readyz whether it lets clients in now. Players can read the answers too, so
// they say no more than is needed.
func (d *door) answerHealth(c *conn, req *http1.Request) {
	var err error
	status := "ok"
	if req.Path == "/readyz" {
		status, err = "ready", d.ready()
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		err = &http1.Error{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: "Want GET or HEAD.", Header: "Allow: GET, HEAD",
		}
	}
	reply, code := http1.Reply(http.StatusOK, "application/json", []byte(`{"status":"`+status+`"}`)), http.StatusOK
	if err != nil {
		reply, code = http1.Problem(err), http1.StatusOf(err)
	}
	d.m.health.WithLabelValues(strconv.Itoa(code)).Inc()
	d.entry.answer(c, reply)
}
