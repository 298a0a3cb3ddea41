package stats

import (
	"math"
	"testing"
)

var nan = math.NaN()

func TestDerivedFigures(t *testing.T) {
	streamed := Request{Timings: NoTimings(), Input: NoUsage(), Output: NoUsage(), TokenIterations: 5,
		RequestIterations: 14}
	streamed.ResolveStart, streamed.RequestStart = 99.5, 100
	streamed.FirstTokenIteration, streamed.LastTokenIteration = 100.25, 102.25
	streamed.RequestEnd, streamed.ResolveEnd = 102.5, 103
	streamed.Input.TextTokens, streamed.Output.TextTokens = 30, 9

	whole := streamed // an answer without a stream
	whole.TokenIterations = 0
	whole.FirstTokenIteration, whole.LastTokenIteration = nan, nan

	oneToken := streamed
	oneToken.TokenIterations, oneToken.Output.TextTokens = 1, 1
	oneToken.LastTokenIteration = oneToken.FirstTokenIteration

	noUsage := streamed
	noUsage.Input, noUsage.Output = NoUsage(), NoUsage()

	zeroUsage := streamed
	zeroUsage.Input, zeroUsage.Output = Usage{}, Usage{}

	cancelled := streamed
	cancelled.RequestEnd, cancelled.Output = nan, NoUsage()

	neverSent := Request{Timings: NoTimings(), Input: Usage{TextTokens: 30}, Output: NoUsage()}
	neverSent.ResolveStart, neverSent.ResolveEnd = 99.5, 103

	media := streamed
	m := noMedia()
	m.ImageTokens, m.AudioTokens, m.VideoTokens = 100, 20, 3
	media.Input.Media = &m

	type figures struct{ start, end, latency, ttft, tpot, itl, tps, otps, iter, perIter float64 }
	type counts struct{ in, out, total int64 }
	tests := []struct {
		name    string
		request Request
		figures figures
		counts  counts
	}{
		{"streamed", streamed, figures{100, 102.5, 2.5, 250, 250, 250, 15.6, 3.6, 2, 1.8}, counts{30, 9, 39}},
		{"whole", whole, figures{100, 102.5, 2.5, nan, 2500. / 9, nan, 15.6, 3.6, nan, nan}, counts{30, 9, 39}},
		{"one token", oneToken, figures{100, 102.5, 2.5, 250, 250, nan, 12.4, 0.4, nan, 1}, counts{30, 1, 31}},
		{"no usage", noUsage, figures{100, 102.5, 2.5, 250, nan, nan, nan, nan, nan, nan}, counts{None, None, None}},
		{"zero usage is none", zeroUsage, figures{100, 102.5, 2.5, 250, nan, nan, nan, nan, nan, nan},
			counts{None, None, None}},
		{"cancelled", cancelled, figures{100, 103, nan, 250, nan, nan, nan, nan, nan, nan}, counts{30, None, 30}},
		{"never sent", neverSent, figures{99.5, 103, nan, nan, nan, nan, nan, nan, nan, nan}, counts{30, None, 30}},
		{"media", media, figures{100, 102.5, 2.5, 250, 250, 250, 64.8, 3.6, 2, 1.8}, counts{153, 9, 162}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &tt.request
			got := figures{r.Start(), r.End(), r.Latency(), r.TimeToFirstTokenMS(), r.TimePerOutputTokenMS(),
				r.InterTokenLatencyMS(),
				r.TokensPerSecond(), r.OutputTokensPerSecond(),
				r.IterTokensPerIteration(), r.OutputTokensPerIteration()}
			a, b := []float64{got.start, got.end, got.latency, got.ttft, got.tpot, got.itl, got.tps, got.otps, got.iter,
				got.perIter},
				[]float64{tt.figures.start, tt.figures.end, tt.figures.latency, tt.figures.ttft, tt.figures.tpot,
					tt.figures.itl,
					tt.figures.tps, tt.figures.otps, tt.figures.iter, tt.figures.perIter}
			for i := range a {
				if !near(a[i], b[i]) {
					t.Errorf("got  %+v\nwant %+v", got, tt.figures)
					break
				}
			}
			if got := (counts{r.InputTokens(), r.OutputTokens(), r.TotalTokens()}); got != tt.counts {
				t.Errorf("got %v, want %v", got, tt.counts)
			}
		})
	}
}

