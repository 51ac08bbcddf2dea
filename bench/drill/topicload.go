package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/hub"
)

const (
	topicSenders = 8 // backends
	// topicPart is what part of --rate backends post to topics: one reaches some 330
	// members.
	topicPart   = 0.06
	mixedUsers  = 10
	publishPart = 0.03 // of --rate clients publish
	// changeRate is how many memberships a second clients begin or end, and backendRate
	// how often backends do, for backendUsers each time.
	changeRate, backendRate, backendUsers = 50, 5, 5
	leaveRate                             = 10 // clients a second that end their connections and come back
)

// topicLoad is what backends and members do meanwhile.
type topicLoad struct {
	assembly *assembly
	backend  *backend
	rate     float64
	running  sync.WaitGroup

	accepted, refused, changed atomic.Int64

	mu   sync.Mutex
	last error
}

func newTopicLoad(a *assembly, b *backend, rate float64) *topicLoad {
	return &topicLoad{assembly: a, backend: b, rate: rate}
}

// start goes on until ctx ends; wait then waits for the answers still to come.
func (l *topicLoad) start(ctx context.Context) {
	a := l.assembly
	for n := range topicSenders {
		l.running.Go(func() { l.send(ctx, n) })
	}
	pick := func() *member { return a.members[rand.IntN(len(a.members))] }
	speakers := max(1, len(a.members)/publisherPart)
	l.every(ctx, l.rate*publishPart, func(context.Context) { a.members[rand.IntN(speakers)].publish() })
	l.every(ctx, changeRate, func(context.Context) { pick().change(a.topics) })
	l.every(ctx, leaveRate, func(context.Context) { pick().leave() })
	l.running.Go(func() { l.lend(ctx) })
}

func (l *topicLoad) wait() { l.running.Wait() }

// every calls f so many times a second.
func (l *topicLoad) every(ctx context.Context, rate float64, f func(context.Context)) {
	l.running.Go(func() {
		load.Schedule{Rate: rate, Duration: time.Hour, Callers: 1}.Run(ctx, func(int, time.Time) func(context.Context) { return f })
	})
}

// send is one backend's life: it posts one after another to one API server.
func (l *topicLoad) send(ctx context.Context, sender int) {
	n := 0
	load.Schedule{Rate: l.rate * topicPart / topicSenders, Duration: time.Hour, Callers: 1}.Run(ctx, func(int, time.Time) func(context.Context) {
		return func(ctx context.Context) {
			l.post(context.WithoutCancel(ctx), sender, n)
			n++
		}
	})
}

// topicPost is a notification for topics.
type topicPost struct {
	Users    []hub.UserID  `json:"users,omitempty"`
	Topics   []hub.Topic   `json:"topics"`
	Services []hub.Service `json:"services,omitempty"`
	Class    string        `json:"class,omitempty"`
	Key      string        `json:"key,omitempty"`
	Type     string        `json:"type"`
	Data     payload       `json:"data"`
}

// post sends one: to one topic, or every third time to several and to users besides; one
// in four for one service alone; one in five of class latest.
func (l *topicLoad) post(ctx context.Context, sender, n int) {
	a := l.assembly
	p := &ledger.Post{Key: ledger.Key{Sender: sender, N: n}, By: sender % len(l.backend.apis), Due: time.Now()}
	p.Topics = append(p.Topics, a.topics[rand.IntN(len(a.topics))])
	if n%3 == 2 {
		p.Topics = append(p.Topics, a.topics[rand.IntN(len(a.topics)/2)], a.topics[rand.IntN(len(a.topics)/2)])
		for range mixedUsers {
			p.Users = append(p.Users, a.members[rand.IntN(len(a.members))].user)
		}
	}
	body := topicPost{Topics: p.Topics, Users: p.Users, Type: "drill", Data: payload{Sender: sender, N: n}}
	if n%4 == 1 {
		p.Services = memberServices[1+n/4%2:][:1]
		body.Services = p.Services
	}
	if p.Latest = n%5 == 2; p.Latest {
		body.Class, body.Key = hub.ClassLatest.String(), fmt.Sprint("sender", sender)
	}
	got := l.backend.call(ctx, "post", http.MethodPost, l.backend.apis[p.By]+"/notify", body)
	var reply hub.Summary
	switch {
	case got.status == 0:
		l.fails(got.err)
		a.answered(p, ledger.Unknown)
	case !got.ok(), got.parse(&reply) != nil, reply.Unavailable > 0:
		l.fails(fmt.Errorf("%v", got))
		a.answered(p, ledger.Refused)
	default:
		l.accepted.Add(1)
		a.answered(p, ledger.Accepted)
	}
}

func (l *topicLoad) fails(err error) {
	l.refused.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = err
}

// why is why a post was not accepted last.
func (l *topicLoad) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// loan is what a backend had members join.
type loan struct {
	topic   hub.Topic
	members []*member
}

// lend is the life of a backend that has members join topics and leave them later.
func (l *topicLoad) lend(ctx context.Context) {
	var loans []loan
	n := 0
	load.Schedule{Rate: backendRate, Duration: time.Hour, Callers: 1}.Run(ctx, func(int, time.Time) func(context.Context) {
		return func(ctx context.Context) {
			ctx = context.WithoutCancel(ctx)
			if n++; n%2 == 0 && len(loans) > backendRate {
				l.end(ctx, loans[0])
				loans = loans[1:]
				return
			}
			if x := l.begin(ctx); len(x.members) > 0 {
				loans = append(loans, x)
			}
		}
	})
}

func (l *topicLoad) begin(ctx context.Context) loan {
	a := l.assembly
	x := loan{topic: a.topics[rand.IntN(len(a.topics))]}
	if keeps(x.topic) {
		return x
	}
	for range backendUsers {
		if m := a.members[rand.IntN(len(a.members))]; m.number%11 < 9 && m.lend(x.topic) { // of a user with one connection
			x.members = append(x.members, m)
		}
	}
	l.ask(ctx, x, "join")
	return x
}

func (l *topicLoad) end(ctx context.Context, x loan) {
	for _, m := range x.members {
		m.takeBack(x.topic)
	}
	l.ask(ctx, x, "leave")
}

func (l *topicLoad) ask(ctx context.Context, x loan, what string) {
	if len(x.members) == 0 {
		return
	}
	var users []hub.UserID
	for _, m := range x.members {
		users = append(users, m.user)
	}
	got := l.backend.call(ctx, what, http.MethodPost, l.backend.apis[rand.IntN(len(l.backend.apis))]+"/topics/"+string(x.topic)+"/"+what, map[string]any{"users": users})
	if got.ok() {
		l.changed.Add(int64(len(users)))
	} else {
		l.assembly.wasRefused(what + " by backend")
	}
}
