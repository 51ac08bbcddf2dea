package child

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Request is one call as the child sees it. It must be answered once, by
// Reply or Fail; Progress may come before, from any goroutine.
type Request struct {
	Do   string
	with json.RawMessage
	out  *lines
}

// lines writes answers, one a line.
type lines struct {
	mu  sync.Mutex // guards enc
	enc *json.Encoder
}

func (l *lines) write(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.enc.Encode(a) // a parent that is gone ends the input too
}

// Read decodes what the parent gave with the call.
func (r Request) Read(v any) error {
	if err := json.Unmarshal(r.with, v); err != nil {
		return fmt.Errorf("read %s: %w", r.Do, err)
	}
	return nil
}

// Progress reports how far the work is.
func (r Request) Progress(v any) { r.send(v, false) }

// Reply ends the call with a result.
func (r Request) Reply(v any) { r.send(v, true) }

// Fail ends the call with an error.
func (r Request) Fail(err error) { r.out.write(answer{Last: true, Error: err.Error()}) }

func (r Request) send(v any, last bool) {
	value, err := json.Marshal(v)
	if err != nil {
		r.Fail(err)
		return
	}
	r.out.write(answer{Last: last, Value: value})
}

// Requests yields the parent's calls until in ends, but for those that ask for
// the time. The channel is read by
// the child's main loop; the goroutine behind it ends with in.
func Requests(in io.Reader, out io.Writer) <-chan Request {
	ch := make(chan Request)
	answers := &lines{enc: json.NewEncoder(out)}
	go func() {
		defer close(ch)
		s := bufio.NewScanner(in)
		s.Buffer(make([]byte, 64<<10), maxLine)
		for s.Scan() {
			var c call
			if err := json.Unmarshal(s.Bytes(), &c); err != nil {
				answers.write(answer{Last: true, Error: err.Error()})
				continue
			}
			r := Request{Do: c.Do, with: c.With, out: answers}
			if r.Do == clockCall {
				r.Reply(time.Now().UnixNano())
				continue
			}
			ch <- r
		}
	}()
	return ch
}
