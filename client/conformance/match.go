package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
)

// values are what steps may name by "$name": the server's addresses, and the
// fields of what was read last of each kind, as in "$publish.id".
type values map[string]any

// fill puts values in the place of their names. Names that are not known stay.
func (v values) fill(x any) any {
	switch x := x.(type) {
	case string:
		if known, ok := v[x]; ok && strings.HasPrefix(x, "$") {
			return known
		}
		return x
	case []any:
		for i := range x {
			x[i] = v.fill(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = v.fill(x[k])
		}
	}
	return x
}

// text is what a field names; empty when it is.
func (v values) text(x string) string {
	s, _ := v.fill(x).(string)
	return s
}

// object reads a step's JSON object and fills in what it names.
func (v values) object(raw json.RawMessage) (map[string]any, error) {
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("read a step: %w", err)
	}
	v.fill(m)
	return m, nil
}

// keep notes the fields of a message.
func (v values) keep(kind string, m map[string]any) {
	for k, x := range m {
		v["$"+kind+"."+k] = x
	}
}

// fits reports whether got has all that want has. A value "*" stands for any that
// is there, null for none.
func fits(want, got map[string]any) bool {
	for k, w := range want {
		g, there := got[k]
		switch {
		case w == "*" && there && g != nil && g != "":
		case w == nil && g == nil:
		case reflect.DeepEqual(w, g):
		default:
			return false
		}
	}
	return true
}

// text is an object for people.
func text(m map[string]any) string {
	m = maps.Clone(m)
	b, _ := json.Marshal(m) // it came from JSON
	return string(b)
}
