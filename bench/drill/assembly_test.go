package drill

import (
	"testing"

	"github.com/homing/homing/hub"
)

func TestAssembly(t *testing.T) {
	const clients = 2000
	a := newAssembly(&entrance{}, clients)
	members, users := make(map[hub.Topic]int), make(map[hub.UserID]int)
	for _, m := range a.members {
		users[m.user]++
		for _, topic := range append(m.named, m.wanted...) {
			members[topic]++
		}
		if len(m.named)+len(m.wanted) > mostTopics {
			t.Errorf("client %d is a member of %d topics", m.number, len(m.named)+len(m.wanted))
		}
		for _, topic := range m.named {
			if keeps(topic) {
				t.Errorf("%s is in a token", topic)
			}
		}
	}
	if len(members) != topicCount || members[topicName(0)] != leastMembers || members[topicName(topicCount-1)] != clients {
		t.Errorf("%d topics of %d to %d members", len(members), members[topicName(0)], members[topicName(topicCount-1)])
	}
	if len(users) > clients*10/11+1 {
		t.Errorf("%d users have %d clients", len(users), clients)
	}
}
