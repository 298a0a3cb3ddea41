package num

import (
	"encoding/json"
	"math"
	"testing"
)

// FuzzValue: a number that is read from JSON is written as one that is read as the same.
func FuzzValue(f *testing.F) {
	for _, s := range []string{
		"null", `"+Inf"`, `"-Inf"`, "1", "-0", "1e308", "1e999", "5e-324", `"NaN"`, "[]", "", "true",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var v, again Value
		if json.Unmarshal(text, &v) != nil {
			return
		}
		written, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%q is read as %v, which can't be written: %v", text, v, err)
		}
		if err := json.Unmarshal(written, &again); err != nil || math.Float64bits(float64(again)) !=
			math.Float64bits(float64(v)) && !v.IsAbsent() || v.IsAbsent() != again.IsAbsent() {
			t.Fatalf("%q is %v, written as %s and read as %v (%v)", text, v, written, again, err)
		}
	})
}
