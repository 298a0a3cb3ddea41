package llmsim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// SpeedProfile says how an engine's speed changes while it runs: a step that begins at speed 0.5 takes twice as long.
// The zero value is an engine of constant speed 1. What is set multiplies. Times are those of the server's clock, from
// its start; [Config.TimeScale] does not touch them.
type SpeedProfile struct {
	Spells Spells
	Drift  Drift
	Wander Wander
	Modes  Modes
}

// Spells are times in which the engine is slow, as when a neighbour takes its processor. Every 0 is none.
type Spells struct {
	Every time.Duration // mean time from the end of a spell (or the start) to the next, exponential; at least 1ms
	Min   time.Duration // a spell's length is uniform between Min
	Max   time.Duration // and Max
	Speed float64       // in a spell, from 0.01 to 1
}

// Drift is a speed that changes steadily: 1 − Change/2 at the start, 1 + Change/2 from Horizon on, linear in between.
// Change 0 is none; with a negative one the engine grows slower.
type Drift struct {
	Change  float64 // between −1.9 and 1.9
	Horizon time.Duration
}

// Wander is a speed that strays and comes back: its logarithm is an Ornstein–Uhlenbeck process of mean 0 that takes a
// new value every second. SD 0 is none.
type Wander struct {
	SD   float64       // standard deviation of the speed's logarithm, at most 1: 0.05 is about 5 %
	Time time.Duration // time constant: after it, e⁻¹ of a deviation is left; at least 1ms
}

// Modes is an engine of two speeds, 1 and Speed, that it changes between for no reason. It begins in either with equal
// chances. Dwell 0 is none.
type Modes struct {
	Speed float64       // of the second mode, from 0.01 to 1
	Dwell time.Duration // mean time in a mode before it changes to the other, exponential; at least 1ms
}

// Constant reports whether the speed is 1 throughout.
func (p SpeedProfile) Constant() bool {
	return p.Spells.Every == 0 && p.Drift.Change == 0 && p.Wander.SD == 0 && p.Modes.Dwell == 0
}

// String writes the profile as the parameters that [ParseSpec] reads; "" is constant speed.
func (p SpeedProfile) String() string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	var parts []string
	if s := p.Spells; s.Every != 0 {
		parts = append(parts, fmt.Sprintf("spells=%v:%v-%v:%s", s.Every, s.Min, s.Max, number(s.Speed)))
	}
	if d := p.Drift; d.Change != 0 {
		parts = append(parts, fmt.Sprintf("drift=%s:%v", number(d.Change), d.Horizon))
	}
	if w := p.Wander; w.SD != 0 {
		parts = append(parts, fmt.Sprintf("wander=%s:%v", number(w.SD), w.Time))
	}
	if m := p.Modes; m.Dwell != 0 {
		parts = append(parts, fmt.Sprintf("modes=%s:%v", number(m.Speed), m.Dwell))
	}
	return strings.Join(parts, "&")
}

const (
	slowestSpeed  = 0.01 // of a spell or a mode
	lowestSpeed   = 1e-3 // of all that multiplies
	shortestDwell = time.Millisecond
	longestDwell  = 24 * time.Hour
)

func (p SpeedProfile) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	dwell := func(what string, d time.Duration) {
		if d < shortestDwell || d > longestDwell {
			bad("%s %v, must lie between 1ms and 24h", what, d)
		}
	}
	speed := func(what string, v float64) {
		if !(v >= slowestSpeed && v <= 1) {
			bad("%s %v, must lie between %v and 1", what, v, slowestSpeed)
		}
	}
	if s := p.Spells; s != (Spells{}) {
		dwell("spells: the mean time between them is", s.Every)
		if s.Min < 0 || s.Max < s.Min || s.Max == 0 || s.Max > longestDwell {
			bad("spells: their length is %v to %v, must be a range from 0 to 24h", s.Min, s.Max)
		}
		speed("spells: their speed is", s.Speed)
	}
	// A horizon without a change is nothing to refuse: a study sets it for all of its engines.
	if d := p.Drift; d.Change != 0 {
		if !(math.Abs(d.Change) <= 1.9) {
			bad("drift: the change is %v, must lie between -1.9 and 1.9", d.Change)
		}
		dwell("drift: the horizon is", d.Horizon)
	}
	if w := p.Wander; w != (Wander{}) {
		if !(w.SD > 0 && w.SD <= 1) {
			bad("wander: the standard deviation is %v, must lie above 0 and be at most 1", w.SD)
		}
		dwell("wander: the time constant is", w.Time)
	}
	if m := p.Modes; m != (Modes{}) {
		speed("modes: the second speed is", m.Speed)
		dwell("modes: the mean time in one is", m.Dwell)
	}
	return errors.Join(errs...)
}

// parts cuts a value of n parts between colons.
func parts(text string, n int, form string) ([]string, error) {
	list := strings.Split(text, ":")
	if len(list) != n {
		return nil, fmt.Errorf("%q is not of the form %s", text, form)
	}
	return list, nil
}

func readNumber(into *float64, text, what string) error {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || f == 0 {
		return fmt.Errorf("%s: %q is not a number other than 0", what, text)
	}
	*into = f
	return nil
}

func readTime(into *time.Duration, text, what string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%s: %q is not a duration such as 20s", what, text)
	}
	*into = d
	return nil
}

