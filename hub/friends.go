package hub

import "fmt"

// MaxFriends bounds a user's list of friends.
const MaxFriends = 300

// CheckFriends validates the list of user's friends: at most MaxFriends, each once,
// and not user itself. Errors are of type *FieldError.
func CheckFriends(user UserID, friends []UserID) error {
	if len(friends) > MaxFriends {
		return Invalid("friends", "%d users, want at most %d", len(friends), MaxFriends)
	}
	seen := make(map[UserID]bool, len(friends))
	for i, u := range friends {
		switch err := u.Check(); {
		case err != nil:
			return Invalid(friendField(i), "%v", err)
		case seen[u]:
			return Invalid(friendField(i), "%s is named twice", u)
		case u == user:
			return Invalid(friendField(i), "a user is no friend of its own")
		}
		seen[u] = true
	}
	return nil
}

func friendField(i int) string { return fmt.Sprintf("friends[%d]", i) }
