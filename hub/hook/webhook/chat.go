package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/homing/homing/hub/hook"
)

// Formats of what an endpoint is sent.
const (
	formatJSON  = "json"  // events as docs/hooks.md describes them
	formatSlack = "slack" // {"text":"…"}, as Slack, Mattermost and Discord (at /slack) take it
)

const (
	// chatEvery is how far apart two messages to a chat are.
	chatEvery = 2 * time.Second
	// maxChatLines and maxChatLine bound a message: how many events it tells of, and how
	// many bytes of each. Of others it says how many they were.
	//bound:hook-chat
	maxChatLines = 20
	maxChatLine  = 400
)

// chat gathers what is to be told while another message is under way, or was sent a
// moment ago, into one message. It is safe for concurrent use.
type chat struct {
	every time.Duration
	send  func(ctx context.Context, id string, body []byte) hook.Answer
	turn  chan struct{} // of who sends

	mu   sync.Mutex
	last time.Time // when the last message was sent; guarded by turn
	open *gathering
}

// gathering is a message that is not sent yet. Its lines are guarded by chat.mu.
type gathering struct {
	lines  []string
	left   int           // events without a line
	done   chan struct{} // closed when there is an answer
	answer hook.Answer
}

func newChat(send func(ctx context.Context, id string, body []byte) hook.Answer) *chat {
	return &chat{every: chatEvery, send: send, turn: make(chan struct{}, 1)}
}

// post has the events of body told, alone or with others, and waits for the answer. Who
// comes first sends for all.
func (c *chat) post(ctx context.Context, id string, body []byte) hook.Answer {
	lines, left := chatLines(body)
	c.mu.Lock()
	g := c.open
	first := g == nil
	if first {
		g = &gathering{done: make(chan struct{})}
		c.open = g
	}
	room := min(len(lines), maxChatLines-len(g.lines))
	g.lines = append(g.lines, lines[:room]...)
	g.left += left + len(lines) - room
	c.mu.Unlock()
	if first {
		g.answer = c.lead(ctx, id, g)
		close(g.done)
		return g.answer
	}
	select {
	case <-g.done:
		return g.answer
	case <-ctx.Done():
		return hook.Answer{Err: ctx.Err()}
	}
}

// lead waits until a message may be sent, and sends what was gathered by then.
func (c *chat) lead(ctx context.Context, id string, g *gathering) hook.Answer {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
		select {
		case <-time.After(c.every - time.Since(c.last)):
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	c.mu.Lock()
	c.open = nil
	text := g.text()
	c.mu.Unlock()
	if ctx.Err() != nil {
		return hook.Answer{Err: ctx.Err()}
	}
	c.last = time.Now() // it has the turn
	body, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		return hook.Answer{Err: fmt.Errorf("a message to a chat: %w", err)}
	}
	return c.send(ctx, id, body)
}

func (g *gathering) text() string {
	text := strings.Join(g.lines, "\n")
	if g.left > 0 {
		text += fmt.Sprintf("\n… and %d more events", g.left)
	}
	return text
}

// chatEvent is what is told of an event.
type chatEvent struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// chatLines are the events of a body, or of a batch, in words; left is of how many there
// are none, because they were too many.
func chatLines(body []byte) (lines []string, left int) {
	var batch struct {
		Events []chatEvent `json:"events"`
		chatEvent
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return []string{"an event that is not JSON"}, 0 // a bug: what is published is JSON
	}
	events := batch.Events
	if len(events) == 0 {
		events = []chatEvent{batch.chatEvent}
	}
	for i := range events {
		if i == maxChatLines {
			return lines, len(events) - i
		}
		lines = append(lines, events[i].line())
	}
	return lines, 0
}

// chatEscape has chats show a text as it is.
var chatEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\n", " ")

// line is the text of the event's data where it has one, or else its data.
func (e *chatEvent) line() string {
	var words struct {
		Text string `json:"text"`
	}
	line := e.Type + ": "
	if json.Unmarshal(e.Data, &words) == nil && words.Text != "" {
		line += words.Text
	} else {
		var compact bytes.Buffer
		_ = json.Compact(&compact, e.Data) // it came out of JSON
		line += compact.String()
	}
	if len(line) > maxChatLine {
		line = strings.ToValidUTF8(line[:maxChatLine], "") + "…"
	}
	return chatEscape.Replace(line)
}
