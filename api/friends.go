package api

import (
	"bytes"
	"context"
	"net/http"

	"github.com/homing/homing/hub"
)

// Friends keeps users' lists of friends. It is a *presence.Store. Its errors wrap
// hub.ErrUnavailable when trying again later may help.
type Friends interface {
	Put(ctx context.Context, user hub.UserID, friends []hub.UserID) error
	Get(ctx context.Context, user hub.UserID) ([]hub.UserID, error)
	Delete(ctx context.Context, user hub.UserID) error
}

// friends answers what is asked of lists of friends.
type friends struct {
	gate  *gate
	store Friends // nil: there are none
}

type friendsRequest struct {
	Friends []hub.UserID `json:"friends"`
}

type friendsReply struct {
	User    hub.UserID   `json:"user"`
	Friends []hub.UserID `json:"friends"`
}

// who returns the user that the path names, where there are friends.
func (f *friends) who(r *http.Request) (hub.UserID, error) {
	if f.store == nil {
		return "", refuse(CodeNotFound, "this server keeps no lists of friends")
	}
	return userParam(r)
}

func (f *friends) putFriends(w http.ResponseWriter, r *http.Request) error {
	user, err := f.who(r)
	if err != nil {
		return err
	}
	body := bodies.Get().(*bytes.Buffer)
	defer releaseBody(body)
	if err := f.gate.takeBody(w, r, body); err != nil {
		return err
	}
	var req friendsRequest
	if err := decode(body.Bytes(), &req); err != nil {
		return err
	}
	if req.Friends == nil {
		return &Error{Code: CodeInvalidField, Field: "friends", Detail: "missing"}
	}
	if err := hub.CheckFriends(user, req.Friends); err != nil {
		return fromHub(err)
	}
	if err := f.gate.payRest(caller(r.Context()), body.Len(), costOfFriends(len(req.Friends))-1); err != nil {
		return err
	}
	if err := f.store.Put(r.Context(), user, req.Friends); err != nil {
		return err
	}
	writeJSON(w, friendsReply{user, req.Friends})
	return nil
}

func (f *friends) getFriends(w http.ResponseWriter, r *http.Request) error {
	user, err := f.who(r)
	if err != nil {
		return err
	}
	list, err := f.store.Get(r.Context(), user)
	if err != nil {
		return err
	}
	writeJSON(w, friendsReply{user, append([]hub.UserID{}, list...)})
	return nil
}

func (f *friends) deleteFriends(w http.ResponseWriter, r *http.Request) error {
	user, err := f.who(r)
	if err != nil {
		return err
	}
	if err := f.gate.payMore(caller(r.Context()), costOfFriends(0)-1); err != nil {
		return err
	}
	if err := f.store.Delete(r.Context(), user); err != nil {
		return err
	}
	writeJSON(w, friendsReply{user, []hub.UserID{}})
	return nil
}
