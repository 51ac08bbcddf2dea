// Package arena is an example of a game's own logic: players collect coins, keep
// out of the way of guards and of a bar that turns, and hold cards that the others
// do not see. Copy it to begin a game of your own.
//
// A member says {"move":[dx,dy]} (its heading, in percent of its speed),
// {"play":ID} of a card, or {"chat":"TEXT"}. The states that it reads:
//
//	who.SEAT    {"user":"ann","score":3}
//	at.SEAT     [x,y]
//	hand.SEAT   [{"id":71,"card":"swap"}]          its own only
//	guard.N     [x,y]
//	coin.N      [x,y]
//	bar         {"angle":0,"turn":1,"since":160}   angle at that tick, in 1/128 of a circle
//	game        {"ends":1800,"goal":15,"seats":4}  ends: a tick; 0 before anybody has come
//
// Events are objects whose "is" says what happened: came, left, coin, caught,
// played, drew (its own only), chat, over.
package arena

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
)

// Bounds and pace of the game.
const (
	hz         = 20
	maxGuards  = 32
	maxGoal    = 1000
	maxSeconds = 3600
	maxChat    = 200 // bytes
	maxHand    = 3
	maxCatchUp = 5 // ticks that were left out and are made good in one

	headingTicks = hz / 2 // a heading is forgotten unless it is said again: its player may be cut off
	turnTicks    = 8 * hz // between two changes of the bar's direction
	dashTicks    = 2 * hz
	safeTicks    = 3 * hz // in which guards leave alone who has come or was caught
)

// deck are the cards there are.
var deck = []string{"dash", "swap", "turn"}

var (
	errSignal   = errors.New("no such signal")
	errSettings = errors.New("settings out of bounds")
	errSnapshot = errors.New("the snapshot is of another arena")
)

// Class returns the class of arenas with so many seats.
func Class(name string, seats int) room.Class {
	c := room.DefaultClass()
	c.Name, c.Seats, c.Hz = name, seats, hz
	c.New = func() room.Logic { return &arena{seats: seats} }
	return c
}

// arena is one game. All that changes is in world, so that a snapshot is complete.
type arena struct {
	room.Plain

	seats int
	world
}

// settings are what the backend may say when it makes the room.
type settings struct {
	Seconds int `json:"seconds"`
	Goal    int `json:"goal"` // coins that win
	Guards  int `json:"guards"`
}

func (s *settings) valid() bool {
	return s.Seconds >= 1 && s.Seconds <= maxSeconds && s.Goal >= 1 && s.Goal <= maxGoal && s.Guards >= 0 && s.Guards <= maxGuards
}

// Start lays the arena out.
func (a *arena) Start(t *room.Table) {
	a.world = world{
		Settings: settings{Seconds: 90, Goal: 15, Guards: 2 + a.seats/5},
		Players:  make([]player, a.seats),
		Coins:    make([]point, a.seats+3),
	}
	for i := range a.Coins {
		a.dropCoin(t, i)
	}
	a.apply(t, a.Settings)
	a.turn(t, 1)
}

// Join gives a player its place and two cards. Who comes back has them still.
func (a *arena) Join(t *room.Table, m room.Member, back bool) {
	if back {
		return
	}
	if a.Ends == 0 { // the time runs from the first player on
		a.startClock(t)
	}
	a.Players[m.Seat] = player{User: m.User, body: body{At: a.home(m.Seat)}, SafeEnds: t.Tick() + safeTicks}
	a.tellScore(t, m.Seat)
	a.draw(t, m)
	a.draw(t, m)
	tell(t, room.Everyone(), m.User, event{Is: "came"})
}

// Leave takes a player off the board.
func (a *arena) Leave(t *room.Table, m room.Member, _ room.LeaveReason) {
	a.Players[m.Seat] = player{}
	for _, kind := range []string{"who", "at", "hand"} {
		t.Delete(key(kind, m.Seat))
	}
	tell(t, room.Everyone(), m.User, event{Is: "left"})
}

// message is what a member says. What cannot be counts for nothing: a client that
// is wrong harms itself only.
type message struct {
	Move *point `json:"move"`
	Play int    `json:"play"`
	Chat string `json:"chat"`
}

// Message takes a heading, a card to play, or something to tell all.
func (a *arena) Message(t *room.Table, m room.Member, data []byte) {
	var in message
	if json.Unmarshal(data, &in) != nil {
		return
	}
	if in.Move != nil {
		p := &a.Players[m.Seat]
		p.Heading, p.HeadingEnds = in.Move.within(100), t.Tick()+headingTicks
	}
	if in.Play != 0 {
		a.play(t, m, in.Play)
	}
	if in.Chat != "" && len(in.Chat) <= maxChat {
		tell(t, room.Everyone(), m.User, event{Is: "chat", Text: in.Chat})
	}
}

// Tick moves everybody, also for the ticks that were left out.
func (a *arena) Tick(t *room.Table) {
	members := t.Members()
	for range 1 + min(t.Skipped(), maxCatchUp) {
		a.moveGuards(t, members)
		a.movePlayers(t, members)
	}
	a.tellPlaces(t, members)
	for _, m := range members {
		if a.Players[m.Seat].Score >= a.Settings.Goal {
			a.finish(t, "goal")
			return
		}
	}
}

