package client

import "maps"

// Friends are those of the user's friends that are online, and the services that
// their connections were opened from.
type Friends map[string][]string

// readFriends takes a message "friends", which replaces all that was known.
func readFriends(raw []byte) (Friends, error) {
	var m struct {
		Online []struct {
			User     string   `json:"user"`
			Services []string `json:"services"`
		} `json:"online"`
	}
	if err := parse(raw, &m); err != nil {
		return nil, err
	}
	f := make(Friends, len(m.Online))
	for _, x := range m.Online {
		f[x.User] = x.Services
	}
	return f, nil
}

// moved takes a message "presence", of some who have come or gone. What it is called
// on stays as it is: the application may keep it.
func (f Friends) moved(raw []byte) (Friends, error) {
	var p struct {
		Online   bool     `json:"online"`
		User     string   `json:"user"`
		Users    []string `json:"users"`
		Services []string `json:"services"`
	}
	if err := parse(raw, &p); err != nil {
		return nil, err
	}
	next := maps.Clone(f)
	if next == nil {
		next = make(Friends)
	}
	users := p.Users
	if p.User != "" {
		users = append(users, p.User)
	}
	for _, u := range users {
		if p.Online {
			next[u] = p.Services
		} else {
			delete(next, u)
		}
	}
	return next, nil
}
