package topic

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
)

// Worker is a process that has members; see front.Worker.
type Worker interface {
	JoinTopic(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error)
	LeaveTopic(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error)
	TopicMembers(ctx context.Context, name hub.Topic) ([]hub.UserID, error)
	Topics(ctx context.Context, prefix string, after hub.Topic, limit int) ([]hub.TopicCount, error)
}

// The methods that workers are asked for.
const (
	methodJoin    = "topic.join"
	methodLeave   = "topic.leave"
	methodMembers = "topic.members"
	methodList    = "topic.list"
)

// change asks to have users join or leave; the answer is a list of fates in their order.
type change struct {
	Topic hub.Topic    `json:"topic"`
	Users []hub.UserID `json:"users"`
}

// page asks for a part of the members of a topic, or of the topics.
type page struct {
	Topic  hub.Topic `json:"topic,omitzero"`
	Prefix string    `json:"prefix,omitzero"`
	After  string    `json:"after,omitzero"`
	Limit  int       `json:"limit"`
}

// Member is a user with connections that are members.
type Member struct {
	User        hub.UserID `json:"user"`
	Connections int        `json:"connections"`
}

// members are those of one process: how many in all, and the first of the page.
type members struct {
	Users       int      `json:"users"`
	Connections int      `json:"connections"`
	Page        []Member `json:"page,omitempty"`
}

// Methods are what a worker carries out for others.
func Methods(w Worker) map[string]call.Handler {
	return map[string]call.Handler{
		methodJoin:    changeWith(w.JoinTopic),
		methodLeave:   changeWith(w.LeaveTopic),
		methodMembers: handle(func(ctx context.Context, p page) (members, error) { return listMembers(ctx, w, p) }),
		methodList: handle(func(ctx context.Context, p page) ([]hub.TopicCount, error) {
			return w.Topics(ctx, p.Prefix, hub.Topic(p.After), p.Limit)
		}),
	}
}

func changeWith(f func(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error)) call.Handler {
	return handle(func(ctx context.Context, c change) ([]hub.TopicFate, error) { return f(ctx, c.Topic, c.Users) })
}

// handle is f as a handler: JSON in, JSON out.
func handle[In, Out any](f func(ctx context.Context, in In) (Out, error)) call.Handler {
	return func(ctx context.Context, _ hub.ProcessID, body []byte) ([]byte, error) {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, fmt.Errorf("topic: %w", err)
		}
		out, err := f(ctx, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
}

// listMembers sorts the members of one process by user and takes a page of them.
func listMembers(ctx context.Context, w Worker, p page) (members, error) {
	users, err := w.TopicMembers(ctx, p.Topic)
	if err != nil {
		return members{}, err
	}
	slices.Sort(users)
	m := members{Connections: len(users)}
	for len(users) > 0 {
		user, n := users[0], 1
		for n < len(users) && users[n] == user {
			n++
		}
		users = users[n:]
		m.Users++
		if len(m.Page) < p.Limit && string(user) > p.After {
			m.Page = append(m.Page, Member{User: user, Connections: n})
		}
	}
	return m, nil
}
