package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/llmsim"
)

// result is one run: what the client measured, and what the server did.
type result struct {
	measured
	truth
	FirstRequest float64 // s from the start of the client's process
	PeakMB       float64 // resident memory of the client's process at most
	ServerCPU    float64 // s
	Others       float64 // cores that other processes, and other machines, used meanwhile
	BareCPU      float64 // s a token, of the bare reader; 0: was not run
	Lost         int     // requests that were sent and whose stream did not come whole
}

// truth is what the server did, in ms where nothing else is said.
type truth struct {
	TrueTTFT   [2]float64
	TrueITL    float64
	Handling   [2]float64 // µs: what the server took from the kernel's receipt of a request to its handler
	Behind     [2]float64 // µs: how late the server wrote its first token, by its own schedule
	Reached    int        // requests that reached the server
	TrueTokens int
}

// truth reads the server's own records.
func (s *server) truth() (t truth, err error) {
	f, err := os.Open(s.truthFile())
	if err != nil {
		return t, err
	}
	defer f.Close()
	var ttft, handling, behind []float64
	var span, gaps float64
	for d := json.NewDecoder(f); ; {
		var r llmsim.Truth
		if err := d.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			return t, err
		}
		t.Reached++
		t.TrueTokens += r.OutputTokens
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
	t.TrueTTFT, t.TrueITL = twoPercentiles(ttft), span/gaps
	t.Handling, t.Behind = twoPercentiles(handling), twoPercentiles(behind)
	return t, nil
}

// wrongVerdict says what is wrong with the audit's verdict on a run; "" if nothing is.
func (r row) wrongVerdict(res *result) string {
	if !slices.Contains(r.Verdicts, res.Verdict) && r.Verdicts != nil {
		if res.Others > 0.5 && (slices.Equal(r.Verdicts, fit) || res.Verdict == audit.Suspect) {
			return "" // others had what the client needed, so it was unfit indeed; or the server, beside which it was less so
		}
		return fmt.Sprintf("%s, and %v would be right: %s", res.Verdict, r.Verdicts, strings.Join(res.Reasons, "; "))
	}
	// Whatever the row: figures that the audit lets pass must be the server's. Beyond this a stage would be suspect had it been
	// the lateness.
	if off := math.Abs(res.TTFT[0] - res.TrueTTFT[0]); res.Verdict == audit.Valid && off > max(1, 0.05*res.TrueTTFT[0]) {
		return fmt.Sprintf("valid, and the median TTFT is off by %.2f ms", off)
	}
	return ""
}

func twoPercentiles(values []float64) [2]float64 {
	return [2]float64{percentile(values, 0.5), percentile(values, 0.99)}
}

// percentile sorts its argument.
func percentile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