// parseSpells reads EVERY:MIN-MAX:SPEED, as in "20s:2s-5s:0.5".
func parseSpells(text string) (s Spells, err error) {
	p, err := parts(text, 3, "EVERY:MIN-MAX:SPEED, as in 20s:2s-5s:0.5")
	if err != nil {
		return Spells{}, err
	}
	least, most, ok := strings.Cut(p[1], "-")
	if !ok {
		least, most = p[1], p[1]
	}
	if err := errors.Join(readTime(&s.Every, p[0], "the mean time between spells"),
		readTime(&s.Min, least, "the shortest spell"), readTime(&s.Max, most, "the longest spell"),
		readNumber(&s.Speed, p[2], "the speed in a spell")); err != nil {
		return Spells{}, err
	}
	return s, SpeedProfile{Spells: s}.validate()
}

// parseDrift reads CHANGE:HORIZON, as in "-0.1:6m".
func parseDrift(text string) (d Drift, err error) {
	p, err := parts(text, 2, "CHANGE:HORIZON, as in -0.1:6m")
	if err != nil {
		return Drift{}, err
	}
	if err := errors.Join(readNumber(&d.Change, p[0], "the change of speed"),
		readTime(&d.Horizon, p[1], "the horizon")); err != nil {
		return Drift{}, err
	}
	return d, SpeedProfile{Drift: d}.validate()
}

// parseWander reads SD:TIME, as in "0.05:60s".
func parseWander(text string) (w Wander, err error) {
	p, err := parts(text, 2, "SD:TIME, as in 0.05:60s")
	if err != nil {
		return Wander{}, err
	}
	if err := errors.Join(readNumber(&w.SD, p[0], "the standard deviation"),
		readTime(&w.Time, p[1], "the time constant")); err != nil {
		return Wander{}, err
	}
	return w, SpeedProfile{Wander: w}.validate()
}

// parseModes reads SPEED:DWELL, as in "0.6:30s".
func parseModes(text string) (m Modes, err error) {
	p, err := parts(text, 2, "SPEED:DWELL, as in 0.6:30s")
	if err != nil {
		return Modes{}, err
	}
	if err := errors.Join(readNumber(&m.Speed, p[0], "the second speed"),
		readTime(&m.Dwell, p[1], "the mean time in a mode")); err != nil {
		return Modes{}, err
	}
	return m, SpeedProfile{Modes: m}.validate()
}

// Speed is an engine's speed over time, one course of a [SpeedProfile]. It is computed as far as it is asked for. A nil
// Speed is constant speed 1. It is not safe for concurrent use. Make one with [NewSpeed].
type Speed struct {
	profile SpeedProfile

	spells     *rand.Rand
	begin, end time.Duration // of the present spell, or of the next one

	wander *rand.Rand
	second time.Duration // up to which the present value holds
	log    float64       // the logarithm of the speed, in standard deviations
	keep   float64       // what is left of it after a second
	value  float64       // the speed

	modes   *rand.Rand
	changes time.Duration // when the present mode ends
	slow    bool
}

// NewSpeed makes the course of a profile that the seed determines; the course of one part does not depend on which
// others are set. For constant speed it gives nil.
func NewSpeed(profile SpeedProfile, seed uint64) (*Speed, error) {
	if err := profile.validate(); err != nil {
		return nil, err
	}
	if profile.Constant() {
		return nil, nil
	}
	// Output lengths have the streams of arrival indices, 0, 1, 2, …; these are far from them.
	stream := func(part uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1<<63+part)) }
	s := &Speed{profile: profile}
	if profile.Spells.Every > 0 {
		s.spells = stream(1)
		s.nextSpell()
	}
	if w := profile.Wander; w.SD > 0 {
		s.wander = stream(2)
		s.keep = math.Exp(-float64(time.Second) / float64(w.Time))
		s.log = s.wander.NormFloat64()
		s.second = time.Second
		s.value = math.Exp(w.SD * s.log)
	}
	if m := profile.Modes; m.Dwell > 0 {
		s.modes = stream(3)
		s.slow = s.modes.IntN(2) == 1
		s.changes = exponential(s.modes, m.Dwell)
	}
	return s, nil
}

func exponential(r *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(r.ExpFloat64() * float64(mean))
}

func (s *Speed) nextSpell() {
	p := s.profile.Spells
	s.begin = s.end + exponential(s.spells, p.Every)
	s.end = s.begin + p.Min + time.Duration(s.spells.Float64()*float64(p.Max-p.Min))
}

// At is the speed at time t since the engine's start, 1 being that of the configured costs; it is never below 0.001. t
// must not be less than in an earlier call.
func (s *Speed) At(t time.Duration) float64 {
	if s == nil {
		return 1
	}
	speed := 1.0
	if s.spells != nil {
		for t >= s.end {
			s.nextSpell()
		}
		if t >= s.begin {
			speed = s.profile.Spells.Speed
		}
	}
	if d := s.profile.Drift; d.Change != 0 {
		speed *= 1 + d.Change*(min(float64(t)/float64(d.Horizon), 1)-0.5)
	}
	if s.wander != nil {
		if t >= s.second {
			for ; t >= s.second; s.second += time.Second {
				s.log = s.keep*s.log + math.Sqrt(1-s.keep*s.keep)*s.wander.NormFloat64()
			}
			s.value = math.Exp(s.profile.Wander.SD * s.log)
		}
		speed *= s.value
	}
	if s.modes != nil {
		for ; t >= s.changes; s.changes += exponential(s.modes, s.profile.Modes.Dwell) {
			s.slow = !s.slow
		}
		if s.slow {
			speed *= s.profile.Modes.Speed
		}
	}
	return max(speed, lowestSpeed)
}

// Stretch is how long a step that costs d takes if it begins at time t since the engine's start: d divided by the speed
// at t, to the nearest nanosecond. t must not be less than in an earlier call.
func (s *Speed) Stretch(d, t time.Duration) time.Duration {
	if s == nil {
		return d
	}
	return time.Duration(float64(d)/s.At(t) + 0.5)
}