// A request counts if it touches the window: it may begin before and end after it.
func TestWindowHolds(t *testing.T) {
	w := Window{10, 20}
	for _, tt := range []struct {
		start, end float64
		want       bool
	}{
		{12, 15, true}, {5, 25, true}, {5, 10, true}, {20, 21, true}, {5, 9.99, false}, {20.01, 21, false},
		{nan, 15, true}, {nan, 20.01, false}, {15, nan, false},
	} {
		r := Request{Timings: NoTimings()}
		r.RequestStart, r.RequestEnd = tt.start, tt.end
		if got := w.holds(&r); got != tt.want {
			t.Errorf("[%v, %v]: %v", tt.start, tt.end, got)
		}
	}
}

func TestOutputTrain(t *testing.T) {
	r := &Request{Timings: NoTimings(), Input: NoUsage(), Output: NoUsage(), TokenIterations: 5}
	r.FirstTokenIteration, r.LastTokenIteration, r.ResolveEnd = 10, 12, 13
	r.Output.TextTokens = 9
	check := func(name string, want ...event) {
		t.Helper()
		train := outputTrain(r)
		var got []event
		for i := range train.n {
			got = append(got, event{train.at(i), train.weight(i)})
		}
		if len(got) != len(want) {
			t.Fatalf("%s: got %v, want %v", name, got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
	}
	check("two tokens a line after the first", event{10, 1}, event{10.5, 2}, event{11, 2}, event{11.5, 2}, event{12, 2})
	r.Output.TextTokens = 1
	check("a single token", event{10, 1})
	r.Output.TextTokens = None
	check("lines but no count", event{10, 0})
	r.Output.TextTokens, r.TokenIterations = 9, 1
	check("a single line", event{12, 9})
	r.FirstTokenIteration, r.LastTokenIteration, r.TokenIterations = nan, nan, 0
	check("no line", event{13, 9})
}

func TestCompileCounts(t *testing.T) {
	var requests []Request
	for i, status := range []Status{Completed, Completed, Errored, Cancelled, Completed} {
		r := Request{Timings: NoTimings(), Input: NoUsage(), Output: NoUsage(), Status: status}
		r.RequestStart, r.RequestEnd, r.ResolveEnd = epoch+float64(i), epoch+float64(i)+0.5, epoch+float64(i)+0.5
		requests = append(requests, r)
	}
	m := Compile(Window{epoch, epoch + 3.9}, requests)
	if want := (StatusCounts{Successful: 2, Errored: 1, Incomplete: 1, Total: 4}); m.RequestTotals != want {
		t.Errorf("got %+v, want %+v", m.RequestTotals, want)
	}
	if got := m.RequestLatency.Successful; got.Count != 2 || got.Mean != 0.5 {
		t.Errorf("latency %+v", got)
	}
	if m.Text.Tokens == nil || m.Text.Tokens.Input != nil || m.Text.Tokens.Total != nil {
		t.Errorf("a summary of nothing is an empty one, got %+v", m.Text.Tokens)
	}
	if empty := Compile(Window{epoch, epoch + 1}, nil); empty.RequestTotals.Total != 0 ||
		empty.RequestsPerSecond.Total.Mean != 0 {
		t.Errorf("no requests: %+v", empty.RequestTotals)
	}
}

// noMedia returns media in which nothing is known.
func noMedia() Media {
	return Media{None, None, None, None, None, None, None, math.NaN(), None, None, None, math.NaN()}
}
