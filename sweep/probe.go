package sweep

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Probe is what the saturation probe found.
type Probe struct {
	Steps   []ProbeStep
	Streams int     // the fewest streams at which the server gave all it has
	Rate    float64 // requests per second that it then sustains
}

// ProbeStep is one number of streams that was tried.
type ProbeStep struct {
	Streams int     `json:"streams"`
	Seconds float64 `json:"seconds"`      // of the window that was measured
	Tokens  int64   `json:"tokens"`       // token events in it
	Firsts  int64   `json:"first_tokens"` // first tokens in it: prompts that were processed
	Rate    float64 `json:"rate"`         // requests per second of a steady state with these costs
}

// work is what one request costs the server: the time it adds before its first token, and its output. Output is counted
// in token events, as Run.Progress counts it while the probe runs: how many tokens are in an event is known at the end
// of a request only, and the rate does not depend on it.
type work struct {
	prefill float64 // seconds
	output  float64 // token events
}

// steadyRate is the rate, in requests per second, at which a server in a steady state ends requests, from a window in
// which it need not have been steady: after a burst of prompts it decodes only, and gives more tokens than it can
// sustain once prompts come in between.
//
// A window of d seconds holds f first tokens and t tokens in all. At saturation its time went to prompts and to tokens,
// d = prefill·f + b·t, which gives b, the time per token. A steady state handles one prompt for every output tokens, so
// that a request takes prefill + output·b. Where f·output = t the window is steady, and the result is f/d whatever the
// prefill time is.
func (w work) steadyRate(d float64, f, t int64) float64 {
	if d <= 0 || t <= 0 || w.output <= 0 {
		return 0
	}
	// A batch of prompts may cost less than one by one; the prompts cannot have taken more than most of the window.
	prefill := w.prefill
	if f > 0 {
		prefill = min(prefill, 0.9*d/float64(f))
	}
	b := (d - prefill*float64(f)) / float64(t)
	return 1 / (prefill + w.output*b)
}

// workOf measures a request's work from a stage of one stream. ok is false if nothing completed there.
func workOf(l *loadgen.Measured) (w work, ok bool) {
	var ttft, itl []float64
	events, n := 0, 0
	for i := range l.Records {
		rec := &l.Records[i]
		if rec.Status == loadgen.Errored {
			continue
		}
		if d, ok := rec.TTFT(); ok {
			ttft = append(ttft, d.Seconds())
		}
		if rec.Status == loadgen.Completed {
			events += int(rec.TokenEvents)
			n++
		}
		if rec.TokenEvents > 1 {
			itl = append(itl, rec.MeanGap()/1e9)
		}
	}
	if len(ttft) == 0 {
		return work{output: 1}, generatesNothing(l)
	}
	switch {
	case n > 0:
		w.output = float64(events) / float64(n)
	default: // too long for the stage: as many as were asked for
		w.output = float64(l.Records[0].AskedOutput)
	}
	w.prefill = max(0, num.Median(ttft)-num.Median(itl))
	return w, w.output > 0
}

// generatesNothing says whether the requests of a stage complete without a token, as embeddings do. Their answer as a
// whole is the one event that is counted (loadgen.Progress).
func generatesNothing(l *loadgen.Measured) bool {
	return slices.ContainsFunc(l.Records, func(r loadgen.Record) bool {
		return r.Status == loadgen.Completed && r.TokenEvents == 0 && r.OutputTokens == 0
	})
}

// synchronousRate is the rate of one stream, in requests per second: 1/(mean latency), for which unfinished requests
// count by the time that they would have taken.
func synchronousRate(l *loadgen.Measured, w work) float64 {
	sum, n := 0.0, 0
	for i := range l.Records {
		if d, ok := l.Records[i].Latency(); ok {
			sum += d.Seconds()
			n++
		}
	}
	if n > 0 {
		return float64(n) / sum
	}
	for i := range l.Records {
		rec := &l.Records[i]
		if rec.TokenEvents > 1 {
			ttft, _ := rec.TTFT()
			return 1 / (ttft.Seconds() + rec.MeanGap()/1e9*(w.output-1))
		}
	}
	return 0
}

const (
	probeTick    = 20 * time.Millisecond
	probeMin     = time.Second      // the shortest window
	probeMax     = 6 * time.Second  // the longest
	probeSettle  = 20 * time.Second // no longer than this is waited for prompts to be processed
	probeGain    = 1.04             // less than this gain of one doubling ends the growth
	probeStreams = 4096
)

// probe grows the streams of one closed-loop run, doubling, until the rate that the server could sustain grows no more.
// A doubling that gains less than 4 % means that no number of streams would gain as much again, where a step of the
// server costs a constant and a share for each stream.
func (p *Plan) probe(ctx context.Context, w work) (Probe, error) {
	probe, measured, err := p.tryProbe(ctx, w)
	if err == nil && measured.Reason == loadgen.StopWorkerLost { // once more, with those that are left
		probe, measured, err = p.tryProbe(ctx, w)
		if err == nil && measured.Reason == loadgen.StopWorkerLost {
			err = lostTwice(measured)
		}
	}
	if err == nil && probe.Streams == 0 {
		err = fmt.Errorf("saturation probe: no tokens came (%d requests, %s)", len(measured.Records), measured.Reason)
	}
	return probe, err
}

