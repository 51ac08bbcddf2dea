package redisx

import (
	"slices"
	"strings"
	"time"
)

// opinion is what one Sentinel says of a shard.
type opinion struct {
	master    string
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
	since   time.Time // when healthy last became true
}

// take remembers what a look found.
func (m *member) take(p probe) {
	m.asked, m.lastErr = true, p.err
	m.health.take(&p)
	if p.err == nil {
		m.known = p
	}
}

// alive reports whether the node answers.
func (m *member) alive() bool { return m.known.role != "" && m.health.alive() }

// answersAs reports whether the node is alive and says that it has the role.
func (m *member) answersAs(role string) bool { return m.alive() && m.known.role == role }

// elect returns the address that most Sentinels hold to be the master, "" when
// none says anything. Votes come before answers: an old master on the wrong
// side of a cut answers as one too. Among equals the one that answers wins,
// then the current one.
func elect(opinions map[string]opinion, members map[string]*member, current string) string {
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
// "" when it may. master is nil while there is none that answers.
func judge(m, master *member, shunned bool) string {
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
	return strings.TrimSpace(m.lastErr.Error())
}
