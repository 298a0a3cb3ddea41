package tokens

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// HintError is an error with what can be done about it.
type HintError struct {
	Err  error
	Hint string
}

// Error implements error.
func (e *HintError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e *HintError) Unwrap() error { return e.Err }

// The units of a trace's time stamps, as TraceSpec.TimeUnit names them.
const (
	Milliseconds = "ms"
	Seconds      = "s"
)

// The block lengths in tokens of the published traces that have hash identifiers: Mooncake's, and Bailian's, which
// vLLM's timed_trace has as its default.
const (
	mooncakeBlock = 512
	bailianBlock  = 16
)

// Mean rates outside of these, in requests per second, are a sign that the unit of the times is another one. Published
// traces of one service have between 0.1 and 100.
const (
	leastTraceRate = 0.01
	mostTraceRate  = 1000
)

// fitting is the share of the requests whose number of identifiers must fit a block length: traces that were cut or
// edited have some that do not.
const fitting = 0.9

// traceForm is what was found out about a trace whose form leaves it open.
type traceForm struct {
	name     string // of the form
	unit     string // of its times; "" where they are times of day
	block    int    // tokens that an identifier stands for; 0: there are no identifiers
	misfits  int    // requests whose number of identifiers fits no such block
	lines    int    // requests that can be sent
	orphans  int    // requests whose parent is not there, or has gone on with another one
	turns    int    // requests that go on from another one
	images   int    // requests with images, which are not sent
	noOutput int    // requests that had no output
	noInput  int    // requests without input, which are left out
	guessed  int    // requests whose output length is that of a recorded text
	said     int    // requests with recorded texts
}

// settle finds the block length and the unit of the times of a trace in JSON lines. What is asked for goes over what is
// recognised; where neither says it, the error asks.
func (t *trace) settle(spec TraceSpec, isBailian bool) error {
	f := &t.form
	evidence, err := t.settleBlock(spec.BlockTokens, isBailian)
	if err != nil {
		return err
	}
	if isBailian {
		evidence = Seconds
	} else if f.said > 0 || slices.ContainsFunc(t.requests, func(q traceRequest) bool { return q.delay >= 0 }) {
		evidence = Milliseconds // AIPerf's form of Mooncake's traces, whose delays are so, too
	}
	if f.unit, err = t.settleUnit(spec.TimeUnit, evidence); err != nil {
		return err
	}
	switch {
	case isBailian:
		f.name = "Bailian"
	case f.said == len(t.requests):
		f.name = "AIPerf's messages"
	case f.block == 0:
		f.name = "lengths alone"
	case f.block == mooncakeBlock && f.unit == Milliseconds:
		f.name = "Mooncake"
	case f.block == bailianBlock && f.unit == Seconds:
		f.name = "vLLM timed_trace"
	default:
		f.name = "Mooncake's fields"
	}
	return nil
}

// settleBlock finds the block length, and the unit of the times that goes with it in published traces, "" for none.
func (t *trace) settleBlock(asked int, isBailian bool) (unit string, err error) {
	with, first, longest := 0, -1, 0
	for i := range t.requests {
		if q := &t.requests[i]; len(q.hashes) > 0 {
			longest = max(longest, q.input)
			if with++; first < 0 {
				first = i
			}
		}
	}
	if with == 0 {
		return "", nil
	}
	f := &t.form
	choose := func(block int) {
		f.block, f.misfits = block, with-t.fits(block)
	}
	switch {
	case asked > 0:
		choose(asked)
	case isBailian:
		choose(bailianBlock)
	default:
		var blocks []int
		for block := 1; block <= 1<<16; block *= 2 {
			if float64(t.fits(block)) >= fitting*float64(with) {
				blocks = append(blocks, block)
			}
		}
		switch {
		case slices.Contains(blocks, mooncakeBlock):
			choose(mooncakeBlock)
		case slices.Contains(blocks, bailianBlock):
			choose(bailianBlock)
		case len(blocks) == 1:
			choose(blocks[0])
		default:
			why := "a block of no usual length has so many tokens"
			if len(blocks) > 1 {
				why = fmt.Sprintf("blocks of %d to %d tokens would fit all requests", blocks[0],
					blocks[len(blocks)-1])
			}
			return "", &HintError{
				fmt.Errorf("its hash_ids don't say how many tokens one stands for: request %d has %d for %d tokens, "+
					"and %s", first+1, len(t.requests[first].hashes), t.requests[first].input, why),
				"--trace-block-tokens says it: 512 as in Mooncake's traces, 16 as in Bailian's and vLLM's",
			}
		}
	}
	switch {
	case f.block == mooncakeBlock && longest > bailianBlock:
		return Milliseconds, nil
	case f.block == bailianBlock:
		return Seconds, nil
	}
	return "", nil // either block fits, or it is another one
}

