package hub

import (
	"errors"
	"fmt"
	"strings"
)

// Topic names what connections of many users have in common, wherever they are: a
// guild, a lobby, a region. It is 1 to MaxTopic letters, digits and any of
// ". _ - : / @".
type Topic string

// Limits on topics.
const (
	MaxTopic      = 128 // bytes of a Topic
	MaxTopics     = 64  // topics of one notification, and of one connection
	MaxAddress    = MaxTopic + len(addressMark)
	MaxPublish    = 16 << 10 // bytes of data that a client publishes at once
	maxPatterns   = 64
	addressMark   = " " // stands in no user's id
	topicBytes    = "._-:/@"
	patternSuffix = "*"
)

// ErrBadTopic is wrapped by the errors of Topic.Check and TopicPatterns.Check.
var ErrBadTopic = errors.New("bad topic")

// Check reports why t cannot be a topic, wrapping ErrBadTopic, or nil.
func (t Topic) Check() error {
	if t == "" || len(t) > MaxTopic {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrBadTopic, len(t), MaxTopic)
	}
	return checkTopicBytes(string(t))
}

func checkTopicBytes(s string) error {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(topicBytes, c) >= 0:
		default:
			return fmt.Errorf("%w: byte %#02x at %d, want letters, digits or one of %q", ErrBadTopic, c, i, topicBytes)
		}
	}
	return nil
}

// Address is the name by which everything that finds users, sends to them and
// keeps what they are sent does so for a topic: one that no user has. So a topic
// is looked up, sent to, handed over and accounted for as a user is.
func (t Topic) Address() UserID { return UserID(addressMark + string(t)) }

// Topic returns the topic that u is the Address of, if it is one's.
func (u UserID) Topic() (t Topic, ok bool) {
	name, ok := strings.CutPrefix(string(u), addressMark)
	return Topic(name), ok
}

// IsTopic reports whether address, a user's id or a topic's Address, is a topic's.
func IsTopic[S ~string | ~[]byte](address S) bool {
	return len(address) > 0 && address[0] == addressMark[0]
}

// CountUsers is how many of addresses, users' ids and topics' Addresses, are users'.
func CountUsers(addresses []UserID) (n int) {
	for _, a := range addresses {
		if !IsTopic(a) {
			n++
		}
	}
	return n
}

// TopicPatterns are topics that somebody may use: each a Topic, or the beginning of
// one and a star; a star alone is every topic.
type TopicPatterns []string

// Check reports why p cannot be used, wrapping ErrBadTopic, or nil.
func (p TopicPatterns) Check() error {
	if len(p) > maxPatterns {
		return fmt.Errorf("%w: %d patterns, want at most %d", ErrBadTopic, len(p), maxPatterns)
	}
	for _, s := range p {
		start, open := strings.CutSuffix(s, patternSuffix)
		if !open && start == "" || len(start) > MaxTopic {
			return fmt.Errorf("%w: pattern of %d bytes, want 1 to %d", ErrBadTopic, len(start), MaxTopic)
		}
		if err := checkTopicBytes(start); err != nil {
			return err
		}
	}
	return nil
}

// Match reports whether t is among p.
func (p TopicPatterns) Match(t Topic) bool {
	for _, s := range p {
		start, open := strings.CutSuffix(s, patternSuffix)
		if string(t) == s || open && strings.HasPrefix(string(t), start) {
			return true
		}
	}
	return false
}

// CheckTopics validates the topics of a notification. Errors are of type *FieldError.
func CheckTopics(topics []Topic) error {
	if len(topics) > MaxTopics {
		return Invalid("topics", "%d topics, want at most %d", len(topics), MaxTopics)
	}
	for i, t := range topics {
		if err := t.Check(); err != nil {
			return Invalid(fmt.Sprintf("topics[%d]", i), "%v", err)
		}
	}
	return nil
}

// TopicFate is what became of a user that was to join a topic, or to leave it.
type TopicFate int

// The fates; of several processes the largest counts.
const (
	TopicAway TopicFate = iota // the user has no connection
	TopicFull                  // its connections are members of as many topics as they may be
	TopicDone                  // it has joined, or left
)

// TopicCount is a topic with its members.
type TopicCount struct {
	Topic       Topic `json:"topic"`
	Connections int   `json:"connections"`
}
