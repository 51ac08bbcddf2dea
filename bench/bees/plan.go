package bees

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
}

// offlinePool is how many users exist that are never connected.
const offlinePool = 1_000_000

// Picker draws the plan's users. It is not safe for concurrent use.
type Picker struct {
	plan  Plan
	drawn []uint32 // by user: the last notification that drew it, plus one
}

// NewPicker prepares to draw from plan.
func NewPicker(p Plan) *Picker { return &Picker{plan: p, drawn: make([]uint32, p.Conns)} }

// Online appends to dst the connected users that notification n names, each
// once, by number.
func (p *Picker) Online(n uint32, dst []int32) []int32 {
	r := rand.New(rand.NewPCG(p.plan.Seed, uint64(n)))
	for want := min(p.plan.Online, p.plan.Conns); want > 0; {
		u := r.Int32N(int32(p.plan.Conns))
		if p.drawn[u] != n+1 {
			p.drawn[u] = n + 1
			dst = append(dst, u)
			want--
		}
	}
	return dst
}

// Users appends to dst all users that notification n names, mixed as a
// backend's list would be: connected ones from Online, the rest not.
func (p *Picker) Users(n uint32, dst []hub.UserID) []hub.UserID {
	for _, u := range p.Online(n, nil) {
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
