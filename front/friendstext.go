package front

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/presence"
)

// appendOnline appends who of a user's friends is online.
func appendOnline(b []byte, online []presence.Friend) []byte {
	b = append(b, `{"t":"friends","online":[`...)
	for i, o := range online {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"user":`...)
		b = appendQuoted(b, string(o.User))
		b = appendServices(b, o.Services)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

func appendServices(b []byte, services []hub.Service) []byte {
	b = append(b, `,"services":[`...)
	for i, s := range services {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, string(s))
	}
	return append(b, ']')
}

// appendNews appends that one has come or gone.
func appendNews(b []byte, n *presence.News) []byte {
	b = append(b, `{"t":"presence","user":`...)
	b = appendQuoted(b, string(n.User))
	if !n.Online {
		return append(b, `,"online":false}`...)
	}
	return append(appendServices(append(b, `,"online":true`...), n.Services), '}')
}

// appendGone appends that several have gone.
func appendGone(b []byte, users []string) []byte {
	b = append(b, `{"t":"presence","users":[`...)
	for i, u := range users {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, u)
	}
	return append(b, `],"online":false}`...)
}

// appendQuoted appends s, which is ASCII.
func appendQuoted(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
