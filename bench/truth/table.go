package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// table is what is printed of a row: a name and two values a line.
type table struct {
	title   string
	columns [2]string
	lines   [][3]string
	notes   []string
}

// table gives the median of the runs, and their range.
func (r *row) table(results []runResult) table {
	load := fmt.Sprintf("%g req/s", r.Rate)
	switch {
	case r.Streams > 0:
		load = fmt.Sprintf("%d streams", r.Streams)
	case r.Turns > 0:
		load = fmt.Sprintf("%g sessions/s of %d turns", r.Rate, r.Turns)
	}
	if r.Poisson {
		load += " by chance"
	}
	length := fmt.Sprintf("%g s", r.Seconds)
	if r.Report > 0 {
		length = fmt.Sprintf("%d requests", r.Report)
	}
	t := table{columns: [2]string{"median", "range"}}
	t.title = fmt.Sprintf("%s: %s of %d tokens, %s, %s, runs: %d",
		r.Name, load, r.Output, r.Engine, length, len(results))
	line := func(name, format string, value func(*runResult) float64) {
		var v []float64
		for i := range results {
			v = append(v, value(&results[i]))
		}
		slices.Sort(v)
		t.lines = append(t.lines, [3]string{
			name, fmt.Sprintf(format, v[len(v)/2]), fmt.Sprintf(format+" … "+format, v[0], v[len(v)-1]),
		})
	}
	against := func(name string, measured, truth func(*runResult) float64) {
		line(name+", measured (ms)", "%.3f", measured)
		line(name+", truth (ms)", "%.3f", truth)
		line(name+", error (ms)", "%+.3f", func(r *runResult) float64 { return measured(r) - truth(r) })
		line(name+", ratio", "%.4f", func(r *runResult) float64 { return measured(r) / truth(r) })
	}
	if r.steady() > 0 {
		line("sent (% of asked)", "%.2f", (*runResult).sentPercent)
	}
	against("TTFT p50",
		func(r *runResult) float64 { return r.TTFT[0] }, func(r *runResult) float64 { return r.TrueTTFT[0] })
	against("TTFT p99",
		func(r *runResult) float64 { return r.TTFT[1] }, func(r *runResult) float64 { return r.TrueTTFT[1] })
	against("mean ITL",
		func(r *runResult) float64 { return r.ITL }, func(r *runResult) float64 { return r.TrueITL })
	if r.Rate > 0 {
		line("send delay p50 (µs)", "%.0f", func(r *runResult) float64 { return r.SendDelay[0] })
		line("send delay p99 (µs)", "%.0f", func(r *runResult) float64 { return r.SendDelay[1] })
		line("  until its goroutine ran, p50 (µs)", "%.0f", func(r *runResult) float64 { return r.Started[0] })
		line("  until its goroutine ran, p99 (µs)", "%.0f", func(r *runResult) float64 { return r.Started[1] })
		line("  connecting, where it had to, p50", "%.0f", func(r *runResult) float64 { return r.Connect[0] })
		line("  requests that had to connect", "%.0f", func(r *runResult) float64 { return float64(r.NewConns) })
	}
	if r.steady() > 0 {
		line("late at the server, p99 (µs)", "%.0f", func(r *runResult) float64 { return 1e3 * r.Late[1] })
		line("gaps at the server, off, p50 (µs)", "%.0f", func(r *runResult) float64 { return r.Gaps[0] })
		line("gaps at the server, off, p99 (µs)", "%.0f", func(r *runResult) float64 { return r.Gaps[1] })
	}
	line("client delay p50 (µs)", "%.0f", func(r *runResult) float64 { return r.Delay[0] })
	line("client delay p99 (µs)", "%.0f", func(r *runResult) float64 { return r.Delay[1] })
	line("client CPU a token (µs)", "%.2f", func(r *runResult) float64 { return 1e6 * r.CPU / float64(r.Tokens) })
	if results[0].BareCPU > 0 {
		line("bare net/http reader's (µs)", "%.2f", func(r *runResult) float64 { return 1e6 * r.BareCPU })
		line("client CPU over the bare reader's", "%.2f",
			func(r *runResult) float64 { return r.CPU / float64(r.Tokens) / r.BareCPU })
	}
	line("client CPU (cores)", "%.2f", func(r *runResult) float64 { return r.CPU / r.Elapsed })
	if results[0].LeaderCPU > 0 {
		line("leader CPU a token (µs)", "%.2f",
			func(r *runResult) float64 { return 1e6 * r.LeaderCPU / float64(r.Tokens) })
	}
	line("server CPU a token (µs)", "%.2f", func(r *runResult) float64 { return 1e6 * r.ServerCPU / float64(r.Tokens) })
	line("server late by itself, p99 (µs)", "%.0f", func(r *runResult) float64 { return r.Behind[1] })
	line("other processes, steal (cores)", "%.2f", func(r *runResult) float64 { return r.Others })
	line("client memory, peak (MB)", "%.0f", func(r *runResult) float64 { return r.PeakMB })
	if r.Seconds >= 120 {
		line("  after a minute (MB)", "%.0f", func(r *runResult) float64 { return r.MinuteMB })
		line("  as sending ends (MB)", "%.0f", func(r *runResult) float64 { return r.EndMB })
		line("send delay p99, first minute (µs)", "%.0f", func(r *runResult) float64 { return r.FirstMinute[1] })
		line("send delay p99, last minute (µs)", "%.0f", func(r *runResult) float64 { return r.LastMinute[1] })
	}
	line("garbage collections", "%.0f", func(r *runResult) float64 { return float64(r.GCs) })
	line("first request after start (s)", "%.3f", func(r *runResult) float64 { return r.FirstRequest })
	line("requests sent", "%.0f", func(r *runResult) float64 { return float64(r.Sent) })
	line("requests lost", "%.0f", func(r *runResult) float64 { return float64(r.Lost) })
	if r.Report > 0 {
		line("report, JSON and CSV (s)", "%.1f", func(r *runResult) float64 { return r.ReportSeconds })
		line("report (MB)", "%.0f", func(r *runResult) float64 { return r.ReportMB })
	}
	var verdicts []string
	for _, res := range results {
		verdicts = append(verdicts, string(res.Verdict))
	}
	t.lines = append(t.lines, [3]string{"client", strings.Join(verdicts, ", "), ""})
	t.notes = results[len(results)-1].Reasons
	return t
}

