package loadgen

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat/distuv"
)

// Arrival is an arrival process apart from its rate: how the gaps between requests vary. The zero value is Constant.
type Arrival struct {
	Kind ArrivalKind
	CV   float64 // GammaArrival: standard deviation of a gap over its mean
	Size int     // BurstArrival: requests that come at once
}

// ArrivalKind is the kind of an arrival process.
type ArrivalKind string

// The kinds.
const (
	ConstantArrival ArrivalKind = "constant" // equal gaps
	PoissonArrival  ArrivalKind = "poisson"  // exponential gaps: independent users
	GammaArrival    ArrivalKind = "gamma"    // gamma-distributed gaps: CV above 1 comes in clumps, below 1 evenly
	BurstArrival    ArrivalKind = "burst"    // several at once, equal gaps between
)

// ArrivalForms are the forms that ParseArrival reads, as a sentence for people.
const ArrivalForms = "constant, poisson, gamma:CV (CV of the gaps) or burst:N (N at once)"

// ParseArrival reads one of ArrivalForms.
func ParseArrival(s string) (Arrival, error) {
	kind, value, given := strings.Cut(s, ":")
	a := Arrival{Kind: ArrivalKind(kind)}
	switch a.Kind {
	case ConstantArrival, PoissonArrival:
		if given {
			return Arrival{}, fmt.Errorf("%q: %s takes no value", s, kind)
		}
	case GammaArrival:
		cv, err := strconv.ParseFloat(value, 64)
		if err != nil || !(cv > 0) || cv > 100 {
			return Arrival{}, fmt.Errorf("%q: write gamma:CV with a coefficient of variation above 0, "+
				"at most 100; gamma:1 is poisson", s)
		}
		a.CV = cv
	case BurstArrival:
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 1e6 {
			return Arrival{}, fmt.Errorf("%q: write burst:N with N requests at once, at least 1", s)
		}
		a.Size = n
	default:
		return Arrival{}, fmt.Errorf("%q: it is %s", s, ArrivalForms)
	}
	return a, nil
}

// String is the form that ParseArrival reads.
func (a Arrival) String() string {
	switch a.Kind {
	case GammaArrival:
		return "gamma:" + strconv.FormatFloat(a.CV, 'g', -1, 64)
	case BurstArrival:
		return "burst:" + strconv.Itoa(a.Size)
	case "":
		return string(ConstantArrival)
	}
	return string(a.Kind)
}

// MarshalText writes the form that ParseArrival reads.
func (a Arrival) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseArrival.
func (a *Arrival) UnmarshalText(text []byte) (err error) {
	*a, err = ParseArrival(string(text))
	return err
}

// Profile is a rate of arrivals over time: straight pieces one after the other. It ends with its last piece.
type Profile []Piece

// Piece is a part of a profile in which the rate changes from one value to another, evenly.
type Piece struct {
	From   float64       `json:"from"` // requests per second at its start, not negative
	To     float64       `json:"to"`   // … and at its end
	Length time.Duration `json:"length_ns"`
}

// ParseProfile reads pieces such as "5rps:60s,20rps:30s,5..20rps:60s".
func ParseProfile(s string) (Profile, error) {
	var p Profile
	for _, text := range strings.Split(s, ",") {
		text = strings.TrimSpace(text)
		rates, length, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("%q is not of the form RATErps:TIME, such as 20rps:30s or 5..20rps:60s", text)
		}
		d, err := time.ParseDuration(length)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("%q: %q is no time above 0, such as 30s or 2m", text, length)
		}
		from, to, err := parseRates(strings.TrimSuffix(rates, "rps"))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		p = append(p, Piece{from, to, d})
	}
	return p, p.check()
}

// ParseRamp reads FROM..TO, in requests per second.
func ParseRamp(s string, length time.Duration) (Profile, error) {
	if !strings.Contains(s, "..") {
		return nil, fmt.Errorf("%q is not of the form FROM..TO, such as 1..20", s)
	}
	from, to, err := parseRates(strings.TrimSuffix(s, "rps"))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", s, err)
	}
	p := Profile{{from, to, length}}
	return p, p.check()
}

func parseRates(s string) (from, to float64, err error) {
	a, b, two := strings.Cut(s, "..")
	if from, err = parseRate(a); err != nil {
		return 0, 0, err
	}
	if to = from; two {
		to, err = parseRate(b)
	}
	return from, to, err
}

func parseRate(s string) (float64, error) {
	r, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(r >= 0) || r > 1e6 {
		return 0, fmt.Errorf("%q is no rate in requests per second", s)
	}
	return r, nil
}

// longestProfile is far beyond any run, and far from where sums of durations overflow.
const longestProfile = 10_000 * time.Hour

