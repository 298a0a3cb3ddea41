package sweep

import (
	"fmt"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// Traffic is a trace that is sent at several speeds. A search over the speed is one over the rate: that of the trace,
// on average, times the speed.
type Traffic struct {
	Rate     float64       `json:"rate"`      // mean, at speed 1: arrivals a second
	Peak     float64       `json:"peak_rate"` // in its busiest second, at speed 1
	Requests int           `json:"requests"`  // sent by a stage: a count
	Length   time.Duration `json:"length_ns"` // at speed 1

	load loadgen.Load
}

// FewestReplayed is how many requests a trace has at least that is searched over its speed.
const FewestReplayed = fewestRequests

// fewReplayed is how many requests a trace has at least whose own luck matters little.
const fewReplayed = 1000

// NewTraffic makes the traffic of a trace's load: what it sends before a time, 0 for all. It is nil where that is too
// little: less than FewestReplayed requests, or all of them at once.
func NewTraffic(l loadgen.Load, until time.Duration) *Traffic {
	n := len(l.Times)
	if until > 0 {
		for n > 0 && l.Times[n-1] >= until {
			n--
		}
	}
	if n < FewestReplayed || l.Times[n-1] <= l.Times[0] {
		return nil
	}
	l.Times = l.Times[:n]
	last := l.Times[n-1]
	length := last + last/time.Duration(n) // the last request has its gap, too
	if until > length {
		length = until
	}
	l.Rate = float64(n) / length.Seconds()
	t := &Traffic{Rate: l.Rate, Requests: n, Length: length, load: l}
	first := 0
	for i, at := range l.Times {
		for at-l.Times[first] >= time.Second {
			first++
		}
		t.Peak = max(t.Peak, float64(i-first+1))
	}
	return t
}

// length is how long the trace takes at a mean rate.
func (t *Traffic) length(rate float64) time.Duration {
	return time.Duration(float64(t.Length) * t.Rate / rate)
}

// rateOf is the rate of a gate: of a speed, that of the trace as many times as fast. t may be nil.
func (t *Traffic) rateOf(g slo.Gate) float64 {
	if g.Speed && t != nil {
		return g.Rate * t.Rate
	}
	return g.Rate
}

// variation is the squared coefficient of variation of the gaps between requests.
func (t *Traffic) variation() float64 {
	times := t.load.Times
	mean := (times[len(times)-1] - times[0]).Seconds() / float64(len(times)-1)
	sum := 0.0
	for i := 1; i < len(times); i++ {
		d := (times[i]-times[i-1]).Seconds()/mean - 1
		sum += d * d
	}
	return sum / float64(len(times)-1)
}

// Speed is what a search over the speed of a trace found, in a clause: "max speed of your traffic at SLO: 1.7× (1.6× –
// 1.8×)". It is empty where rates were searched, or nothing is known.
func (a *Answer) Speed() string {
	t := a.Traffic
	if t == nil || t.Rate <= 0 {
		return ""
	}
	times := func(rate num.Value) string { return num.Three(float64(rate)/t.Rate) + "×" }
	at := a.Estimate
	var text string
	switch {
	case a.Finding == AtLeast || a.Finding == Interval && a.Upper.IsAbsent() && !a.Lower.IsAbsent():
		at, text = a.Lower, "at least "+times(a.Lower)
	case a.Finding == Interval && a.Lower.IsAbsent():
		at, text = a.Upper, "below "+times(a.Upper)
	case a.Finding == Interval:
		text = fmt.Sprintf("%s (%s – %s)", times(at), times(a.Lower), times(a.Upper))
	case a.Finding == Near:
		text = "near " + times(at) + ", not decided"
	default:
		return ""
	}
	return fmt.Sprintf("max speed of your traffic at SLO: %s; %s %s on average and %s in its busiest second", text,
		num.Rate(float64(at)), a.Unit(), num.Rate(t.Peak*float64(at)/t.Rate))
}
