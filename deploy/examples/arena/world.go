package arena

import (
	"math"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
)

// The board is measured in whole units, so that every machine comes to the same
// places.
const (
	width  = 640
	height = 400

	playerSize  = 10 // radius
	guardSize   = 11
	coinSize    = 7
	playerSpeed = 6 // units in a tick
	dashSpeed   = 11
	guardSpeed  = 3
	guardSight  = 90

	barReach  = 120 // from the middle of the board to either end
	barSize   = 7   // half its thickness
	barAngles = 128 // in a circle; the bar turns by one in a tick
)

var middle = point{width / 2, height / 2}

// world is all that changes in an arena.
type world struct {
	Settings settings `json:"settings"`
	Ends     int64    `json:"ends"` // tick; 0: nobody has come yet
	Players  []player `json:"players"`
	Guards   []guard  `json:"guards"`
	Coins    []point  `json:"coins"`
	Bar      bar      `json:"bar"`
}

// body is what walks about.
type body struct {
	At   point `json:"at"`
	Told point `json:"told"` // where the members know it to be
}

// player is who sits on a seat.
type player struct {
	body
	User        hub.UserID `json:"user,omitempty"` // empty: nobody
	Heading     point      `json:"heading"`
	HeadingEnds int64      `json:"heading_ends"` // tick
	DashEnds    int64      `json:"dash_ends"`    // tick
	SafeEnds    int64      `json:"safe_ends"`    // tick
	Score       int        `json:"score"`
	Hand        []card     `json:"hand"`
}

// card is one in a hand. Its number is drawn: a card that is played twice by a hasty
// finger counts once.
type card struct {
	ID   int    `json:"id"`
	Card string `json:"card"`
}

// guard walks to a place that it has chosen, or after a player that it sees.
type guard struct {
	body
	Goal point `json:"goal"`
}

// bar turns around the middle of the board.
type bar struct {
	Angle int64 `json:"angle"` // at the tick Since
	Turn  int64 `json:"turn"`  // 1 or -1
	Since int64 `json:"since"`
}

// at is the bar's angle at a tick. Clients reckon the same, so that they are told of
// a new direction only.
func (b bar) at(tick int64) int64 {
	return ((b.Angle+b.Turn*(tick-b.Since))%barAngles + barAngles) % barAngles
}

// point is a place, or a way from one to another: [x,y].
type point [2]int

func (p point) plus(q point) point  { return point{p[0] + q[0], p[1] + q[1]} }
func (p point) minus(q point) point { return point{p[0] - q[0], p[1] - q[1]} }

// times is p, n/per times as long.
func (p point) times(n, per int) point { return point{p[0] * n / per, p[1] * n / per} }

func (p point) length() int { return int(math.Sqrt(float64(p[0]*p[0] + p[1]*p[1]))) }

// near reports whether q is closer than so many units.
func (p point) near(q point, units int) bool { return p.minus(q).length() < units }

// within is p, made shorter where it is longer than most.
func (p point) within(most int) point {
	const far = 1 << 20 // no square of it overflows
	p = point{min(max(p[0], -far), far), min(max(p[1], -far), far)}
	if n := p.length(); n > most {
		return p.times(most, n)
	}
	return p
}

// inside keeps what is so large off the walls.
func (p point) inside(size int) point {
	return point{min(max(p[0], size), width-size), min(max(p[1], size), height-size)}
}

// directions are the angles of the bar, in 1/1024.
var directions = func() (all [barAngles]point) {
	for i := range all {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / barAngles)
		all[i] = point{int(math.Round(1024 * cos)), int(math.Round(1024 * sin))}
	}
	return all
}()

func anywhere(t *room.Table) point {
	return point{t.Rand().IntN(width), t.Rand().IntN(height)}.inside(2 * playerSize)
}

// home is where the player of a seat begins: around the board's edge.
func (a *arena) home(seat int) point {
	way := directions[(seat*barAngles/a.seats+barAngles*5/8)%barAngles]
	return middle.plus(way.times(width/2, 1024)).inside(3 * playerSize)
}

