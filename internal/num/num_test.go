package num

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"
)

// A value that failed and one that is absent are told apart when they are read again.
func TestValueJSON(t *testing.T) {
	b, err := json.Marshal([]Value{1.5, Value(math.Inf(1)), Absent(), Value(math.Inf(-1))})
	if err != nil || string(b) != `[1.5,"+Inf",null,"-Inf"]` {
		t.Errorf("%s, %v", b, err)
	}
	var v []Value
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if v[0] != 1.5 || !math.IsInf(float64(v[1]), 1) || !v[2].IsAbsent() || !math.IsInf(float64(v[3]), -1) {
		t.Errorf("%v", v)
	}
	if err := json.Unmarshal([]byte(`"many"`), &v[0]); err == nil {
		t.Errorf("a word is read as %v", v[0])
	}
}

func TestText(t *testing.T) {
	for in, want := range map[float64]string{11.8249: "11.8", 0.49512: "0.495", 1234.5: "1230", 0: "0", 12: "12"} {
		if got := Rate(in); got != want {
			t.Errorf("Rate(%v) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[float64]string{0.425: "0.42", 9.994: "9.99", 9.996: "10.0", 99.94: "99.9", 99.96: "100",
		math.Inf(1): "∞", math.NaN(): "-"} {
		if got := Three(in); got != want {
			t.Errorf("Three(%v) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int]string{7: "7", 1420: "1,420", 1234567: "1,234,567", -123: "-123", -1234: "-1,234"} {
		if got := Thousands(in); got != want {
			t.Errorf("Thousands(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int]string{0: "0 stages", 1: "1 stage", 12: "12 stages"} {
		if got := Count(in, "stage"); got != want {
			t.Errorf("Count(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[time.Duration]string{1500 * time.Millisecond: "1.5s", 250 * time.Millisecond: "250ms",
		20 * time.Microsecond: "20us", 0: "0ms"} {
		if got := Duration(in); got != want {
			t.Errorf("Duration(%v) = %s, want %s", in, got, want)
		}
	}
}

func TestRank(t *testing.T) {
	for _, c := range []struct {
		q    float64
		n    int
		want int
	}{{0.5, 1, 1}, {0.95, 20, 19}, {0.95, 21, 20}, {0.99, 100, 99}, {0, 5, 1}, {1, 5, 5}} {
		if got := Rank(c.q, c.n); got != c.want {
			t.Errorf("Rank(%v, %d) = %d, want %d", c.q, c.n, got, c.want)
		}
	}
	if got := Quantile([]int{1, 2, 3, 4}, 0.75); got != 3 {
		t.Errorf("the third quartile of four is %d", got)
	}
	if got := Quantile([]int{}, 0.5); got != 0 {
		t.Errorf("the median of none is %d", got)
	}
	if got := Median([]float64{3, 1, 2, 10}); got != 2.5 {
		t.Errorf("Median = %v", got)
	}
}

// Both ends are among the values, exactly; of one value, the lower end.
func TestSpan(t *testing.T) {
	for _, c := range []struct {
		n    int
		want []float64
	}{{0, nil}, {1, []float64{0.1}}, {2, []float64{0.1, 0.7}}, {4, []float64{0.1, 0.3, 0.5, 0.7}}} {
		got := Span(0.1, 0.7, c.n)
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-15 }) {
			t.Errorf("%d values: %v, want %v", c.n, got, c.want)
		}
		if c.n > 1 && (got[0] != 0.1 || got[c.n-1] != 0.7) {
			t.Errorf("%d values do not end at the ends: %v", c.n, got)
		}
	}
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]float64{
		0: 0, 12346: 12350, 0.30000000000000004: 0.3, -1234.56: -1235, 1e-9: 1e-9, 99996: 100000,
		math.Inf(1): math.Inf(1),
	} {
		if got := Digits(v, 4); got != want {
			t.Errorf("%v is %v, want %v", v, got, want)
		}
	}
	if !math.IsNaN(Digits(math.NaN(), 4)) {
		t.Error("what is not a number has become one")
	}
}

func TestAmount(t *testing.T) {
	for v, want := range map[float64]string{
		0.416: "0.42", 12.34: "12.3", 999.4: "999", 1519.6: "1,520", -1234: "-1,234", math.Inf(1): "∞", math.NaN(): "-",
	} {
		if got := Amount(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}