// print writes the table for a terminal.
func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n  %-36s %12s %26s\n", t.title, "", t.columns[0], t.columns[1])
	for _, l := range t.lines {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-36s %12s %26s", l[0], l[1], l[2]), " "))
	}
	for _, n := range t.notes {
		fmt.Fprintf(w, "    %s\n", n)
	}
}

// markdown writes the table for a page.
func (t *table) markdown(w io.Writer) {
	fmt.Fprintf(w, "### %s\n\n| | %s | %s |\n|---|--:|--:|\n", t.title, t.columns[0], t.columns[1])
	for _, l := range t.lines {
		fmt.Fprintf(w, "| %s | %s | %s |\n", strings.TrimSpace(l[0]), l[1], l[2])
	}
	for _, n := range t.notes {
		fmt.Fprintf(w, "\n%s\n", n)
	}
	fmt.Fprintln(w)
}

// The tables in a page stand between these two.
const (
	tablesBegin = "<!-- tables: written by bench/truth -write -->\n"
	tablesEnd   = "<!-- end of tables -->\n"
)

// writeTables puts the tables into a page, with what they were made by. What else is in the page stays.
func writeTables(name string, tables []table) error {
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return fmt.Errorf("the commit for %s: git describe: %w", name, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nCommit %s, %s: `%s`\n\n", strings.TrimSpace(string(commit)), time.Now().Format("2 January 2006"),
		strings.Join(append([]string{"go run ./bench/truth"}, os.Args[1:]...), " "))
	for i := range tables {
		tables[i].markdown(&b)
	}
	page, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(name, []byte(replaceTables(string(page), b.String())), 0o644)
}

// replaceTables gives the page with the tables between their marks; a page that has no marks gets them at its end.
func replaceTables(page, tables string) string {
	before, rest, ok := strings.Cut(page, tablesBegin)
	_, after, closed := strings.Cut(rest, tablesEnd)
	switch {
	case ok && closed:
	case page == "":
		before = "# The client against the truth\n\n"
	default:
		before, after = strings.TrimRight(page, "\n")+"\n\n", ""
	}
	return before + tablesBegin + tables + tablesEnd + after
}