// fits counts the requests that have an identifier for every block of their input.
func (t *trace) fits(block int) (n int) {
	for i := range t.requests {
		if q := &t.requests[i]; len(q.hashes) > 0 && len(q.hashes) == (q.input+block-1)/block {
			n++
		}
	}
	return n
}

// settleUnit finds the unit of the times. evidence is the one that the form has, "" where it says nothing.
func (t *trace) settleUnit(asked, evidence string) (string, error) {
	switch asked {
	case "":
	case Milliseconds, Seconds:
		return asked, nil
	default:
		return "", fmt.Errorf("the time unit %q is not known; it is %s or %s", asked, Milliseconds, Seconds)
	}
	// The traces in milliseconds have whole ones.
	hasFractions := t.hasFractions()
	if evidence == "" && hasFractions {
		evidence = Seconds
	}
	other := map[string]string{Milliseconds: Seconds, Seconds: Milliseconds}
	chosen := evidence
	if chosen == "" {
		chosen = Milliseconds
	}
	inChosen, inOther := t.stampRate(chosen), t.stampRate(other[chosen])
	if inChosen == 0 { // one moment: a unit changes nothing
		return chosen, nil
	}
	switch usual := usualRate(inChosen); {
	case evidence == Milliseconds && hasFractions && usualRate(inOther):
	case evidence != "" && (usual || !usualRate(inOther)):
		return chosen, nil
	case evidence == "" && usual != usualRate(inOther):
		if !usual {
			chosen = other[chosen]
		}
		return chosen, nil
	case evidence == "" && !usual:
		return chosen, nil
	}
	return "", &HintError{
		fmt.Errorf("the unit of its timestamps is not clear: in milliseconds they are %s requests a second on "+
			"average, in seconds %s", shortRate(t.stampRate(Milliseconds)), shortRate(t.stampRate(Seconds))),
		"--trace-time-unit ms or s says it",
	}
}

// hasFractions says whether most of the stamps have decimals.
func (t *trace) hasFractions() bool {
	n := 0
	for i := range t.requests {
		if s := t.requests[i].stamp; s != math.Trunc(s) {
			n++
		}
	}
	return 2*n > len(t.requests)
}

// stampRate is the mean rate in requests per second if the stamps have a unit; 0 where all are of one moment.
func (t *trace) stampRate(unit string) float64 {
	first, last := math.Inf(1), math.Inf(-1)
	for i := range t.requests {
		first, last = min(first, t.requests[i].stamp), max(last, t.requests[i].stamp)
	}
	if !(last > first) {
		return 0
	}
	seconds := last - first
	if unit == Milliseconds {
		seconds /= 1000
	}
	return float64(len(t.requests)) / seconds
}

func usualRate(r float64) bool { return r >= leastTraceRate && r <= mostTraceRate }

// shortRate writes a rate with two or three digits.
func shortRate(r float64) string {
	if r >= 100 {
		return fmt.Sprintf("%.0f", r)
	}
	return fmt.Sprintf("%.2g", r)
}

