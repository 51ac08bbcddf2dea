package redisx

// Home returns the one of the shards called names that key belongs to, as
// Role.Shard finds it, for lists that are not configured any more. names must
// not be empty.
func Home(names []string, key string) string {
	best := names[0]
	h := hash(key)
	var most uint64
	for _, name := range names {
		if w := mix(h ^ hash(name)); w >= most {
			best, most = name, w
		}
	}
	return best
}
