package fair

import (
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOwnersAreServedInTurn(t *testing.T) {
	q := New[string, int]()
	q.Push("many", 1)
	q.Push("many", 2)
	gone := q.Push("many", 3)
	q.Push("many", 4)
	q.Push("one", 5)
	left := q.Push("left", 6)
	q.Remove(gone)
	q.Remove(left)
	var got []int
	for q.Len() > 0 {
		got = append(got, q.Pop())
		if len(got) == 2 {
			q.Push("late", 7)
			q.Push("one", 8) // has had its turn
		}
	}
	if want := []int{1, 5, 2, 7, 8, 4}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	q := New[int, int]()
	places := map[int]*Place[int]{}
	for i := range 10_000 {
		switch n := rng.IntN(4); {
		case n < 2:
			places[i] = q.Push(rng.IntN(5), i)
		case n == 2 && q.Len() > 0:
			delete(places, q.Pop())
		default:
			for item, p := range places {
				q.Remove(p)
				delete(places, item)
				break
			}
		}
		if q.Len() != len(places) {
			t.Fatalf("%d wait, want %d", q.Len(), len(places))
		}
	}
	for q.Len() > 0 {
		item := q.Pop()
		if places[item] == nil {
			t.Fatalf("%d comes twice", item)
		}
		delete(places, item)
	}
	if len(places) != 0 || len(q.lines) != 0 || q.turns.Len() != 0 {
		t.Errorf("%d lost; %d lines, %d turns left", len(places), len(q.lines), q.turns.Len())
	}
}
