package guidellm

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openloop/openloop/guidellm/stats"
)

// writeCSV writes a report as GuideLLM's csv output does: three rows of headings, then one row a benchmark. A metric
// that a benchmark does not have takes no column in its row, and the headings are those of the first benchmark, so
// that later rows may be shifted against them, as GuideLLM's are. Times of day are in loc (UTC where nil).
func writeCSV(w io.Writer, r *Report, loc *time.Location) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	for i, b := range r.Benchmarks {
		row := csvRow{loc: loc}
		row.benchmark(r, b)
		if row.err != nil {
			return fmt.Errorf("writing benchmark %d of the report as CSV: %w", i, row.err)
		}
		if i == 0 {
			for level := range 3 {
				headings := make([]string, len(row.headings))
				for column, h := range row.headings {
					headings[column] = h[level]
				}
				out.Write(headings)
			}
		}
		out.Write(row.cells)
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("writing the report as CSV: %w", err)
	}
	return nil
}

// csvRow collects the cells of one benchmark and the headings above them.
type csvRow struct {
	loc      *time.Location
	headings [][3]string // group, name, unit
	cells    []string
	err      error
}

func (c *csvRow) add(group, name, unit, cell string) {
	c.headings = append(c.headings, [3]string{group, name, unit})
	c.cells = append(c.cells, cell)
}

func (c *csvRow) integer(group, name string, n int64) {
	c.add(group, name, "", strconv.FormatInt(n, 10))
}

func (c *csvRow) seconds(group, name string, x float64) { c.add(group, name, "Sec", pythonString(x)) }

func (c *csvRow) time(group, name string, t float64) {
	c.add(group, name, "", formatTime(t, "2006-01-02 15:04:05", c.loc))
}

// json adds a cell that holds JSON: as pydantic writes it, or spaced as json.dumps does, with its words for the numbers
// that JSON does not have.
func (c *csvRow) json(group, name string, v any, spaced bool) {
	raw, err := marshalFree(v)
	text := jsontext.Value(raw)
	if err == nil && spaced {
		err = text.Format(asPython)
		text = jsontext.Value(pythonNumbers.Replace(string(text)))
	} else if err == nil {
		err = text.Format()
	}
	if err != nil {
		c.err = err
	}
	c.add(group, name, "", string(text))
}

var pythonNumbers = strings.NewReplacer(`"NaN"`, "NaN", `"Infinity"`, "Infinity", `"-Infinity"`, "-Infinity")

