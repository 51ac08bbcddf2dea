package index

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// Placement is where a notification's users are, grouped by the process that
// is to be told. A user on several processes stands in several groups.
type Placement struct {
	Groups      []Group
	Online      int          // users that a live process holds, with a service asked for
	Topics      int          // topics that a live process has members of
	Offline     int          // users that none holds
	Unavailable []hub.UserID // users whose data shard does not answer; nil as a rule
	Refused     int          // processes with members of topics that took no envelope; whoever sends counts them
}

// UnavailableUsers is how many of the unavailable are no topics.
func (p *Placement) UnavailableUsers() int { return hub.CountUsers(p.Unavailable) }

// Group is the users of one process, in the order asked for.
type Group struct {
	Process hub.ProcessID
	Users   []hub.UserID
}

// Locate finds which live processes hold users' connections; with services,
// only connections opened from one of these count. Users must be distinct.
// Among users may be Addresses of topics, which have members of any service.
// It costs one MGET per data shard, on a replica. Users of a shard that does not
// answer are named as unavailable; when that is all of them, and whenever Redis
// is the cause of a failure, the error wraps hub.ErrUnavailable.
func (ix *Index) Locate(ctx context.Context, users []hub.UserID, services []hub.Service) (Placement, error) {
	return ix.find(ctx, users, services, false)
}

// LocateNow is Locate on the masters: a user whose registration has been
// confirmed is found, however far the replicas are behind. While a master is
// away, and nobody can register there, its replicas answer.
func (ix *Index) LocateNow(ctx context.Context, users []hub.UserID, services []hub.Service) (Placement, error) {
	return ix.find(ctx, users, services, true)
}

func (ix *Index) find(ctx context.Context, users []hub.UserID, services []hub.Service, now bool) (Placement, error) {
	start := time.Now()
	l := ix.scratch.Get().(*lookup)
	defer ix.release(l)
	l.now = now
	p, err := ix.locate(ctx, l, users, services)
	if err != nil {
		ix.met.failed.Inc()
		return Placement{}, outage.During("index: looking users up", err)
	}
	ix.met.answer(start, p)
	return p, nil
}

func (ix *Index) locate(ctx context.Context, l *lookup, users []hub.UserID, services []hub.Service) (Placement, error) {
	if ix.census.Roll() == nil {
		return Placement{}, lease.ErrNotLoaded
	}
	if err := ix.fetch(ctx, l, users); err != nil {
		return Placement{}, err
	}
	p := l.group(ix.census.Roll(), users, services)
	if len(l.strays) == 0 {
		return p, nil
	}
	roll, err := ix.meet(ctx, l.strays)
	if err != nil {
		return Placement{}, err
	}
	return l.group(roll, users, services), nil
}

// lookup is the scratch space of one lookup, kept for the next.
type lookup struct {
	values []string        // the users' index values, in their order
	parts  []part          // by shard; only the first when there is one shard
	strays []hub.ProcessID // processes that the roll does not know
	hits   []hit
	counts []int32 // users per slot
	now    bool    // ask the masters

	unavailable []int32 // users whose shard does not answer, by position; one may stand twice
}

// part is what one shard is asked.
type part struct {
	users []int32 // which users, by position; unused when there is one shard
	names []byte  // their keys, one after the other
	ends  []int   // where each key ends in names
	keys  []string
	args  []any // "MGET" and pointers to keys, which spares boxing each string
	reply []string
	err   error
}

// hit is one user on one live process.
type hit struct {
	user, slot int32
}

// fetch fills l.values with the users' index values.
func (ix *Index) fetch(ctx context.Context, l *lookup, users []hub.UserID) error {
	switch {
	case len(users) == 0:
		return nil
	case len(ix.shards) == 1:
		return ix.fetchOne(ctx, l, users)
	default:
		return ix.fetchAll(ctx, l, users)
	}
}

func (ix *Index) fetchOne(ctx context.Context, l *lookup, users []hub.UserID) error {
	l.parts = grow(l.parts, 1)
	p := &l.parts[0]
	for _, u := range users {
		p.add(ix.keys, u)
	}
	err := p.mget(ctx, ix.shards[0], l.now)
	l.values = append(l.values, p.reply...)
	return err
}

