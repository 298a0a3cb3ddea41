package llmsim

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRing does at random what a slice does as well, and compares the two.
func TestRing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r ring[int]
	var want []int
	for step := range 20_000 {
		v := rng.IntN(50)
		switch op := rng.IntN(6); {
		case op <= 1:
			r.pushBack(v)
			want = append(want, v)
		case op == 2:
			r.pushFront(v)
			want = slices.Insert(want, 0, v)
		case op == 3 && len(want) > 0:
			if got := r.popFront(); got != want[0] {
				t.Fatalf("step %d: popped %d, want %d", step, got, want[0])
			}
			want = want[1:]
		case op == 4:
			r.remove(v)
			if i := slices.Index(want, v); i >= 0 {
				want = slices.Delete(slices.Clone(want), i, i+1)
			}
		case op == 5 && len(want) > 1:
			i, j := rng.IntN(len(want)), rng.IntN(len(want))
			r.swap(i, j)
			want = slices.Clone(want)
			want[i], want[j] = want[j], want[i]
		}
		if r.len() != len(want) {
			t.Fatalf("step %d: %d elements, want %d", step, r.len(), len(want))
		}
		for i, w := range want {
			if r.at(i) != w {
				t.Fatalf("step %d: element %d is %d, want %d", step, i, r.at(i), w)
			}
		}
	}
}

// Streams come out in the order in which they are due, those due at the same time in the order in which they came.
func TestPushByDue(t *testing.T) {
	var q ring[*stream]
	push := func(arrival, due int64) {
		st := &stream{arrival: arrival}
		st.loopPos.due = due
		pushByDue(&q, st)
	}
	for i, due := range []int64{5, 7, 6, 6, 1, 9} {
		push(int64(i), due)
	}
	var got []int64
	for q.len() > 0 {
		got = append(got, q.popFront().arrival)
	}
	if want := []int64{4, 0, 2, 3, 1, 5}; !slices.Equal(got, want) {
		t.Errorf("they come in the order %v, want %v", got, want)
	}
}