func (c *csvRow) benchmark(r *Report, b *Benchmark) {
	c.add("Run Info", "Run ID", "", b.Config.RunID)
	c.integer("Run Info", "Run Index", b.Config.RunIndex)
	c.json("Run Info", "Profile", b.Config.Profile, false)
	c.json("Run Info", "Requests", b.Config.Requests, true)
	c.json("Run Info", "Backend", b.Config.Backend, true)
	c.json("Run Info", "Environment", b.Config.Environment, true)

	c.add("Benchmark", "Type", "", b.Type)
	c.add("Benchmark", "ID", "", b.Config.ID)
	c.add("Benchmark", "Strategy", "", b.Config.Load().Type)
	c.json("Benchmark", "Constraints", b.Config.Constraints, true)

	s := &b.SchedulerMetrics
	c.time("Timings", "Start Time", s.StartTime)
	c.time("Timings", "Request Start Time", s.RequestStartTime)
	c.time("Timings", "Measure Start Time", s.MeasureStartTime)
	c.time("Timings", "Measure End Time", s.MeasureEndTime)
	c.time("Timings", "Request End Time", s.RequestEndTime)
	c.time("Timings", "End Time", s.EndTime)
	c.seconds("Timings", "Duration", b.Duration)
	c.seconds("Timings", "Warmup", b.WarmupDuration)
	c.seconds("Timings", "Cooldown", b.CooldownDuration)

	m := &b.Metrics
	c.integer("Request Counts", "Successful", m.RequestTotals.Successful)
	c.integer("Request Counts", "Incomplete", m.RequestTotals.Incomplete)
	c.integer("Request Counts", "Errored", m.RequestTotals.Errored)
	c.integer("Request Counts", "Total", m.RequestTotals.Total)

	c.distribution("Request Latency", "Sec", &m.RequestLatency)
	c.distribution("Streaming Iterations", "Count", &m.RequestStreamingIterationsCount)
	c.distribution("Time to First Token", "ms", &m.TimeToFirstTokenMS)
	c.distribution("Time per Output Token", "ms", &m.TimePerOutputTokenMS)
	c.distribution("Inter Token Latency", "ms", &m.InterTokenLatencyMS)
	c.distribution("Server Throughput", "Requests/Sec", &m.RequestsPerSecond)
	c.distribution("Server Throughput", "Concurrency", &m.RequestConcurrency)
	c.distribution("Token Metrics", "Input Tokens", &m.PromptTokenCount)
	c.distribution("Token Metrics", "Output Tokens", &m.OutputTokenCount)
	c.distribution("Token Metrics", "Total Tokens", &m.TotalTokenCount)
	c.distribution("Token Throughput", "Input Tokens/Sec", &m.PromptTokensPerSecond)
	c.distribution("Token Throughput", "Output Tokens/Sec", &m.OutputTokensPerSecond)
	c.distribution("Token Throughput", "Total Tokens/Sec", &m.TokensPerSecond)
	c.distribution("Token Streaming", "Output Tokens/Iter", &m.OutputTokensPerIteration)
	c.distribution("Token Streaming", "Iter Tokens/Iter", &m.IterTokensPerIteration)
	for _, modality := range modalities(m) {
		for _, unit := range modality.units {
			c.summary(modality.name+" "+unit.name, unit.summary)
		}
	}
	c.scheduler(&b.SchedulerState, s)
	c.json("Runtime Info", "Metadata", r.Metadata, false)
	c.json("Runtime Info", "Arguments", r.Args, false)
}

func (c *csvRow) summary(group string, s *stats.Summary) {
	if s == nil {
		return
	}
	for _, direction := range []struct {
		name string
		of   *stats.StatusDistribution
	}{{"Input", s.Input}, {"Output", s.Output}, {"Total", s.Total}} {
		// Each status without data is left out, so nothing is added where none has any.
		if direction.of != nil {
			c.positiveDistribution(group, direction.name, direction.of)
		}
	}
}

// positiveDistribution is distribution for the modalities, which GuideLLM passes over unless a sum is above 0.
func (c *csvRow) positiveDistribution(group, name string, d *stats.StatusDistribution) {
	if d.Successful.TotalSum > 0 || d.Incomplete.TotalSum > 0 || d.Errored.TotalSum > 0 {
		c.distribution(group, name, d)
	}
}

// distribution adds four columns for each status whose values do not sum up to 0.
func (c *csvRow) distribution(group, name string, d *stats.StatusDistribution) {
	for _, status := range []struct {
		name string
		of   *stats.Distribution
	}{{"Successful", &d.Successful}, {"Incomplete", &d.Incomplete}, {"Errored", &d.Errored}} {
		if status.of.TotalSum == 0 {
			continue
		}
		heading := status.name + " " + name
		c.add(group, heading, "Mean", pythonString(status.of.Mean))
		c.add(group, heading, "Median", pythonString(status.of.Median))
		c.add(group, heading, "Std Dev", pythonString(status.of.StdDev))
		p := &status.of.Percentiles
		quantiles := []string{}
		for _, x := range []float64{
			status.of.Min, p.P001, p.P01, p.P05, p.P10, p.P25, p.P75, p.P90, p.P95, p.P99, status.of.Max,
		} {
			quantiles = append(quantiles, pythonString(x))
		}
		c.add(group, heading, "Percentiles", "["+strings.Join(quantiles, ", ")+"]")
	}
}

