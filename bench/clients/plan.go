package clients

import (
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/homing/homing/hub"
)

// Plan decides whom each notification of a run names. Caller and clients
// compute the same plan from the same numbers, so that every client knows
// exactly what it should have got without being told.
type Plan struct {
	Seed    uint64
	Conns   int // users that are connected, one connection each
	Targets int // users that a notification names
	Online  int // of those, connected ones

	// Topics is how many topics there are, which then are named instead of users: of
	// each connection one, in turn. 0: none.
	Topics int
}

// offlinePool is how many users exist that are never connected.
const offlinePool = 1_000_000

// Picker draws the plan's users. It is not safe for concurrent use.
type Picker struct {
	plan   Plan
	source rand.PCG
	draw   uint32   // number of the draw under way, from 1
	drawn  []uint32 // by user: the last draw that it was in
	online []int32  // scratch of Users
}

// NewPicker prepares to draw from plan.
func NewPicker(p Plan) *Picker { return &Picker{plan: p, drawn: make([]uint32, p.Conns)} }

// Online appends to dst the connected users that notification n names, each
// once, by number.
func (p *Picker) Online(n uint32, dst []int32) []int32 {
	if k := p.plan.Topics; k > 0 {
		for u := int(n) % k; u < p.plan.Conns; u += k {
			dst = append(dst, int32(u))
		}
		return dst
	}
	if p.plan.Online >= p.plan.Conns {
		return p.everyone(dst)
	}
	p.source.Seed(p.plan.Seed, uint64(n))
	p.draw++
	r := rand.New(&p.source)
	for want := p.plan.Online; want > 0; {
		u := r.Int32N(int32(p.plan.Conns))
		if p.drawn[u] != p.draw {
			p.drawn[u] = p.draw
			dst = append(dst, u)
			want--
		}
	}
	return dst
}

func (p *Picker) everyone(dst []int32) []int32 {
	for u := range int32(p.plan.Conns) {
		dst = append(dst, u)
	}
	return dst
}

// Users appends to dst all users that notification n names, mixed as a
// backend's list would be: connected ones from Online, the rest not.
func (p *Picker) Users(n uint32, dst []hub.UserID) []hub.UserID {
	p.online = p.Online(n, p.online[:0])
	for _, u := range p.online {
		dst = append(dst, User(int(u)))
	}
	offline := int(n) * p.plan.Targets % offlinePool
	for i := len(dst); i < p.plan.Targets; i++ {
		dst = append(dst, hub.UserID("off"+strconv.Itoa(offline%offlinePool)))
		offline++
	}
	r := rand.New(rand.NewPCG(p.plan.Seed+1, uint64(n)))
	r.Shuffle(len(dst), func(i, j int) { dst[i], dst[j] = dst[j], dst[i] })
	return dst
}

const userPrefix = "bee"

// User names the user of connection i.
func User(i int) hub.UserID { return hub.UserID(userPrefix + strconv.Itoa(i)) }

// Number is the inverse of User; it reports false for names that User does
// not build.
func Number(u string) (int, bool) {
	digits, ok := strings.CutPrefix(u, userPrefix)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0
}

// Topic names the topic of connection i, or of notification i, when there are so many.
func Topic(i, topics int) hub.Topic { return hub.Topic("bench:" + strconv.Itoa(i%topics)) }
