package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
	"github.com/homing/homing/hub/room/remote"
)

// Rooms is what the server needs of the game rooms; see remote.Rooms.
type Rooms interface {
	Open(ctx context.Context, o asks.Open) (*asks.Opened, error)
	List(ctx context.Context, class string, limit int, cursor string) ([]directory.Record, string, error)
	Info(ctx context.Context, id string) (*asks.Info, error)
	Seats(ctx context.Context, id string, users []hub.UserID) (*asks.Opened, error)
	Signal(ctx context.Context, id, name string, data []byte) ([]byte, error)
	Finish(ctx context.Context, id string, result []byte) error
	Close(ctx context.Context, id string) error
	Move(ctx context.Context, id string, to hub.ProcessID) (*asks.Moved, error)
}

// rooms answers what is asked of game rooms.
type rooms struct {
	gate  *gate
	rooms Rooms
}

type openRequest struct {
	ID       string         `json:"id"`
	Class    string         `json:"class"`
	Users    []hub.UserID   `json:"users"`
	Metadata jsontext.Value `json:"metadata"`
	Data     jsontext.Value `json:"data"`
}

type seatsReply struct {
	Room  string      `json:"room"`
	Class string      `json:"class"`
	Epoch uint64      `json:"epoch"`
	URL   string      `json:"url"`
	Seats []asks.Seat `json:"seats"`
}

func seatsOf(o *asks.Opened) seatsReply {
	return seatsReply{Room: o.Room, Class: o.Class, Epoch: o.Epoch, URL: o.URL, Seats: o.Seats}
}

func (x *rooms) postRoom(w http.ResponseWriter, r *http.Request) error {
	var req openRequest
	if err := x.gate.read(w, r, &req, costOfRoom); err != nil {
		return err
	}
	if req.Class == "" {
		return &Error{Code: CodeInvalidField, Field: "class", Detail: "empty"}
	}
	o, err := x.rooms.Open(r.Context(), asks.Open{
		Room: req.ID, Class: req.Class, Users: req.Users, Metadata: unlessNull(req.Metadata), Data: unlessNull(req.Data),
	})
	if err != nil {
		return fromRooms(err)
	}
	status := http.StatusCreated
	if o.Existed {
		status = http.StatusOK
	}
	writeBody(w, status, "application/json", mustJSON(seatsOf(o)))
	return nil
}

// unlessNull is v, empty where null was written.
func unlessNull(v jsontext.Value) jsontext.Value {
	if v.Kind() == 'n' {
		return nil
	}
	return v
}

// Bounds of a list.
const (
	defaultRoomLimit = 100
	maxRoomLimit     = 1000
)

type roomSummary struct {
	Room     string         `json:"room"`
	Class    string         `json:"class"`
	Process  hub.ProcessID  `json:"process"`
	URL      string         `json:"url"`
	Seats    int            `json:"seats"`
	Taken    int            `json:"taken"`
	Metadata jsontext.Value `json:"metadata,omitzero"`
	Created  time.Time      `json:"created"`
}

type roomsReply struct {
	Rooms  []roomSummary `json:"rooms"`
	Cursor string        `json:"cursor,omitzero"`
}

func (x *rooms) getRooms(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit := defaultRoomLimit
	if s := q.Get("limit"); s != "" {
		var err error
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxRoomLimit {
			return &Error{Code: CodeInvalidField, Field: "limit", Detail: "want 1 to " + strconv.Itoa(maxRoomLimit)}
		}
	}
	if err := x.gate.payMore(caller(r.Context()), limit/unitUsers); err != nil {
		return err
	}
	records, cursor, err := x.rooms.List(r.Context(), q.Get("class"), limit, q.Get("cursor"))
	if err != nil {
		return fromRooms(err)
	}
	out := roomsReply{Rooms: make([]roomSummary, len(records)), Cursor: cursor}
	for i, rec := range records {
		out.Rooms[i] = roomSummary{
			Room: rec.Room, Class: rec.Class, Process: rec.Owner, URL: rec.URL,
			Seats: rec.Seats, Taken: rec.Taken, Metadata: rec.Metadata, Created: rec.Made.UTC(),
		}
	}
	writeJSON(w, out)
	return nil
}

// endedRoom is a room that has ended lately.
type endedRoom struct {
	Room   string         `json:"room"`
	Class  string         `json:"class"`
	Ended  string         `json:"ended"`
	Result jsontext.Value `json:"result,omitzero"`
}

func (x *rooms) getRoom(w http.ResponseWriter, r *http.Request) error {
	i, err := x.rooms.Info(r.Context(), chi.URLParam(r, "room"))
	if ended := new(remote.EndedError); errors.As(err, &ended) {
		rec := &ended.Record
		writeJSON(w, endedRoom{Room: rec.Room, Class: rec.Class, Ended: rec.Ended, Result: rec.Result})
		return nil
	}
	if err != nil {
		return fromRooms(err)
	}
	writeJSON(w, i)
	return nil
}

func (x *rooms) postSeats(w http.ResponseWriter, r *http.Request) error {
	var req usersRequest
	if err := x.gate.read(w, r, &req, 0); err != nil {
		return err
	}
	o, err := x.rooms.Seats(r.Context(), chi.URLParam(r, "room"), req.Users)
	if err != nil {
		return fromRooms(err)
	}
	writeJSON(w, seatsOf(o))
	return nil
}

type signalRequest struct {
	Name string         `json:"name"`
	Data jsontext.Value `json:"data"`
}

