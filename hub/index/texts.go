package index

// texts keeps one copy of each distinct string in use and hands out small
// numbers for them: thousands of users share a handful of holds. Numbers are
// counted references; 0 stands for the empty string and is never counted.
type texts struct {
	ids  map[string]uint32
	all  []text // by number; all[0] is the empty string
	free []uint32
}

type text struct {
	s    string
	refs int
}

// ref returns the number of s and counts one more use of it.
func (t *texts) ref(s []byte) uint32 {
	if len(s) == 0 {
		return 0
	}
	if id, ok := t.ids[string(s)]; ok {
		t.all[id].refs++
		return id
	}
	if t.ids == nil {
		t.ids, t.all = make(map[string]uint32), make([]text, 1)
	}
	id := uint32(len(t.all)) //nolint:gosec // far below 2^32: one per distinct string in use
	if n := len(t.free); n > 0 {
		id, t.free = t.free[n-1], t.free[:n-1]
	} else {
		t.all = append(t.all, text{})
	}
	t.all[id] = text{s: string(s), refs: 1}
	t.ids[t.all[id].s] = id
	return id
}

// unref gives one use of id back; the last one frees it.
func (t *texts) unref(id uint32) {
	if id == 0 {
		return
	}
	t.all[id].refs--
	if t.all[id].refs == 0 {
		delete(t.ids, t.all[id].s)
		t.all[id] = text{}
		t.free = append(t.free, id)
	}
}

// get returns the string that id stands for.
func (t *texts) get(id uint32) string {
	if id == 0 {
		return ""
	}
	return t.all[id].s
}
