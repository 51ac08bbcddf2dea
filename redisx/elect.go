package redisx

import (
	"slices"
	"strings"
	"time"
)

// opinion is what one Sentinel says of a shard.
type opinion struct {
	master    string
	promoted  string // the replica that it makes the master now; "" while it makes none
	replicas  []replicaOpinion
	sentinels []string // the others that it knows
}

type replicaOpinion struct {
	addr      string
	available bool // neither disconnected nor subjectively down
}

// member is what discovery remembers of one node.
type member struct {
	*node
	stop    func()
	known   probe // the last look that got an answer; zero before
	asked   bool  // at least one look has ended
	health  health
	lastErr error // of the last look

	healthy bool      // as last judged
	since   time.Time // when healthy last became true, or the present life was first seen

	// Of the present life of the process.
	met     time.Time // when it first answered
	copied  time.Time // when it was last a fit replica; zero: never, or it has been the master since
	lagging bool      // see catchUp
	lags    time.Time // since when it was seen to
	memory  *memory   // as last told; nil before
}

// take remembers what a look found.
func (m *member) take(p probe) {
	m.asked, m.lastErr = true, p.err
	m.health.take(&p)
	if p.err != nil {
		return
	}
	if p.runID != m.known.runID || m.met.IsZero() {
		m.met, m.copied, m.lagging, m.memory = p.at, time.Time{}, false, nil
		m.since = p.at
	}
	if p.memory != nil {
		m.memory = p.memory
	}
	m.known = p
}

// alive reports whether the node answers.
func (m *member) alive() bool { return m.known.role != "" && m.health.alive() }

// answersAs reports whether the node is alive and says that it has the role.
func (m *member) answersAs(role string) bool { return m.alive() && m.known.role == role }

// continues reports whether the node, a master now, was a replica of other and
// was promoted: its history begins where it left other's.
func (m *member) continues(other *member) bool {
	return m != other && m.answersAs(roleMaster) &&
		other.known.replID != "" && m.known.replID2 == other.known.replID
}

// elect returns the address of the master: the one that most Sentinels name,
// or, while one of them promotes a replica of that, this successor. "" when
// none says anything.
//
// In a planned failover the Sentinels go on naming the old master for up to a
// second after they have promoted the new one, and it goes on taking writes,
// for ten seconds and more, that vanish when it is made a replica. The servers
// know better: the successor's second history is the old master's first. A
// Sentinel must confirm the promotion, because a replica that somebody made a
// master by hand, beside the Sentinels, looks the same and is turned back.
//
// No cycle can arise: a server draws the id of its history anew when it is
// promoted and keeps the id before as its second, so that who continues whom
// follows the order in which the ids were drawn. A master that comes back
// empty continues nobody, and one that was cut off continues nobody younger
// than itself.
//
// heirs remembers who succeeded whom until the Sentinels agree: a master that
// died and comes back empty, as a master, has a history that nobody continues.
func elect(opinions map[string]opinion, members map[string]*member, current string, heirs map[string]string) string {
	best := mostVotes(opinions, members, current)
	for i := range len(members) { // several planned failovers may have passed since the Sentinels spoke
		next := successor(opinions, members, best, heirs[best])
		if next == "" {
			if i == 0 {
				clear(heirs)
			}
			break
		}
		heirs[best], best = next, next
	}
	return best
}

// successor returns the address of the server that was promoted from replica
// of the one at addr, "" when there is none that a Sentinel confirms. heir is
// the one that was found before, "" when none was.
func successor(opinions map[string]opinion, members map[string]*member, addr, heir string) string {
	master, found := members[addr], ""
	if m := members[heir]; m != nil && m.answersAs(roleMaster) && promoted(opinions, heir) {
		return heir
	}
	if master == nil {
		return ""
	}
	for a, m := range members {
		if m.continues(master) && promoted(opinions, a) && (found == "" || a < found) {
			found = a
		}
	}
	return found
}

// promoted reports whether a Sentinel makes the server at addr the master or
// has done so.
func promoted(opinions map[string]opinion, addr string) bool {
	for _, o := range opinions {
		if o.promoted == addr || o.master == addr {
			return true
		}
	}
	return false
}

// promoting reports whether a Sentinel is about to replace the master.
func promoting(opinions map[string]opinion) bool {
	for _, o := range opinions {
		if o.promoted != "" {
			return true
		}
	}
	return false
}

// mostVotes returns the address that most Sentinels hold to be the master, ""
// when none says anything. Votes come before answers: an old master on the
// wrong side of a cut answers as one too. Among equals the one that answers
// wins, then the current one.
func mostVotes(opinions map[string]opinion, members map[string]*member, current string) string {
	votes := map[string]int{}
	for _, o := range opinions {
		votes[o.master]++
	}
	rank := func(addr string) int {
		r := votes[addr] * 4
		if m := members[addr]; m != nil && m.answersAs(roleMaster) {
			r += 2
		}
		if addr == current {
			r++
		}
		return r
	}
	best := ""
	for addr := range votes {
		if best == "" || rank(addr) > rank(best) || rank(addr) == rank(best) && addr < best {
			best = addr
		}
	}
	return best
}

// known returns every address that an opinion names, sorted.
func known(opinions map[string]opinion) []string {
	var all []string
	for _, o := range opinions {
		all = append(all, o.master)
		for _, r := range o.replicas {
			all = append(all, r.addr)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// shunned reports whether most of the Sentinels that name the replica at addr
// hold it to be down or disconnected.
func shunned(opinions map[string]opinion, addr string) bool {
	against := 0
	for _, o := range opinions {
		for _, r := range o.replicas {
			switch {
			case r.addr != addr:
			case r.available:
				against--
			default:
				against++
			}
		}
	}
	return against > 0
}

// judge says why a replica of master must not be read from or subscribed at;
// "" when it may. master is nil while there is none that answers. lag is the
// replica's.
func judge(m, master *member, shunned bool, lag time.Duration) string {
	switch {
	case !m.asked:
		return "not asked yet"
	case !m.alive():
		return lastWords(m)
	case m.known.role != roleReplica:
		return "answers as a " + m.known.role
	case !m.known.linked:
		return "its link to the master is down"
	case master != nil && m.known.replID != master.known.replID:
		// Whatever it follows, it is not this master: a copy of another
		// history, which stays silent for ever.
		return "follows another master"
	case m.lagging:
		return "lags behind by " + lag.Round(time.Second).String()
	case shunned:
		return "down for most Sentinels"
	default:
		return ""
	}
}

func lastWords(m *member) string {
	if m.lastErr == nil {
		return "no answer"
	}
	return strings.TrimSpace(m.d.veil(m.lastErr).Error())
}