// Timer turns the bar's direction, or ends the game.
func (a *arena) Timer(t *room.Table, name string) {
	switch name {
	case "turn":
		a.turn(t, -a.Bar.Turn)
	case "over":
		a.finish(t, "time")
	}
}

// turn has the bar turn in a direction, 1 or -1, until the next time.
func (a *arena) turn(t *room.Table, direction int64) {
	a.Bar = bar{Angle: a.Bar.at(t.Tick()), Turn: direction, Since: t.Tick()}
	set(t, room.Everyone(), "bar", a.Bar)
	t.After(turnTicks, "turn")
}

// Signal is what the backend says: "create" with settings, "spawn" with a number of
// guards to add.
func (a *arena) Signal(t *room.Table, name string, data []byte) ([]byte, error) {
	s, more := a.Settings, 0
	var err error
	switch name {
	case "create":
		if string(data) != "null" { // else the backend has said nothing
			err = json.Unmarshal(data, &s)
		}
	case "spawn":
		err = json.Unmarshal(data, &more)
		s.Guards += min(max(more, 0), maxGuards+1) // no sum overflows
	default:
		err = errSignal
	}
	if err == nil && !s.valid() {
		err = errSettings
	}
	if err != nil {
		return nil, fmt.Errorf("signal %q: %w", name, err)
	}
	a.apply(t, s)
	return json.Marshal(s)
}

// apply makes the arena what settings say.
func (a *arena) apply(t *room.Table, s settings) {
	restart := a.Ends != 0 && s.Seconds != a.Settings.Seconds
	a.Settings = s
	a.spawn(t, s.Guards)
	if restart {
		a.startClock(t)
	}
	a.tellGame(t)
}

// startClock has the game end in as many seconds as the settings say.
func (a *arena) startClock(t *room.Table) {
	ticks := int64(a.Settings.Seconds) * hz
	a.Ends = t.Tick() + ticks
	t.After(ticks, "over")
	a.tellGame(t)
}

// score is a line of the result, and a player's state.
type score struct {
	User  hub.UserID `json:"user"`
	Score int        `json:"score"`
}

// result is what the backend is told at the end.
type result struct {
	Why    string  `json:"why"` // time or goal
	Scores []score `json:"scores"`
}

// finish ends the room. Who has left has no score.
func (a *arena) finish(t *room.Table, why string) {
	r := result{Why: why}
	for _, m := range t.Members() {
		r.Scores = append(r.Scores, score{m.User, a.Players[m.Seat].Score})
	}
	tell(t, room.Everyone(), "", event{Is: "over", Result: &r})
	t.Finish(encode(r))
}

// draw gives a player a card, unless its hand is full. Nobody else hears of it.
func (a *arena) draw(t *room.Table, m room.Member) {
	p := &a.Players[m.Seat]
	if len(p.Hand) >= maxHand {
		return
	}
	c := card{ID: 1 + t.Rand().IntN(1<<30), Card: deck[t.Rand().IntN(len(deck))]}
	p.Hand = append(p.Hand, c)
	set(t, room.Only(m), key("hand", m.Seat), p.Hand)
	tell(t, room.Only(m), "", event{Is: "drew", Text: c.Card})
}

// play takes a card from a player's hand and does what it says. What was played all
// may know.
func (a *arena) play(t *room.Table, m room.Member, id int) {
	p := &a.Players[m.Seat]
	i := slices.IndexFunc(p.Hand, func(c card) bool { return c.ID == id })
	if i < 0 {
		return // played already
	}
	name := p.Hand[i].Card
	p.Hand = slices.Delete(p.Hand, i, i+1)
	set(t, room.Only(m), key("hand", m.Seat), p.Hand)
	tell(t, room.Everyone(), m.User, event{Is: "played", Text: name})
	switch name {
	case "dash":
		p.DashEnds = t.Tick() + dashTicks
	case "swap": // with somebody, perhaps with itself
		all := t.Members()
		other := &a.Players[all[t.Rand().IntN(len(all))].Seat]
		p.At, other.At = other.At, p.At
	case "turn":
		a.turn(t, -a.Bar.Turn)
	}
}

// Snapshot is the world: states, timers and dice the room keeps itself.
func (a *arena) Snapshot() ([]byte, error) { return json.Marshal(a.world) }

// Restore takes a snapshot, which it does not believe.
func (a *arena) Restore(_ *room.Table, snapshot []byte) error {
	var w world
	if err := json.Unmarshal(snapshot, &w); err != nil {
		return fmt.Errorf("restore an arena: %w", err)
	}
	if len(w.Players) != a.seats || len(w.Coins) != a.seats+3 || len(w.Guards) > maxGuards || !w.Settings.valid() {
		return errSnapshot
	}
	a.world = w
	return nil
}

// event is what happens once.
type event struct {
	Is     string  `json:"is"`
	Text   string  `json:"text,omitempty"`
	Result *result `json:"result,omitempty"`
}

func tell(t *room.Table, to room.Audience, from hub.UserID, e event) { t.Send(to, from, encode(e)) }

func set(t *room.Table, to room.Audience, key string, value any) { t.Set(to, key, encode(value)) }

func key(kind string, n int) string { return kind + "." + strconv.Itoa(n) }

func encode(value any) []byte {
	b, _ := json.Marshal(value) // names, numbers and text of ours always marshal
	return b
}