// print writes a row: the median of the runs, and their range.
func (r row) print(results []result) {
	load := fmt.Sprintf("%g req/s", r.Rate)
	if r.Streams > 0 {
		load = fmt.Sprintf("%d streams", r.Streams)
	}
	length := fmt.Sprintf("%g s", r.Seconds)
	if r.Report > 0 {
		length = fmt.Sprintf("%d requests", r.Report)
	}
	fmt.Printf("\n%s: %s of %d tokens, %s, %s, %d runs\n", r.Name, load, r.Output, r.Engine, length, len(results))
	fmt.Printf("  %-34s %12s %26s\n", "", "median", "range")
	line := func(name, format string, value func(*result) float64) {
		var v []float64
		for i := range results {
			v = append(v, value(&results[i]))
		}
		slices.Sort(v)
		fmt.Printf("  %-34s %12s %26s\n", name, fmt.Sprintf(format, v[len(v)/2]), fmt.Sprintf(format+" … "+format, v[0], v[len(v)-1]))
	}
	against := func(name string, measured, truth func(*result) float64) {
		line(name+", measured (ms)", "%.3f", measured)
		line(name+", truth (ms)", "%.3f", truth)
		line(name+", error (ms)", "%+.3f", func(r *result) float64 { return measured(r) - truth(r) })
		line(name+", ratio", "%.4f", func(r *result) float64 { return measured(r) / truth(r) })
	}
	if r.Rate > 0 {
		line("achieved (% of offered)", "%.2f", func(r *result) float64 { return 100 * float64(r.Sent) / float64(r.Offered) })
	}
	against("TTFT p50", func(r *result) float64 { return r.TTFT[0] }, func(r *result) float64 { return r.TrueTTFT[0] })
	against("TTFT p99", func(r *result) float64 { return r.TTFT[1] }, func(r *result) float64 { return r.TrueTTFT[1] })
	against("mean ITL", func(r *result) float64 { return r.ITL }, func(r *result) float64 { return r.TrueITL })
	if r.Rate > 0 {
		line("send lateness p50 (µs)", "%.0f", func(r *result) float64 { return r.Lateness[0] })
		line("send lateness p99 (µs)", "%.0f", func(r *result) float64 { return r.Lateness[1] })
		line("  until its goroutine ran, p50 (µs)", "%.0f", func(r *result) float64 { return r.Started[0] })
		line("  until its goroutine ran, p99 (µs)", "%.0f", func(r *result) float64 { return r.Started[1] })
		line("  connecting, where it had to, p50", "%.0f", func(r *result) float64 { return r.Connect[0] })
		line("  requests that had to connect", "%.0f", func(r *result) float64 { return float64(r.NewConns) })
	}
	line("client delay p50 (µs)", "%.0f", func(r *result) float64 { return r.Delay[0] })
	line("client delay p99 (µs)", "%.0f", func(r *result) float64 { return r.Delay[1] })
	line("client CPU a token (µs)", "%.2f", func(r *result) float64 { return 1e6 * r.CPU / float64(r.Tokens) })
	if results[0].BareCPU > 0 {
		line("bare net/http reader's (µs)", "%.2f", func(r *result) float64 { return 1e6 * r.BareCPU })
		line("client CPU over the bare reader's", "%.2f", func(r *result) float64 { return r.CPU / float64(r.Tokens) / r.BareCPU })
	}
	line("client CPU (cores)", "%.2f", func(r *result) float64 { return r.CPU / r.Elapsed })
	line("server CPU a token (µs)", "%.2f", func(r *result) float64 { return 1e6 * r.ServerCPU / float64(r.Tokens) })
	line("server late by itself, p99 (µs)", "%.0f", func(r *result) float64 { return r.Behind[1] })
	line("other processes, steal (cores)", "%.2f", func(r *result) float64 { return r.Others })
	line("client memory, peak (MB)", "%.0f", func(r *result) float64 { return r.PeakMB })
	if r.Seconds >= 120 {
		line("  after a minute (MB)", "%.0f", func(r *result) float64 { return r.MinuteMB })
		line("  as sending ends (MB)", "%.0f", func(r *result) float64 { return r.EndMB })
		line("send lateness p99, first minute (µs)", "%.0f", func(r *result) float64 { return r.FirstMinute[1] })
		line("send lateness p99, last minute (µs)", "%.0f", func(r *result) float64 { return r.LastMinute[1] })
	}
	line("garbage collections", "%.0f", func(r *result) float64 { return float64(r.GCs) })
	line("first request after start (s)", "%.3f", func(r *result) float64 { return r.FirstRequest })
	line("requests sent", "%.0f", func(r *result) float64 { return float64(r.Sent) })
	line("requests lost", "%.0f", func(r *result) float64 { return float64(r.Lost) })
	if r.Report > 0 {
		line("report, JSON and CSV (s)", "%.1f", func(r *result) float64 { return r.ReportSeconds })
		line("report (MB)", "%.0f", func(r *result) float64 { return r.ReportMB })
	}
	var verdicts []string
	for _, res := range results {
		verdicts = append(verdicts, string(res.Verdict))
	}
	fmt.Printf("  %-34s %s\n", "verdicts on the client", strings.Join(verdicts, ", "))
	for _, reason := range results[len(results)-1].Reasons {
		fmt.Printf("    %s\n", reason)
	}
}