// signalReply has what the logic answered: JSON as it is, anything else in base64.
type signalReply struct {
	Reply  jsontext.Value `json:"reply,omitzero"`
	Binary []byte         `json:"reply_base64,omitzero"`
}

// maxSignal bounds the name of a signal.
const maxSignal = 64

func (x *rooms) postSignal(w http.ResponseWriter, r *http.Request) error {
	var req signalRequest
	if err := x.gate.read(w, r, &req, 0); err != nil {
		return err
	}
	if req.Name == "" || len(req.Name) > maxSignal {
		return &Error{Code: CodeInvalidField, Field: "name", Detail: "want 1 to " + strconv.Itoa(maxSignal) + " bytes"}
	}
	if len(req.Data) > room.MaxMessage {
		return &Error{Code: CodeInvalidField, Field: "data", Detail: "want at most " + strconv.Itoa(room.MaxMessage) + " bytes"}
	}
	if req.Data == nil {
		req.Data = jsontext.Value("null")
	}
	reply, err := x.rooms.Signal(r.Context(), chi.URLParam(r, "room"), req.Name, req.Data)
	if err != nil {
		return fromRooms(err)
	}
	var out signalReply
	switch {
	case len(reply) == 0:
	case jsontext.Value(reply).IsValid():
		out.Reply = reply
	default:
		out.Binary = reply
	}
	writeJSON(w, out)
	return nil
}

type finishRequest struct {
	Result jsontext.Value `json:"result"`
}

// roomEnd says how a room has ended.
type roomEnd struct {
	Room  string `json:"room"`
	Ended string `json:"ended"`
}

func (x *rooms) postFinish(w http.ResponseWriter, r *http.Request) error {
	var req finishRequest
	if err := x.gate.read(w, r, &req, 0); err != nil {
		return err
	}
	if len(req.Result) > room.MaxResult {
		return &Error{Code: CodeInvalidField, Field: "result", Detail: "want at most " + strconv.Itoa(room.MaxResult) + " bytes"}
	}
	id := chi.URLParam(r, "room")
	return x.ended(w, id, room.EndFinished, x.rooms.Finish(r.Context(), id, req.Result))
}

func (x *rooms) deleteRoom(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "room")
	return x.ended(w, id, room.EndClosed, x.rooms.Close(r.Context(), id))
}

// ended answers a request to end a room: one that had ended stays as it was.
func (x *rooms) ended(w http.ResponseWriter, id string, why room.EndReason, err error) error {
	if before := new(remote.EndedError); errors.As(err, &before) {
		why, err = room.EndReason(before.Record.Ended), nil
	}
	if err != nil {
		return fromRooms(err)
	}
	writeJSON(w, roomEnd{Room: id, Ended: string(why)})
	return nil
}

type moveRequest struct {
	Process hub.ProcessID `json:"process"`
}

func (x *rooms) postMove(w http.ResponseWriter, r *http.Request) error {
	var req moveRequest
	if err := x.gate.read(w, r, &req, costOfRoom); err != nil {
		return err
	}
	m, err := x.rooms.Move(r.Context(), chi.URLParam(r, "room"), req.Process)
	if err != nil {
		return fromRooms(err)
	}
	writeJSON(w, m)
	return nil
}

// fromRooms turns an error of the rooms into a refusal.
func fromRooms(err error) error {
	var refused *call.RefusalError
	switch {
	case errors.Is(err, remote.ErrNotFound):
		return refuse(CodeRoomNotFound, "no room of that id is open, nor has one ended within the last ten minutes")
	case errors.As(err, new(*remote.EndedError)):
		return refuse(CodeRoomEnded, "%v", err)
	case errors.Is(err, remote.ErrMismatch):
		return refuse(CodeRoomExists, "%v", err)
	case errors.As(err, new(*hub.FieldError)):
		return fromHub(err)
	case errors.Is(err, call.ErrNoAnswer):
		return refuse(CodeTimeout, "%v: ask again with the same id, or look at the room", err)
	case errors.As(err, &refused): // also where nobody is left to ask
		return fromRefusal(refused)
	case errors.Is(err, directory.ErrNoProcess):
		return &Error{Code: CodeRoomsFull, Detail: "no front takes rooms now", RetryAfter: time.Second}
	}
	return err
}

func fromRefusal(refused *call.RefusalError) error {
	switch refused.Code {
	case asks.CodeClass:
		return &Error{Code: CodeInvalidField, Field: "class", Detail: "no front has such a class"}
	case asks.CodeFull:
		return refuse(CodeRoomFull, "there are not enough free seats, or the room takes nobody")
	case asks.CodeEnded:
		return refuse(CodeRoomEnded, "%s", refused.Detail)
	case asks.CodeTooMany:
		e := refuse(CodeRoomsFull, "every front asked has as many rooms or seats as it may")
		e.RetryAfter = time.Second
		return e
	case asks.CodeLogic:
		return refuse(CodeRoomRefused, "%s", refused.Detail)
	case asks.CodeNobody:
		return &Error{Code: CodeRoomsFull, Detail: refused.Detail, RetryAfter: time.Second}
	case asks.CodeMove:
		return refuse(CodeRoomNotMoved, "%s", refused.Detail)
	}
	if errors.Is(refused, hub.ErrInvalid) {
		return &Error{Code: CodeInvalidField, Field: refused.Field, Detail: refused.Detail}
	}
	return refused
}