// fetchAll asks every shard that holds some of users, all at once. While the
// list of shards changes, a user may be registered where it was before only.
func (ix *Index) fetchAll(ctx context.Context, l *lookup, users []hub.UserID) error {
	l.parts = grow(l.parts, len(ix.shards))
	for i, u := range users {
		l.parts[ix.number(ix.data.Shard(string(u)))].want(ix.keys, i, u)
		if before := ix.data.ShardBefore(string(u)); before != nil {
			l.parts[ix.number(before)].want(ix.keys, i, u)
		}
	}
	var wg sync.WaitGroup
	for i := range l.parts {
		if p := &l.parts[i]; len(p.users) > 0 {
			wg.Go(func() { p.err = p.mget(ctx, ix.shards[i], l.now) })
		}
	}
	wg.Wait()
	return l.collect(users)
}

// collect takes the values out of the parts.
func (l *lookup) collect(users []hub.UserID) error {
	l.values = grow(l.values, len(users))
	asked, answered := 0, 0
	var first error
	for i := range l.parts {
		p := &l.parts[i]
		if len(p.users) == 0 {
			continue
		}
		asked++
		if p.err != nil {
			if !errors.Is(p.err, redisx.ErrUnavailable) {
				return p.err
			}
			first = cmp.Or(first, p.err)
			l.unavailable = append(l.unavailable, p.users...)
			continue
		}
		answered++
		for j, user := range p.users {
			l.values[user] = joinValues(l.values[user], p.reply[j])
		}
	}
	if answered == 0 {
		return first
	}
	return nil
}

// joinValues returns one value with the entries of both; an entry of a process
// that both name counts as a has it.
func joinValues(a, b string) string {
	switch {
	case a == "" || a == b:
		return b
	case b == "":
		return a
	}
	for pid, holds := range entries(b) {
		if holdsOf(a, pid) == "" {
			a += " " + string(pid) + "=" + holds
		}
	}
	return a
}

// number is the place of a shard in ix.shards.
func (ix *Index) number(sh *redisx.Shard) int { return slices.Index(ix.shards, sh) }

// want adds a user, by its position.
func (p *part) want(keys hub.Keys, i int, user hub.UserID) {
	p.users = append(p.users, int32(i)) //nolint:gosec // at most hub.MaxUsers
	p.add(keys, user)
}

func (p *part) add(keys hub.Keys, user hub.UserID) {
	p.names = keys.AppendUser(p.names, user)
	p.ends = append(p.ends, len(p.names))
}

// mget reads the values under the keys added; "" where there is none. All
// keys are cut from one string, so their number does not count in allocations.
func (p *part) mget(ctx context.Context, sh *redisx.Shard, now bool) error {
	names, start := string(p.names), 0
	for _, end := range p.ends {
		p.keys = append(p.keys, names[start:end])
		start = end
	}
	get := p.mgetOnce
	if len(p.keys) > mgetKeys {
		get = p.mgetPieces
	}
	if now {
		if err := sh.Write(ctx, get); err == nil || !errors.Is(err, redisx.ErrUnavailable) {
			return err
		}
	}
	return sh.Read(ctx, get)
}

// mgetKeys is how many keys one MGET reads: others wait for a millisecond or so.
const mgetKeys = 1000

// mgetOnce reads every key with one command.
func (p *part) mgetOnce(ctx context.Context, c *redis.Client) error {
	p.args = mgetArgs(p.args[:0], p.keys)
	cmd := redis.NewStringSliceCmd(ctx, p.args...)
	err := c.Process(ctx, cmd)
	p.reply = cmd.Val()
	return err
}

