package socketio

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Decoder puts packets together with their attachments. The zero Decoder is
// ready. It is one pointer in size, and holds memory only while attachments are
// due.
type Decoder struct{ due *due }

// due is a packet whose attachments have not all come.
type due struct {
	packet Packet
	bytes  int // of what has come
}

var (
	errUnexpected = errors.New("a binary message that belongs to no packet")
	errDue        = errors.New("a packet before the last one's attachments")
	errTooBig     = errors.New("a packet that is too big with its attachments")
)

// Text takes what a text message has. ok is false when p waits for attachments.
// With ok its Data is a part of b, else the decoder has kept a copy. After an error the
// connection must be closed.
func (d *Decoder) Text(b []byte) (p Packet, ok bool, err error) {
	if d.due != nil {
		return p, false, errDue
	}
	if p, err = Parse(b); err != nil {
		return p, false, err
	}
	if p.IsBinary() {
		if err := checkPlaceholders(p.Data, p.Attachments); err != nil {
			return p, false, err
		}
	}
	if p.Attachments == 0 {
		return p, true, nil
	}
	p.Data = p.Data.Clone()
	d.due = &due{packet: p, bytes: len(p.Data)}
	return p, false, nil
}

// Binary takes a binary message, which it copies. ok says that p is whole. limit
// bounds the bytes of a packet, all of its messages together. After an error the
// connection must be closed.
func (d *Decoder) Binary(b []byte, limit int) (p Packet, ok bool, err error) {
	x := d.due
	if x == nil {
		return p, false, errUnexpected
	}
	if x.bytes += len(b); x.bytes > limit {
		return p, false, errTooBig
	}
	x.packet.Binaries = append(x.packet.Binaries, bytes.Clone(b))
	if len(x.packet.Binaries) < x.packet.Attachments {
		return p, false, nil
	}
	d.due = nil
	return x.packet, true, nil
}

// Pending reports whether attachments are due.
func (d *Decoder) Pending() bool { return d.due != nil }

// checkPlaceholders reports whether each placeholder in data, which is valid,
// stands for one of so many attachments. It looks at each token once, however deep
// it stands.
func checkPlaceholders(data jsontext.Value, attachments int) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	var within []object
	for {
		t, err := dec.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		at := len(within) - 1
		switch t.Kind() {
		case '{', '[':
			within = append(within, object{})
		case '}', ']':
			if within[at].isPlaceholder && !within[at].within(attachments) {
				return errPlaceholder
			}
			within = within[:at]
		default:
			if parent, n := dec.StackIndex(dec.StackDepth()); parent == '{' {
				within[at].take(t, n%2 == 1)
			}
		}
	}
}

// object is what is known of an object, or an array, that has begun.
type object struct {
	name          string // of the value that is next
	isPlaceholder bool
	num           string
}

// take takes a name, or the value of the last one.
func (o *object) take(t jsontext.Token, isName bool) {
	switch {
	case isName:
		o.name = t.String()
	case o.name == "_placeholder":
		o.isPlaceholder = t.Kind() == 't'
	case o.name == "num" && t.Kind() == '0': // a number
		o.num = t.String()
	}
}

// within reports whether a placeholder's number is below so many.
func (o *object) within(attachments int) bool {
	n, err := strconv.ParseUint(o.num, 10, 8)
	return err == nil && int(n) < attachments
}
