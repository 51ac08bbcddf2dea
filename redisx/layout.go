package redisx

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// nameAll gives every target a name of its own. The names do not depend on the
// order inside a list. It refuses previous lists under which a target had
// another name, since nobody would find its keys.
func nameAll(lists [listCount][]*target) error {
	before := lists
	before[listDataPrevious], before[listInboxPrevious] = nil, nil
	for _, i := range []int{listDataPrevious, listInboxPrevious} {
		if len(lists[i]) > 0 {
			before[presentOf[i]] = lists[i]
		}
	}
	now, then := names(lists), names(before)
	for t, name := range now {
		if old, ok := then[t]; ok && old != name {
			return fmt.Errorf("%s and %s: the shard %s is called %s with the new list: give masters of several Sentinels different names first",
				listFlags[listDataPrevious], listFlags[listInboxPrevious], old, name)
		}
	}
	for t, name := range now {
		t.name = name
	}
	return nil
}

// names says how to call each target: by its name, and where another has that
// name already, with its first address.
func names(lists [listCount][]*target) map[*target]string {
	all, taken := map[*target]string{}, map[string]bool{}
	for _, list := range lists {
		for _, t := range slices.SortedFunc(slices.Values(list), compareTargets) {
			if all[t] != "" {
				continue
			}
			name := t.name
			for i := 0; taken[name]; i++ {
				name = t.name + "@" + slices.Min(t.addrs)
				if i > 0 {
					name += fmt.Sprintf("#%d", i)
				}
			}
			all[t], taken[name] = name, true
		}
	}
	return all
}

func compareTargets(a, b *target) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(slices.Min(a.addrs), slices.Min(b.addrs)), cmp.Compare(a.url, b.url))
}

// Layout is a text that is equal for processes that find every key and channel
// at the same place: the names of each role's shards, sorted.
//
//	data=a,b pubsub=c inbox=a,b
func (r *Redis) Layout() string { return layout(r.Data, r.PubSub, r.Inbox) }

// LayoutBefore is the Layout of a process that has the previous lists as its
// own, "" when there are none.
func (r *Redis) LayoutBefore() string {
	if r.Data.previous == nil && r.PubSub.previous == nil && r.Inbox.previous == nil {
		return ""
	}
	return layout(r.Data.before(), r.PubSub.before(), r.Inbox.before())
}

// before is the previous role, or the role itself when it has not changed.
func (ro *Role) before() *Role {
	if ro.previous != nil {
		return ro.previous
	}
	return ro
}

func layout(data, pubsub, inbox *Role) string {
	return "data=" + data.names() + " pubsub=" + pubsub.names() + " inbox=" + inbox.names()
}

func (ro *Role) names() string {
	var all []string
	for _, s := range ro.shards {
		all = append(all, s.Name())
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}