// mgetPieces reads the keys with several commands, between which the server can
// turn to others.
func (p *part) mgetPieces(ctx context.Context, c *redis.Client) error {
	pipe := c.Pipeline()
	var cmds []*redis.StringSliceCmd
	for keys := range slices.Chunk(p.keys, mgetKeys) {
		cmd := redis.NewStringSliceCmd(ctx, mgetArgs(make([]any, 0, 1+len(keys)), keys)...)
		_ = pipe.Process(ctx, cmd) // it is queued
		cmds = append(cmds, cmd)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	p.reply = make([]string, 0, len(p.keys))
	for _, cmd := range cmds {
		p.reply = append(p.reply, cmd.Val()...)
	}
	return nil
}

func mgetArgs(args []any, keys []string) []any {
	args = append(args, "MGET")
	for i := range keys {
		args = append(args, &keys[i]) // a pointer is not boxed
	}
	return args
}

// maxStrays bounds how many unknown processes one lookup asks after; the
// others count as dead for now.
const maxStrays = 256

// group sorts the users by the live processes that hold them, and leaves the
// processes that roll does not know in l.strays. It allocates the groups and one
// array for all users in them.
func (l *lookup) group(roll *lease.Roll, users []hub.UserID, services []hub.Service) Placement {
	l.counts = grow(l.counts, roll.Len())
	clear(l.counts)
	l.hits, l.strays = l.hits[:0], l.strays[:0]
	var p Placement
	topics := 0
	for i, value := range l.values {
		before := len(l.hits)
		if hub.IsTopic(users[i]) {
			topics++
			l.groupUser(roll, int32(i), value, nil)
			p.Topics += min(1, len(l.hits)-before)
			continue
		}
		l.groupUser(roll, int32(i), value, services)
		p.Online += min(1, len(l.hits)-before)
	}
	p.Unavailable = l.missing(users)
	p.Groups = l.groups(roll, users)
	p.Offline = len(users) - topics - p.Online - hub.CountUsers(p.Unavailable)
	return p
}

// missing lists the users whose shard does not answer and who were found
// nowhere else. It forgets the hits of none.
func (l *lookup) missing(users []hub.UserID) (missing []hub.UserID) {
	slices.Sort(l.unavailable)
	l.unavailable = slices.Compact(l.unavailable)
	if len(l.unavailable) == 0 {
		return nil
	}
	found := make(map[int32]bool, len(l.hits))
	for _, h := range l.hits {
		found[h.user] = true
	}
	for _, user := range l.unavailable {
		if !found[user] {
			missing = append(missing, users[user])
		}
	}
	return missing
}

func (l *lookup) groupUser(roll *lease.Roll, user int32, value string, services []hub.Service) {
	for {
		pid, holds, rest, ok := nextEntry(value)
		if !ok {
			return
		}
		value = rest
		slot, live := roll.Slot(pid)
		switch {
		case live && holdsAny(holds, services):
			l.hits = append(l.hits, hit{user, slot})
			l.counts[slot]++
		case !live && len(l.strays) < maxStrays && !roll.Known(pid):
			l.strays = append(l.strays, pid)
		}
	}
}

func (l *lookup) groups(roll *lease.Roll, users []hub.UserID) []Group {
	n := 0
	for _, c := range l.counts {
		if c > 0 {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	groups, room := make([]Group, 0, n), make([]hub.UserID, len(l.hits))
	for slot, c := range l.counts {
		if c > 0 {
			groups = append(groups, Group{Process: roll.At(slot).ID, Users: room[:0:c]})
			room = room[c:]
			l.counts[slot] = int32(len(groups) - 1) //nolint:gosec // as many as processes
		}
	}
	for _, h := range l.hits {
		g := &groups[l.counts[h.slot]]
		g.Users = append(g.Users, users[h.user])
	}
	return groups
}

// release empties l, so that it pins no reply, and keeps it for another lookup.
func (ix *Index) release(l *lookup) {
	clear(l.values)
	clear(l.strays)
	l.unavailable = l.unavailable[:0]
	l.values, l.strays, l.now = l.values[:0], l.strays[:0], false
	for i := range l.parts {
		p := &l.parts[i]
		clear(p.keys)
		clear(p.args)
		*p = part{users: p.users[:0], names: p.names[:0], ends: p.ends[:0], keys: p.keys[:0], args: p.args[:0]}
	}
	ix.scratch.Put(l)
}

// grow returns s with length n, keeping what its array holds.
func grow[T any](s []T, n int) []T {
	if n <= cap(s) {
		return s[:n]
	}
	return append(s[:cap(s)], make([]T, n-cap(s))...)
}
