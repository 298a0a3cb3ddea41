package tokens

import "testing"

func TestCheckLengths(t *testing.T) {
	for _, c := range []struct {
		asked, counted []int
		want           LengthCheck
	}{
		{nil, nil, LengthCheck{}},
		{[]int{32, 256, 0, 64}, []int{41, 265, 7, 73}, LengthCheck{Template: 9, Requests: 3, Exact: 3}},
		{[]int{100, 100, 100, 50}, []int{109, 109, 107, 0},
			LengthCheck{Template: 9, Requests: 3, Exact: 2, Error: 0.02}},
		{[]int{10, 10}, []int{10, 10}, LengthCheck{Requests: 2, Exact: 2}},
		{[]int{10, 10, 10}, []int{8, 8, 10}, LengthCheck{Template: -2, Requests: 3, Exact: 2, Error: 0.2}},
	} {
		if got := checkLengths(c.asked, c.counted); got != c.want {
			t.Errorf("%v %v: %+v, want %+v", c.asked, c.counted, got, c.want)
		}
	}
}
