package main

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"slices"

	"github.com/openloop/openloop/llmsim"
)

// runResult is one run of a row: what the client measured, and what the server did.
type runResult struct {
	clientMeasured
	serverMeasured
	FirstRequest float64 // s from the start of the client's process
	PeakMB       float64 // resident memory of the client's process at most
	ServerCPU    float64 // s
	Others       float64 // cores that other processes, and other machines, used meanwhile
	BareCPU      float64 // s a token, of the bare reader; 0: was not run
	Lost         int     // requests that were sent and whose stream did not come whole
}

func (r *runResult) sentPercent() float64 { return 100 * float64(r.Sent) / float64(r.Offered) }

// serverMeasured is what the server's own record says. Pairs are the median and the 99th percentile.
type serverMeasured struct {
	TrueTTFT   [2]float64 // ms
	TrueITL    float64    // ms, mean
	Handling   [2]float64 // µs from the kernel's receipt of a request to its handler
	Behind     [2]float64 // µs that the server wrote its first token late, by its own schedule
	Late       [2]float64 // ms that requests reached it late, by a steady schedule; open loop
	Gaps       [2]float64 // µs that the gaps between arrivals there differ from the schedule's, either way; open loop
	Reached    int        // requests that reached the server
	TrueTokens int
}

// measured reads the server's record of a load of so many requests a second, evenly spaced; 0 for any other.
func (s *server) measured(rate float64) (m serverMeasured, err error) {
	f, err := os.Open(s.truthFile())
	if err != nil {
		return m, err
	}
	defer f.Close()
	var ttft, handling, behind []float64
	var arrivals []int64
	var span, gaps float64
	for d := json.NewDecoder(f); ; {
		var r llmsim.Truth
		if err := d.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			return m, err
		}
		m.Reached++
		m.TrueTokens += r.OutputTokens
		arrivals = append(arrivals, r.Read)
		if r.FirstToken > 0 {
			ttft = append(ttft, float64(r.FirstToken-r.Read)/1e6)
			handling = append(handling, float64(r.Handled-r.Read)/1e3)
			behind = append(behind, float64(r.FirstToken-r.DueFirst)/1e3)
		}
		if r.OutputTokens > 1 && r.LastToken > 0 {
			span += float64(r.LastToken-r.FirstToken) / 1e6
			gaps += float64(r.OutputTokens - 1)
		}
	}
	m.TrueTTFT, m.TrueITL = twoPercentiles(ttft), span/gaps
	m.Handling, m.Behind = twoPercentiles(handling), twoPercentiles(behind)
	m.Late = lateArrivals(arrivals, rate)
	if rate > 0 {
		slices.Sort(arrivals)
		var gapErrors []float64
		for i := 1; i < len(arrivals); i++ {
			gapErrors = append(gapErrors, math.Abs(float64(arrivals[i]-arrivals[i-1])/1e3-1e6/rate))
		}
		m.Gaps = twoPercentiles(gapErrors)
	}
	return m, nil
}