func (c *csvRow) scheduler(s *SchedulerState, m *stats.SchedulerMetrics) {
	c.integer("Scheduler State", "Node ID", s.NodeID)
	c.integer("Scheduler State", "Num Processes", s.NumProcesses)
	c.integer("Scheduler State", "Created Requests", s.CreatedRequests)
	c.integer("Scheduler State", "Processed Requests", s.ProcessedRequests)
	c.integer("Scheduler State", "Successful Requests", s.SuccessfulRequests)
	c.integer("Scheduler State", "Errored Requests", s.ErroredRequests)
	c.integer("Scheduler State", "Cancelled Requests", s.CancelledRequests)
	if t := s.EndQueuingTime; t.Valid && t.Value != 0 {
		c.time("Scheduler State", "End Queuing Time", t.Value)
		c.json("Scheduler State", "End Queuing Constraints", s.EndQueuingConstraints, true)
	}
	if t := s.EndProcessingTime; t.Valid && t.Value != 0 {
		c.time("Scheduler State", "End Processing Time", t.Value)
		c.json("Scheduler State", "End Processing Constraints", s.EndProcessingConstraints, true)
	}
	const group = "Scheduler Metrics"
	c.integer(group, "Requests Made Successful", m.RequestsMade.Successful)
	c.integer(group, "Requests Made Incomplete", m.RequestsMade.Incomplete)
	c.integer(group, "Requests Made Errored", m.RequestsMade.Errored)
	c.integer(group, "Requests Made Total", m.RequestsMade.Total)
	c.seconds(group, "Queued Time Avg", m.QueuedTimeAvg)
	c.seconds(group, "Resolve Start Delay Avg", m.ResolveStartDelayAvg)
	c.seconds(group, "Resolve Targeted Start Delay Avg", m.ResolveTargetedStartDelayAvg)
	c.seconds(group, "Request Start Delay Avg", m.RequestStartDelayAvg)
	c.seconds(group, "Request Targeted Start Delay Avg", m.RequestTargetedStartDelayAvg)
	c.seconds(group, "Request Time Avg", m.RequestTimeAvg)
	c.seconds(group, "Resolve End Delay Avg", m.ResolveEndDelayAvg)
	c.seconds(group, "Resolve Time Avg", m.ResolveTimeAvg)
	c.seconds(group, "Finalized Delay Avg", m.FinalizedDelayAvg)
	c.seconds(group, "Processed Delay Avg", m.ProcessedDelayAvg)
}

// modality is one kind of content and its units, by the names that the renderings give them.
type modality struct {
	name  string
	units []unit
}

type unit struct {
	name    string
	summary *stats.Summary
}

func modalities(m *stats.Metrics) []modality {
	return []modality{
		{"Text", []unit{{"Tokens", m.Text.Tokens}, {"Words", m.Text.Words}, {"Characters", m.Text.Characters}}},
		{"Image", []unit{{"Tokens", m.Image.Tokens}, {"Images", m.Image.Images}, {"Pixels", m.Image.Pixels},
			{"Bytes", m.Image.Bytes}}},
		{"Video", []unit{{"Tokens", m.Video.Tokens}, {"Frames", m.Video.Frames}, {"Seconds", m.Video.Seconds},
			{"Bytes", m.Video.Bytes}}},
		{"Audio", []unit{{"Tokens", m.Audio.Tokens}, {"Samples", m.Audio.Samples}, {"Seconds", m.Audio.Seconds},
			{"Bytes", m.Audio.Bytes}}},
	}
}

// pythonString is Python's str of a float.
func pythonString(x float64) string {
	switch {
	case math.IsNaN(x):
		return "nan"
	case math.IsInf(x, 1):
		return "inf"
	case math.IsInf(x, -1):
		return "-inf"
	}
	return formatFloat(x)
}

// formatTime writes a moment in seconds since the epoch, "N/A" where it lies before it or after 2³¹
// (utils/functions.py, safe_format_timestamp). Python rounds to microseconds, half to even, before it cuts.
func formatTime(t float64, layout string, loc *time.Location) string {
	if math.IsNaN(t) || t < 0 || t > 1<<31 {
		return "N/A"
	}
	if loc == nil {
		loc = time.UTC
	}
	whole, fraction := math.Modf(t)
	micros := int64(math.RoundToEven(fraction * 1e6))
	return time.Unix(int64(whole), micros*1000).In(loc).Format(layout)
}