// push returns where a player stands whom the bar has moved out of its way.
func (b bar) push(p point, tick int64) point {
	way, from := directions[b.at(tick)], p.minus(middle)
	along := (from[0]*way[0] + from[1]*way[1]) / 1024
	beside := (from[1]*way[0] - from[0]*way[1]) / 1024
	missing := barSize + playerSize - max(beside, -beside)
	if missing <= 0 || max(along, -along) > barReach+playerSize {
		return p
	}
	if beside < 0 {
		missing = -missing
	}
	return p.plus(point{-way[1], way[0]}.times(missing, 1024))
}

// spawn brings the number of guards to n.
func (a *arena) spawn(t *room.Table, n int) {
	for i := len(a.Guards); i < n; i++ {
		a.Guards = append(a.Guards, guard{body: body{At: anywhere(t)}, Goal: anywhere(t)})
	}
	for i := n; i < len(a.Guards); i++ {
		t.Delete(key("guard", i))
	}
	a.Guards = a.Guards[:n]
}

func (a *arena) moveGuards(t *room.Table, members []room.Member) {
	for i := range a.Guards {
		g := &a.Guards[i]
		if g.At.near(g.Goal, guardSpeed+1) {
			g.Goal = anywhere(t)
		}
		goal := g.Goal
		for _, m := range members {
			if p := &a.Players[m.Seat]; t.Tick() >= p.SafeEnds && g.At.near(p.At, guardSight) {
				goal = p.At
				break
			}
		}
		g.At = g.At.plus(goal.minus(g.At).within(guardSpeed)).inside(guardSize)
	}
}

func (a *arena) movePlayers(t *room.Table, members []room.Member) {
	for _, m := range members {
		p := &a.Players[m.Seat]
		speed := playerSpeed
		if t.Tick() < p.DashEnds {
			speed = dashSpeed
		}
		if t.Tick() < p.HeadingEnds {
			p.At = p.At.plus(p.Heading.times(speed, 100))
		}
		p.At = a.Bar.push(p.At, t.Tick()).inside(playerSize)
		a.pickUp(t, m)
		a.catch(t, m)
	}
}

// pickUp gives a player the coins under its feet, and a card for every third.
func (a *arena) pickUp(t *room.Table, m room.Member) {
	p := &a.Players[m.Seat]
	for i, at := range a.Coins {
		if !p.At.near(at, playerSize+coinSize) {
			continue
		}
		p.Score++
		a.dropCoin(t, i)
		a.tellScore(t, m.Seat)
		tell(t, room.Everyone(), m.User, event{Is: "coin"})
		if p.Score%3 == 0 {
			a.draw(t, m)
		}
	}
}

// catch sends a player home whom a guard has caught, with a coin less.
func (a *arena) catch(t *room.Table, m room.Member) {
	p := &a.Players[m.Seat]
	for i := range a.Guards {
		if t.Tick() >= p.SafeEnds && p.At.near(a.Guards[i].At, playerSize+guardSize) {
			p.At, p.Heading, p.Score = a.home(m.Seat), point{}, max(0, p.Score-1)
			p.SafeEnds = t.Tick() + safeTicks
			a.tellScore(t, m.Seat)
			tell(t, room.Everyone(), m.User, event{Is: "caught"})
		}
	}
}

func (a *arena) dropCoin(t *room.Table, i int) {
	a.Coins[i] = anywhere(t)
	set(t, room.Everyone(), key("coin", i), a.Coins[i])
}

// tellPlaces tells where those are who have moved.
func (a *arena) tellPlaces(t *room.Table, members []room.Member) {
	for _, m := range members {
		a.Players[m.Seat].tell(t, "at", m.Seat)
	}
	for i := range a.Guards {
		a.Guards[i].tell(t, "guard", i)
	}
}

func (b *body) tell(t *room.Table, kind string, n int) {
	if b.At != b.Told {
		b.Told = b.At
		set(t, room.Everyone(), key(kind, n), b.At)
	}
}

func (a *arena) tellScore(t *room.Table, seat int) {
	set(t, room.Everyone(), key("who", seat), score{a.Players[seat].User, a.Players[seat].Score})
}

func (a *arena) tellGame(t *room.Table) {
	set(t, room.Everyone(), "game", struct {
		Ends  int64 `json:"ends"`
		Goal  int   `json:"goal"`
		Seats int   `json:"seats"`
	}{a.Ends, a.Settings.Goal, a.seats})
}
