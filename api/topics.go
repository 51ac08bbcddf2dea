package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-chi/chi/v5"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/topic"
)

// Topics is what the server needs of the members of topics; see topic.Remote.
type Topics interface {
	Join(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error)
	Leave(ctx context.Context, name hub.Topic, users []hub.UserID) ([]hub.TopicFate, error)
	Members(ctx context.Context, name hub.Topic, after hub.UserID, limit int) (topic.Members, error)
	List(ctx context.Context, prefix string, after hub.Topic, limit int) ([]hub.TopicCount, error)
}

// Histories is what the server needs of what topics keep; see topic.Histories.
type Histories interface {
	Read(ctx context.Context, name hub.Topic, after string) (hub.Missed, error)
}

// topics answers what is asked of topics.
type topics struct {
	gate      *gate
	topics    Topics
	histories Histories
}

// Bounds of a page of topics, members or messages.
const (
	defaultPage = 100
	maxPage     = 1000
)

// topicChange says what became of the users that were to join or leave.
type topicChange struct {
	Topic hub.Topic    `json:"topic"`
	Done  int          `json:"done"`           // users whose connections have joined, or left
	Away  []hub.UserID `json:"away,omitempty"` // users without a connection
	Full  []hub.UserID `json:"full,omitempty"` // users whose connections are members of as many topics as they may be
}

func (x *topics) postJoin(w http.ResponseWriter, r *http.Request) error {
	return x.change(w, r, x.topics.Join)
}

func (x *topics) postLeave(w http.ResponseWriter, r *http.Request) error {
	return x.change(w, r, x.topics.Leave)
}

func (x *topics) change(w http.ResponseWriter, r *http.Request, with func(context.Context, hub.Topic, []hub.UserID) ([]hub.TopicFate, error)) error {
	name, err := topicParam(r)
	if err != nil {
		return err
	}
	var req usersRequest
	if err := x.gate.read(w, r, &req, costOfTopic); err != nil {
		return err
	}
	if err := hub.CheckUsers(req.Users); err != nil {
		return fromHub(err)
	}
	users := hub.Distinct(req.Users)
	if err := x.gate.payMore(caller(r.Context()), len(users)/unitMembers); err != nil {
		return err
	}
	fates, err := with(r.Context(), name, users)
	if err != nil {
		return err
	}
	out := topicChange{Topic: name}
	for i, u := range users {
		switch fates[i] {
		case hub.TopicDone:
			out.Done++
		case hub.TopicFull:
			out.Full = append(out.Full, u)
		case hub.TopicAway:
			out.Away = append(out.Away, u)
		}
	}
	writeJSON(w, out)
	return nil
}

// topicReply counts the members of a topic.
type topicReply struct {
	Topic       hub.Topic `json:"topic"`
	Users       int       `json:"users"`
	Connections int       `json:"connections"`
	Processes   int       `json:"processes"`
}

func (x *topics) getTopic(w http.ResponseWriter, r *http.Request) error {
	name, err := topicParam(r)
	if err != nil {
		return err
	}
	m, err := x.topics.Members(r.Context(), name, "", 0)
	if err != nil {
		return err
	}
	writeJSON(w, topicReply{Topic: name, Users: m.Users, Connections: m.Connections, Processes: m.Processes})
	return nil
}

type membersReply struct {
	Topic   hub.Topic      `json:"topic"`
	Members []topic.Member `json:"members"`
	Next    hub.UserID     `json:"next,omitzero"` // where the next page begins; none: this was the last
}

func (x *topics) getMembers(w http.ResponseWriter, r *http.Request) error {
	name, err := topicParam(r)
	if err != nil {
		return err
	}
	limit, err := x.page(r)
	if err != nil {
		return err
	}
	m, err := x.topics.Members(r.Context(), name, hub.UserID(r.URL.Query().Get("after")), limit)
	if err != nil {
		return err
	}
	out := membersReply{Topic: name, Members: append([]topic.Member{}, m.Page...)}
	if len(m.Page) == limit {
		out.Next = m.Page[limit-1].User
	}
	writeJSON(w, out)
	return nil
}

type topicsReply struct {
	Topics []hub.TopicCount `json:"topics"`
	Next   hub.Topic        `json:"next,omitzero"` // where the next page begins; none: this was the last
}

func (x *topics) getTopics(w http.ResponseWriter, r *http.Request) error {
	limit, err := x.page(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	counts, err := x.topics.List(r.Context(), q.Get("prefix"), hub.Topic(q.Get("after")), limit)
	if err != nil {
		return err
	}
	out := topicsReply{Topics: append([]hub.TopicCount{}, counts...)}
	if len(counts) == limit {
		out.Next = counts[limit-1].Topic
	}
	writeJSON(w, out)
	return nil
}

// historyReply is what a topic has kept, each message as clients read it.
type historyReply struct {
	Topic     hub.Topic        `json:"topic"`
	Messages  []jsontext.Value `json:"messages"`  // the newest, oldest first
	Recovered bool             `json:"recovered"` // these are all that were kept since after
	Last      string           `json:"last,omitzero"`
}

func (x *topics) getHistory(w http.ResponseWriter, r *http.Request) error {
	name, err := topicParam(r)
	if err != nil {
		return err
	}
	limit, err := x.page(r)
	if err != nil {
		return err
	}
	missed, err := x.histories.Read(r.Context(), name, r.URL.Query().Get("after"))
	if err != nil {
		return err
	}
	out := historyReply{Topic: name, Messages: []jsontext.Value{}, Recovered: missed.Recovered, Last: missed.Last}
	skip := max(0, len(missed.Entries)-limit)
	out.Recovered = out.Recovered && skip == 0
	for i := range missed.Entries[skip:] {
		out.Messages = append(out.Messages, missed.Entries[skip+i].Payload)
	}
	writeJSON(w, out)
	return nil
}

// page reads how long a page may be, and has the caller pay for it.
func (x *topics) page(r *http.Request) (limit int, err error) {
	limit = defaultPage
	if s := r.URL.Query().Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxPage {
			return 0, &Error{Code: CodeInvalidField, Field: "limit", Detail: "want 1 to " + strconv.Itoa(maxPage)}
		}
	}
	return limit, x.gate.payMore(caller(r.Context()), costOfTopic+limit/unitUsers)
}

// topicParam is the topic that the path names; one with a slash is escaped there.
func topicParam(r *http.Request) (hub.Topic, error) {
	name := chi.URLParam(r, "topic")
	if r.URL.RawPath != "" {
		plain, err := url.PathUnescape(name)
		if err != nil {
			return "", &Error{Code: CodeInvalidField, Field: "topic", Detail: "escaped wrongly"}
		}
		name = plain
	}
	t := hub.Topic(name)
	if err := t.Check(); err != nil {
		return "", &Error{Code: CodeInvalidField, Field: "topic", Detail: err.Error()}
	}
	return t, nil
}