// describe says what a trace is and how much it asks of a server, as it will be replayed.
func (t *trace) describe(spec TraceSpec) string {
	f := &t.form
	var text strings.Builder
	fmt.Fprintf(&text, "trace %s (%s", spec.File, f.name)
	if f.unit != "" {
		fmt.Fprintf(&text, ", times in %s", f.unit)
	}
	if f.block > 0 {
		fmt.Fprintf(&text, ", blocks of %d tokens", f.block)
	}
	text.WriteString(")")
	if spec.Speed != 0 && spec.Speed != 1 {
		fmt.Fprintf(&text, " at %v times its speed", spec.Speed)
	}
	span, input, output, all := t.requests[len(t.requests)-1].offset, 0.0, 0.0, 0
	t.each(func(q *traceRequest) {
		input += float64(q.input)
		output += float64(q.output)
		all++
	})
	input, output = input/float64(all), output/float64(all)
	if spec.Sessions != nil {
		fmt.Fprintf(&text, ": %s of %s ", count(len(t.requests), "session"), count(all, "request"))
	} else {
		fmt.Fprintf(&text, ": %s ", count(all, "request"))
	}
	if span == 0 {
		text.WriteString("at one moment")
	} else {
		fmt.Fprintf(&text, "in %s, mean %s/s, at most %d within a second", shortSpan(span),
			shortRate(float64(len(t.requests))/span.Seconds()), t.peak())
	}
	fmt.Fprintf(&text, "; %.0f input and %.0f output tokens on average", input, output)
	return text.String()
}

// pacing says when turns of the sessions are due.
func (t *trace) pacing(spec TraceSpec) string {
	if spec.Think != nil {
		text := fmt.Sprintf("turns are due %s after the answer before", spec.Think)
		if graph := t.graphPacing(); graph != "" {
			text += "; " + graph
		}
		return text
	}
	thinks, times, atOnce := 0, 0, 0
	for i := range t.requests {
		for _, turn := range t.requests[i].turns {
			switch {
			case turn.after > 0:
				times++
			case turn.think > 0:
				thinks++
			default:
				atOnce++
			}
		}
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{thinks, "after the think time of the trace"}, {atOnce, "as soon as the answer before has come"},
		{times, "at their time in the trace, or when the answer before has come, if that is later"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if graph := t.graphPacing(); graph != "" {
		parts = append(parts, graph)
	}
	return "later turns are due: " + strings.Join(parts, "; ")
}

// peak is the number of requests in the busiest second.
func (t *trace) peak() (most int) {
	from := 0
	for i := range t.requests {
		for t.requests[i].offset-t.requests[from].offset >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// shortSpan rounds a time to three or four digits.
func shortSpan(d time.Duration) string {
	for _, unit := range []time.Duration{time.Hour, time.Minute, time.Second, time.Millisecond} {
		if d >= 100*unit {
			return d.Round(unit).String()
		}
	}
	return d.Round(time.Millisecond).String()
}

// notes are what there is to say of a trace before it is sent.
func (t *trace) notes(spec TraceSpec) []string {
	f := &t.form
	all := []string{t.describe(spec)}
	add := func(n int, what string) {
		if n > 0 {
			all = append(all, count(n, "request")+" of the trace "+what)
		}
	}
	add(f.noInput, "without input: left out")
	add(f.noOutput, "without output: 1 token is asked for")
	add(f.guessed, "with a text and no length of its output: a token is asked for four characters of it")
	add(f.misfits, fmt.Sprintf("with more or fewer hash_ids than blocks of %d tokens: what no identifier covers is "+
		"shared with no other request", f.block))
	if spec.Sessions == nil {
		add(f.turns, "going on from an earlier one: sent at the trace's time, whether or not the answer before has "+
			"come (--sessions sends them after it)")
	} else {
		add(f.orphans, "going on from one that is not there, or that another one goes on from: each begins a session")
		all = append(all, t.pacing(spec))
	}
	add(f.images, "with images, which are not sent")
	return all
}

// count is a number of things: "1 request", "2 requests".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