func (p Profile) check() error {
	left := longestProfile
	for _, piece := range p {
		if piece.Length > left {
			return fmt.Errorf("the profile is longer than %.0f hours", longestProfile.Hours())
		}
		left -= piece.Length
	}
	if p.Requests() <= 0 {
		return errors.New("the profile has no request: its rates are all 0")
	}
	return nil
}

// Length is how long the profile lasts.
func (p Profile) Length() time.Duration {
	var d time.Duration
	for _, piece := range p {
		d += piece.Length
	}
	return d
}

// Requests is how many requests the profile expects: its area.
func (p Profile) Requests() float64 {
	sum := 0.0
	for _, piece := range p {
		sum += piece.area()
	}
	return sum
}

func (p Piece) area() float64 { return (p.From + p.To) / 2 * p.Length.Seconds() }

// reach is the time at which the profile's area has grown to n requests; ok is false where it never does.
func (p Profile) reach(n float64) (seconds float64, ok bool) {
	start := 0.0
	for _, piece := range p {
		if area := piece.area(); n > area {
			n -= area
			start += piece.Length.Seconds()
			continue
		}
		// n = From·t + slope·t²/2, solved without cancellation.
		slope := (piece.To - piece.From) / piece.Length.Seconds()
		root := math.Sqrt(max(0, piece.From*piece.From+2*slope*n))
		if piece.From+root == 0 {
			return start, true
		}
		return start + 2*n/(piece.From+root), true
	}
	return 0, false
}

// NewSchedule returns the arrivals of a process at one rate, in requests per second. Those of the kinds constant and
// poisson are GuideLLM's.
func NewSchedule(a Arrival, rate float64, seed int64) Schedule {
	switch a.Kind {
	case PoissonArrival:
		return NewPoisson(rate, seed)
	case ConstantArrival, "":
		return Constant{Rate: rate}
	}
	if a.Kind == GammaArrival && a.CV == 1 {
		return NewPoisson(rate, seed)
	}
	return &warped{unit: newUnit(a, seed), reach: func(n float64) (float64, bool) { return n / rate, rate > 0 }}
}

// newProfileSchedule returns the arrivals of a process whose rate follows a profile: the process of rate 1, its time
// stretched so that request n of it comes when the profile's area reaches n. A Poisson process stays one, with that
// rate.
func newProfileSchedule(a Arrival, p Profile, seed int64) Schedule {
	return &warped{unit: newUnit(a, seed), reach: p.reach}
}

// warped is a unit process on another scale of time.
type warped struct {
	unit  unit
	reach func(n float64) (seconds float64, ok bool)
}

// At implements Schedule.
func (w *warped) At(i int) (time.Duration, bool) {
	if i < 0 {
		return 0, false
	}
	s, ok := w.reach(w.unit.at(i))
	if !ok {
		return 0, false
	}
	return seconds(s)
}

// arrivalStream tells the random numbers of arrivals from those of other uses of the same seed: "openloop" in ASCII.
const arrivalStream = 0x6f70656e6c6f6f70

// unit is an arrival process of rate 1: at returns when request i comes, in units of the mean gap.
type unit interface{ at(i int) float64 }

func newUnit(a Arrival, seed int64) unit {
	switch a.Kind {
	case PoissonArrival:
		return newSums(func() func() float64 {
			r := newPythonRandom(seed)
			return func() float64 { return r.exponential(1) }
		})
	case GammaArrival:
		// Shape 1/CV² and rate 1/CV²: mean 1, standard deviation CV.
		shape := 1 / (a.CV * a.CV)
		return newSums(func() func() float64 {
			return distuv.Gamma{Alpha: shape, Beta: shape, Src: rand.NewPCG(uint64(seed), arrivalStream)}.Rand
		})
	case BurstArrival:
		return bursts(a.Size)
	case ConstantArrival, "":
		return bursts(1)
	}
	panic("loadgen: no arrivals of the kind " + string(a.Kind))
}

// bursts is the process of n requests at the end of every n units.
type bursts int

func (n bursts) at(i int) float64 { return float64((i/int(n) + 1) * int(n)) }

// sums is a process of independent gaps. Asking for an earlier request than the last one begins again from the seed.
type sums struct {
	begin func() func() float64
	gap   func() float64
	next  int
	sum   float64
}

func newSums(begin func() func() float64) *sums {
	s := &sums{begin: begin}
	s.rewind()
	return s
}

func (s *sums) rewind() {
	s.gap = s.begin()
	s.next, s.sum = 0, s.gap()
}

func (s *sums) at(i int) float64 {
	if i < s.next {
		s.rewind()
	}
	for s.next < i {
		s.sum += s.gap()
		s.next++
	}
	return s.sum
}
