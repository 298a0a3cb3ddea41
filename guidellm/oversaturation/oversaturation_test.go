package oversaturation

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// vector is a load with what GuideLLM 0.5.0's class said after each event (testdata/make.py).
type vector struct {
	Name   string             `json:"name"`
	Config map[string]float64 `json:"config"`
	Events [][]any            `json:"events"`
}

func (v *vector) settings(t *testing.T) Config {
	c := Defaults()
	for key, value := range v.Config {
		switch key {
		case "min_seconds":
			c.MinSeconds = value
		case "max_window_seconds":
			c.MaxWindow = value
		case "minimum_ttft":
			c.MinTTFT = value
		case "maximum_window_ratio":
			c.MaxWindowRatio = value
		case "minimum_window_size":
			c.MinWindowSize = int(value)
		case "confidence":
			c.Confidence = value
		case "moe_threshold":
			c.MOEThreshold = value
		default:
			t.Fatalf("a setting %q", key)
		}
	}
	return c
}

// After every event the detector says what GuideLLM's says, and its lines are the same.
func TestAsGuideLLM(t *testing.T) {
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, v := range vectors {
		d := New(v.settings(t))
		for i, e := range v.Events {
			at, want := e[0].(float64), e[4].(bool)
			var got bool
			switch e[1] {
			case "in_progress":
				got = d.Started(at, int(e[2].(float64)))
			case "completed":
				got = d.Finished(at, e[3].(float64))
			default:
				got = d.Passed(at)
			}
			if got != want {
				t.Fatalf("%s: event %d at %v s: over-saturated %v, want %v", v.Name, i, at, got, want)
			}
			if want {
				found++
			}
			for k, got := range []int{d.TTFT.N, d.Violations, d.InFlight.N} {
				if want := int(e[5+k].(float64)); got != want {
					t.Fatalf("%s: event %d: count %d is %d, want %d", v.Name, i, k, got, want)
				}
			}
			for k, got := range []float64{d.TTFT.Slope, d.TTFT.MarginOfError, d.InFlight.Slope,
				d.InFlight.MarginOfError} {
				want, ok := e[8+k].(float64)
				if !ok {
					want = math.NaN()
				}
				if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > 1e-9*math.Abs(want) {
					t.Fatalf("%s: event %d: figure %d is %v, want %v", v.Name, i, k, got, want)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no event of the vectors is over-saturated: the test shows nothing")
	}
}

// The approximation of the quantile is near the true one, from tables of Student's t.
func TestStudentQuantile(t *testing.T) {
	for _, test := range []struct{ p, freedom, want, tolerance float64 }{
		{0.975, 1e9, 1.959964, 5e-4},
		{0.975, 30, 2.042272, 3e-3},
		{0.975, 10, 2.228139, 1e-2},
		{0.95, 20, 1.724718, 2e-3},
		{0.025, 30, -2.042272, 3e-3},
	} {
		if got := studentQuantile(test.p, test.freedom); math.Abs(got-test.want) > test.tolerance {
			t.Errorf("quantile %v at %v degrees: %v, want %v", test.p, test.freedom, got, test.want)
		}
	}
	if !math.IsNaN(studentQuantile(0.5, 0)) {
		t.Error("no degrees of freedom must be no number")
	}
}
