package front

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
)

const (
	// maxRef bounds what a client may have repeated to it.
	maxRef = 128
	// maxTicket is how long the ticket of a seat may be, in bytes.
	maxTicket = 2048
	// maxAck is how many ids one acknowledgement may name.
	maxAck = 256
)

// incoming is a message of a client. A field that is missing, or null, is empty.
type incoming struct {
	kind   text
	after  text
	ack    ackList
	ticket text           // of a seat in a game room
	number number         // of an event there
	data   jsontext.Value // for the room; of its own memory
	queue  text           // of matchmaking, with what follows
	rating rating
	labels ackList
	yes    yes
	topic  text // of topics, with what follows
	typ    text
	ref    jsontext.Value // of its own memory
}

// text is the value of a field that should be a string of a bounded length.
type text struct {
	value  string
	given  bool // it is a string, perhaps an empty one
	faulty bool // it is something else
}

// number is the value of a field that should be a whole number of 0 or more.
type number struct {
	value  uint64
	faulty bool // it is something else
}

// rating is the value of a field that should be a number.
type rating struct {
	value  float64
	faulty bool
}

// yes is the value of a field that should be true or false.
type yes struct {
	value  bool
	faulty bool
}

// ackList is what the fields id and ids name together.
type ackList struct {
	ids    []string
	faulty bool // some are no ids
}

// parser reads what clients send, in one pass that ends where the message shows
// that it is not one: nothing is kept of a longer list than may be. The zero
// parser is ready; it keeps memory between messages. Owned by the loop.
type parser struct {
	text bytes.Buffer
	dec  jsontext.Decoder
}

// errMessage says that something is no message of a client.
var errMessage = errors.New("not a message of homing.v1")

// parse reads data, which is only lent. The error says that it is not an object
// with a string "t", or that something is longer than any message may have it.
// Fields that only some kinds of message have are marked if they are faulty.
func (p *parser) parse(data []byte) (in incoming, err error) {
	p.text = *bytes.NewBuffer(data)
	p.dec.Reset(&p.text, jsontext.AllowDuplicateNames(true))
	if err = p.object(&in); err != nil {
		return in, err
	}
	if in.kind.faulty || in.kind.value == "" {
		return in, errMessage
	}
	return in, nil
}

func (p *parser) object(in *incoming) error {
	if t, err := p.dec.ReadToken(); err != nil || t.Kind() != '{' {
		return errors.Join(errMessage, err)
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return err
		}
		if err = p.field(in, name.String()); err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errMessage
	}
	return nil
}

func (p *parser) field(in *incoming, name string) (err error) {
	switch name {
	case "t":
		in.kind, err = p.string()
	case "ref":
		in.ref, err = p.ref()
	case "after":
		in.after, err = p.string()
	case "ticket":
		in.ticket, err = p.stringUpTo(maxTicket)
	case "n":
		in.number, err = p.number()
	case "data":
		in.data, err = p.data()
	case "queue":
		in.queue, err = p.string()
	case "rating":
		in.rating, err = p.rating()
	case "labels":
		err = p.ids(&in.labels)
	case "topic":
		in.topic, err = p.stringUpTo(hub.MaxTopic)
	case "type":
		in.typ, err = p.stringUpTo(hub.MaxType)
	case "yes":
		in.yes, err = p.yes()
	case "id":
		err = p.id(&in.ack)
	case "ids":
		err = p.ids(&in.ack)
	default:
		err = p.dec.SkipValue()
	}
	return err
}

// ref reads any value that is short enough.
func (p *parser) ref() (jsontext.Value, error) {
	v, err := p.dec.ReadValue()
	if err == nil && len(v) > maxRef {
		err = errMessage
	}
	return v.Clone(), err
}

// data reads any value.
func (p *parser) data() (jsontext.Value, error) {
	v, err := p.dec.ReadValue()
	return v.Clone(), err
}

func (p *parser) number() (number, error) {
	v, err := p.dec.ReadValue()
	if err != nil || v.Kind() == 'n' {
		return number{}, err
	}
	n, parseErr := strconv.ParseUint(string(v), 10, 64)
	return number{value: n, faulty: parseErr != nil}, nil
}

func (p *parser) rating() (rating, error) {
	v, err := p.dec.ReadValue()
	if err != nil || v.Kind() == 'n' {
		return rating{}, err
	}
	n, parseErr := strconv.ParseFloat(string(v), 64)
	return rating{value: n, faulty: parseErr != nil}, nil
}

func (p *parser) yes() (yes, error) {
	v, err := p.dec.ReadValue()
	return yes{value: v.Kind() == 't', faulty: err == nil && v.Kind() != 't' && v.Kind() != 'f' && v.Kind() != 'n'}, err
}

func (p *parser) string() (text, error) { return p.stringUpTo(hub.MaxID) }

// stringUpTo reads a string of at most limit bytes.
func (p *parser) stringUpTo(limit int) (text, error) {
	if p.dec.PeekKind() != '"' {
		v, err := p.dec.ReadValue()
		return text{faulty: err == nil && v.Kind() != 'n'}, err
	}
	t, err := p.dec.ReadToken()
	if err != nil {
		return text{}, err
	}
	s := t.String()
	if len(s) > limit {
		return text{faulty: true}, nil
	}
	return text{value: s, given: true}, nil
}

// id adds the one id that is next to list, which is of no use any more once one
// is faulty.
func (p *parser) id(list *ackList) error {
	if list.faulty {
		return p.dec.SkipValue()
	}
	t, err := p.string()
	if list.faulty = t.faulty; t.value == "" {
		return err
	}
	if list.ids = append(list.ids, t.value); len(list.ids) > maxAck {
		return errMessage
	}
	return err
}

// ids adds the ids of the array that is next to list.
func (p *parser) ids(list *ackList) error {
	switch p.dec.PeekKind() {
	case '[':
	case 'n':
		return p.dec.SkipValue()
	default:
		list.faulty = true
		return p.dec.SkipValue()
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	for n := 0; p.dec.PeekKind() != ']'; n++ {
		if n == maxAck {
			return errMessage
		}
		had := len(list.ids)
		if err := p.id(list); err != nil {
			return err
		}
		list.faulty = list.faulty || len(list.ids) == had
	}
	_, err := p.dec.ReadToken()
	return err
}