// tryProbe runs the probe once.
func (p *Plan) tryProbe(ctx context.Context, w work) (Probe, *loadgen.Measured, error) {
	most := min(p.maxStreams(), probeStreams)
	stage := p.Stage
	stage.Load = loadgen.Load{Kind: loadgen.Throughput, Streams: min(2, most)}
	source, release, err := p.open(ctx, stage.Load)
	if err != nil {
		return Probe{}, nil, fmt.Errorf("requests for the saturation probe: %w", err)
	}
	defer release()

	stage.MaxRequests, stage.MaxDuration = 0, 10*time.Minute // each step has its own limit
	stage.Warmup, stage.Cooldown = 0, 0
	stage.Grace, stage.KeepDetails = 0, false
	run, err := p.Start(ctx, stage, loadgen.Hooks{Source: source})
	if err != nil {
		return Probe{}, nil, fmt.Errorf("saturation probe: %w", err)
	}
	if p.StageStarted != nil {
		p.StageStarted(-1, stage.Load, run)
	}
	var probe Probe
	added := stage.Load.Streams
	for n := stage.Load.Streams; ; {
		run.SetStreams(n)
		before := bestRate(probe.Steps)
		step, running := probeStep(run, n, added, w)
		if running && step.Rate < probeGain*before {
			// One bad window, in which the server or this machine was busy with something else, must not end the
			// growth.
			probe.Steps = append(probe.Steps, step)
			step, running = probeStep(run, n, 0, w)
		}
		if !running {
			break
		}
		probe.Steps = append(probe.Steps, step)
		if step.Rate < probeGain*before || n == most {
			break
		}
		added = min(n, most-n)
		n += added
	}
	run.Stop()
	measured := run.Wait()
	if ctx.Err() != nil {
		return probe, measured, context.Cause(ctx)
	}
	if err := p.worthGoingOn(ctx, &Stage{Load: stage.Load, Measured: measured}); err != nil {
		return probe, measured, err
	}
	probe.Rate = bestRate(probe.Steps)
	for _, s := range probe.Steps {
		if s.Rate >= probe.Rate/probeGain {
			probe.Streams = s.Streams
			break
		}
	}
	return probe, measured, nil
}

func bestRate(steps []ProbeStep) float64 {
	best := 0.0
	for _, s := range steps {
		best = max(best, s.Rate)
	}
	return best
}

// probeStep lets the prompts of the added streams be processed and then measures a window. running is false if the run
// ended meanwhile.
func probeStep(run loadgen.Running, streams, added int, w work) (step ProbeStep, running bool) {
	begin := run.Progress()
	// Settled: the new streams all have their first token, or none came for a while, because the server has no room
	// for more, or it took as long as the prompts of all of them one by one.
	quiet := max(500*time.Millisecond, time.Duration(8*w.prefill*float64(time.Second)))
	limit := min(probeSettle, quiet+time.Duration(1.2*float64(added)*w.prefill*float64(time.Second)))
	now, last, lastChange := begin, begin.Firsts, begin.Elapsed
	for now.Firsts-begin.Firsts < int64(added) && now.Elapsed-begin.Elapsed < limit && now.Elapsed-lastChange < quiet {
		if !tick(run) {
			return step, false
		}
		if now = run.Progress(); now.Firsts != last {
			last, lastChange = now.Firsts, now.Elapsed
		}
	}
	start := now
	for {
		if !tick(run) {
			return step, false
		}
		now = run.Progress()
		d := now.Elapsed - start.Elapsed
		tokens := now.Tokens - start.Tokens
		// Enough: each stream that runs gave a dozen tokens; what stands in the queue does not count against it.
		if d >= probeMin && tokens >= 12*int64(streams) || d >= probeMax {
			break
		}
	}
	step = ProbeStep{
		Streams: streams, Seconds: (now.Elapsed - start.Elapsed).Seconds(),
		Tokens: now.Tokens - start.Tokens, Firsts: now.Firsts - start.Firsts,
	}
	step.Rate = w.steadyRate(step.Seconds, step.Firsts, step.Tokens)
	return step, true
}

func tick(run loadgen.Running) bool {
	t := time.NewTimer(probeTick)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-run.Done():
		return false
	}
}

// saturationRate is the sustained rate that a stage well past saturation shows, from its tokens after its first fifth,
// the tokens of unfinished requests included; 0 if there are too few to tell.
func saturationRate(l *loadgen.Measured, w work) float64 {
	from := l.Start + (l.Stopped-l.Start)/5
	to := l.Stopped
	var firsts int64
	tokens := 0.0
	for i := range l.Records {
		rec := &l.Records[i]
		if rec.FirstToken == 0 {
			continue
		}
		if rec.FirstToken >= from && rec.FirstToken < to {
			firsts++
		}
		tokens += tokensWithin(rec, from, to)
	}
	if tokens < 100 {
		return 0
	}
	return w.steadyRate(float64(to-from)/1e9, firsts, int64(tokens))
}

// tokensWithin counts the token events of a request between two times, taking those between its first and last as
// evenly spread.
func tokensWithin(rec *loadgen.Record, from, to int64) float64 {
	a, b := rec.FirstToken, rec.LastToken
	if b <= a {
		if a >= from && a < to {
			return float64(rec.TokenEvents)
		}
		return 0
	}
	overlap := min(b, to) - max(a, from)
	if overlap <= 0 {
		return 0
	}
	return float64(rec.TokenEvents) * float64(overlap) / float64(b-a)
}

// settleRate chooses between the probe's rate and that of the saturation stage, which saw more of the server's time. A
// server that gives much less under overload is not to be judged by that.
func (p *Plan) settleRate(r *Result, stage float64) float64 {
	probe := r.Probe.Rate
	switch {
	case stage <= 0:
		return probe
	case stage < 0.8*probe:
		r.warn("overload lowers what the server gives: %.3g req/s at %d streams, %.3g at %d; "+
			"the rates go up to the higher", stage, 2*r.Probe.Streams, probe, r.Probe.Streams)
		return probe
	}
	return stage
}

func (p *Plan) maxStreams() int {
	if p.MaxConcurrency > 0 {
		return p.MaxConcurrency
	}
	return loadgen.DefaultMaxConcurrency
}
