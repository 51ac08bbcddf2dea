package sse

import (
	"strings"
	"testing"
)

// event is what an EventSource makes of a stream.
type event struct{ id, name, data string }

// read is the client's side, as WHATWG HTML §9.2.6 has it.
func read(stream string) (events []event, retry string) {
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	var id, name string
	var data []string
	moved := false // the id was set since the last event
	for line := range strings.SplitSeq(stream, "\n") {
		if line == "" {
			if data != nil {
				events = append(events, event{id, name, strings.Join(data, "\n")})
			} else if moved {
				events = append(events, event{id: id}) // nobody is told, but the place has moved
			}
			name, data, moved = "", nil, false
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			if !strings.Contains(value, "\x00") {
				id, moved = value, true
			}
		case "event":
			name = value
		case "data":
			data = append(data, value)
		case "retry":
			retry = value
		}
	}
	return events, retry
}

func TestAppend(t *testing.T) {
	for _, c := range []struct {
		e    Event
		want string
	}{
		{Event{Data: []byte(`{"t":"x"}`)}, "data: {\"t\":\"x\"}\n\n"},
		{Event{ID: "a-1", Name: "hello", Data: []byte("x"), Retry: 1500}, "retry: 1500\nid: a-1\nevent: hello\ndata: x\n\n"},
		{Event{ID: "a-1"}, "id: a-1\n\n"},
		{Event{Data: []byte("a\r\nb\rc\nd")}, "data: a\ndata: b\ndata: c\ndata: d\n\n"},
		{Event{Data: []byte("a\n")}, "data: a\ndata: \n\n"},
		{Event{ID: "a\nb", Name: "x\ny", Data: []byte("z")}, "data: z\n\n"},
	} {
		if got := string(Append(nil, c.e)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.e, got, c.want)
		}
	}
}

// FuzzAppend reads back what was appended, behind another event and a comment.
func FuzzAppend(f *testing.F) {
	f.Add("a-1", "hello", "line\r\nline", 5)
	f.Add("", "", "\n", 0)
	f.Add("x\x00", "a\rb", ":x", -1)
	f.Fuzz(func(t *testing.T, id, name, data string, retry int) {
		b := Append([]byte(Comment), Event{Data: []byte("before")})
		got, _ := read(string(Append(b, Event{ID: id, Name: name, Data: []byte(data), Retry: retry})))
		want := event{id: id, name: name, data: strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\r", "\n")}
		if strings.ContainsAny(id, "\r\n\x00") {
			want.id = ""
		}
		if strings.ContainsAny(name, "\r\n") {
			want.name = ""
		}
		if data == "" {
			want.name = ""
			if want.id == "" {
				return
			}
		}
		if last := got[len(got)-1]; len(got) != 2 || got[0].data != "before" || last != want {
			t.Errorf("%q was read as %+v, want %+v", Append(nil, Event{ID: id, Name: name, Data: []byte(data)}), got, want)
		}
	})
}
