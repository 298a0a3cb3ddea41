package guidellm

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/guidellm/stats"
)

// WriteConsole writes a report as the tables that GuideLLM prints, line for line and without colours. Times of day are
// in loc (UTC where nil).
func WriteConsole(w io.Writer, r *Report, loc *time.Location) error {
	var out consoleText
	out.runSummary(r, loc)
	for i, title := range []string{"Text", "Image", "Video", "Audio"} {
		out.modality(r, i, title+" Metrics Statistics (Completed Requests)")
	}
	out.requestTokens(r)
	out.requestLatency(r)
	out.serverThroughput(r)
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("writing the report's tables: %w", err)
	}
	return nil
}

// column is one column of a table: its three headings and a cell for each benchmark.
type column struct {
	headings [3]string
	cells    []string
}

// row is what the table of one benchmark has from left to right; tables are made of rows so that each is written down
// once, as the line it will be.
type row []entry

type entry struct {
	group, name, unit string
	cell              string
}

func (r *row) add(group, name, unit, cell string) { *r = append(*r, entry{group, name, unit, cell}) }

func (r *row) number(group, name, unit string, x float64) { r.add(group, name, unit, tenths(x)) }

func (r *row) strategy(b *Benchmark) {
	r.add("Benchmark", "Strategy", "", b.Config.Load().Type)
}

// medianAnd adds the median and, beside it, the 95th percentile or the mean.
func (r *row) medianAndP95(group, name string, d *stats.Distribution) {
	r.number(group, name, "Mdn", d.Median)
	r.number(group, name, "p95", d.Percentiles.P95)
}

func (r *row) medianAndMean(group, name string, d *stats.Distribution) {
	r.number(group, name, "Mdn", d.Median)
	r.number(group, name, "Mean", d.Mean)
}

// columns turns rows of the same entries around.
func columns(rows []row) []column {
	if len(rows) == 0 {
		return nil
	}
	out := make([]column, len(rows[0]))
	for i, e := range rows[0] {
		out[i].headings = [3]string{e.group, e.name, e.unit}
		for _, r := range rows {
			out[i].cells = append(out[i].cells, r[i].cell)
		}
	}
	return out
}

// tenths writes a number with one decimal, as Python's format does.
func tenths(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return pythonString(x)
	}
	return strconv.FormatFloat(x, 'f', 1, 64)
}

// consoleText is the text of the tables so far.
type consoleText struct{ strings.Builder }

func (c *consoleText) title(title string) {
	if c.Len() > 0 {
		c.WriteString("\n\n")
	}
	c.WriteString("ℹ " + title + "\n")
}

func (c *consoleText) rows(title string, r *Report, fill func(*row, *Benchmark)) {
	var rows []row
	for _, b := range r.Benchmarks {
		var line row
		line.strategy(b)
		fill(&line, b)
		rows = append(rows, line)
	}
	c.title(title)
	c.tables(columns(rows))
}

func (c *consoleText) runSummary(r *Report, loc *time.Location) {
	c.rows("Run Summary Info", r, func(line *row, b *Benchmark) {
		line.add("Timings", "Start", "", formatTime(b.StartTime, "15:04:05", loc))
		line.add("Timings", "End", "", formatTime(b.EndTime, "15:04:05", loc))
		line.number("Timings", "Dur", "Sec", b.Duration)
		line.number("Timings", "Warm", "Sec", b.WarmupDuration)
		line.number("Timings", "Cool", "Sec", b.CooldownDuration)
		for _, tokens := range []struct {
			group string
			of    *stats.StatusDistribution
		}{{"Input Tokens", &b.Metrics.PromptTokenCount}, {"Output Tokens", &b.Metrics.OutputTokenCount}} {
			line.number(tokens.group, "Comp", "Tot", tokens.of.Successful.TotalSum)
			line.number(tokens.group, "Inc", "Tot", tokens.of.Incomplete.TotalSum)
			line.number(tokens.group, "Err", "Tot", tokens.of.Errored.TotalSum)
		}
	})
}

func (c *consoleText) requestTokens(r *Report) {
	c.rows("Request Token Statistics (Completed Requests)", r, func(line *row, b *Benchmark) {
		m := &b.Metrics
		line.medianAndP95("Input Tok", "Per Req", &m.PromptTokenCount.Successful)
		line.medianAndP95("Output Tok", "Per Req", &m.OutputTokenCount.Successful)
		line.medianAndP95("Total Tok", "Per Req", &m.TotalTokenCount.Successful)
		line.medianAndP95("Stream Iter", "Per Req", &m.RequestStreamingIterationsCount.Successful)
		line.medianAndP95("Output Tok", "Per Stream Iter", &m.OutputTokensPerIteration.Successful)
	})
}

func (c *consoleText) requestLatency(r *Report) {
	c.rows("Request Latency Statistics (Completed Requests)", r, func(line *row, b *Benchmark) {
		m := &b.Metrics
		line.medianAndP95("Request Latency", "Sec", &m.RequestLatency.Successful)
		line.medianAndP95("TTFT", "ms", &m.TimeToFirstTokenMS.Successful)
		line.medianAndP95("ITL", "ms", &m.InterTokenLatencyMS.Successful)
		line.medianAndP95("TPOT", "ms", &m.TimePerOutputTokenMS.Successful)
	})
}

func (c *consoleText) serverThroughput(r *Report) {
	c.rows("Server Throughput Statistics", r, func(line *row, b *Benchmark) {
		m := &b.Metrics
		line.medianAndMean("Requests", "Per Sec", &m.RequestsPerSecond.Successful)
		line.medianAndMean("Requests", "Concurrency", &m.RequestConcurrency.Successful)
		line.medianAndMean("Input Tokens", "Per Sec", &m.PromptTokensPerSecond.Successful)
		line.medianAndMean("Output Tokens", "Per Sec", &m.OutputTokensPerSecond.Successful)
		line.medianAndMean("Total Tokens", "Per Sec", &m.TokensPerSecond.Successful)
	})
}

// modality writes the table of one modality's input over that of its output, in common widths. Units that no benchmark
// has are left out, and so is a table, or both, without any.
func (c *consoleText) modality(r *Report, index int, title string) {
	var labels, input, output []row
	hasInput, hasOutput := false, false
	unitHas := map[int]bool{}
	for _, b := range r.Benchmarks {
		for i, u := range modalities(&b.Metrics)[index].units {
			if u.summary != nil {
				in, out := u.summary.Input != nil, u.summary.Output != nil
				hasInput, hasOutput = hasInput || in, hasOutput || out
				unitHas[i] = unitHas[i] || in || out
			}
		}
	}
	if !hasInput && !hasOutput {
		return
	}
	for _, b := range r.Benchmarks {
		var label, in, out row
		label.strategy(b)
		for i, u := range modalities(&b.Metrics)[index].units {
			if !unitHas[i] {
				continue
			}
			s := u.summary
			if s == nil {
				s = &stats.Summary{}
			}
			in.amountAndRate("Input "+u.name, s.Input, s.InputPerSecond)
			out.amountAndRate("Output "+u.name, s.Output, s.OutputPerSecond)
		}
		labels, input, output = append(labels, label), append(input, in), append(output, out)
	}
	var tables [][]column
	for _, t := range []struct {
		has  bool
		rows []row
	}{{hasInput, input}, {hasOutput, output}} {
		if t.has {
			tables = append(tables, append(columns(labels), columns(t.rows)...))
		}
	}
	c.title(title)
	c.tables(tables...)
}

func (r *row) amountAndRate(group string, amount, rate *stats.StatusDistribution) {
	if amount != nil {
		r.medianAndP95(group, "Per Request", &amount.Successful)
	} else {
		r.add(group, "Per Request", "Mdn", "--")
		r.add(group, "Per Request", "p95", "--")
	}
	if rate != nil {
		r.medianAndMean(group, "Per Second", &rate.Successful)
	} else {
		r.add(group, "Per Second", "Mdn", "--")
		r.add(group, "Per Second", "Mean", "--")
	}
}

// tables writes tables of the same number of columns one under the other, in widths that suit them all
// (utils/console.py, print_tables).
func (c *consoleText) tables(tables ...[]column) {
	var widths []int
	if len(tables) > 0 {
		widths = make([]int, len(tables[0]))
	}
	for _, columns := range tables {
		for i, column := range columns {
			for _, cell := range column.cells {
				widths[i] = max(widths[i], utf8.RuneCountInString(padded(cell)))
			}
		}
	}
	headings := make([][][]string, len(tables)) // of each table, of each level, of each column
	for i, columns := range tables {
		headings[i] = mergeHeadings(columns, widths)
	}
	for i, columns := range tables {
		c.divider(widths, '=')
		for _, level := range headings[i] {
			c.line(level, spanWidths(level, widths))
		}
		c.divider(widths, '-')
		if len(columns) > 0 {
			for row := range columns[0].cells {
				cells := make([]string, len(columns))
				for j, column := range columns {
					cells[j] = padded(column.cells[row])
				}
				c.line(cells, widths)
			}
		}
	}
	c.divider(widths, '=')
}

func padded(cell string) string {
	if cell == "" {
		return ""
	}
	return " " + cell + " "
}

// mergeHeadings empties the headings that repeat the one before them under the same heading one level up, and widens
// the columns, from the left, where a heading needs more than those it spans have
// (utils/console.py, _format_table_headers).
func mergeHeadings(columns []column, widths []int) [][]string {
	if len(columns) == 0 {
		return nil
	}
	var levels [][]string
	for level := range 3 {
		merged := make([]string, len(columns))
		for start := 0; start < len(columns); {
			heading := columns[start].headings[level]
			end := start + 1
			for heading != "" && end < len(columns) && columns[end].headings[level] == heading &&
				(level == 0 || columns[end].headings[level-1] == columns[start].headings[level-1]) {
				end++
			}
			merged[start] = padded(heading)
			width := 0
			for _, w := range widths[start:end] {
				width += w
			}
			for i := range utf8.RuneCountInString(merged[start]) - width {
				widths[start+i%(end-start)]++
			}
			start = end
		}
		levels = append(levels, merged)
	}
	return levels
}

// spanWidths gives each heading the width of the columns that it spans: its own and the empty ones that follow
// (utils/console.py, print_table_headers).
func spanWidths(headings []string, widths []int) []int {
	spans := slices.Clone(widths)
	for i, heading := range headings {
		if heading == "" {
			continue
		}
		for j := i + 1; j < len(headings) && headings[j] == ""; j++ {
			spans[i] += widths[j]
			spans[j] = 0
		}
	}
	return spans
}

func (c *consoleText) line(cells []string, widths []int) {
	c.WriteByte('|')
	for i, cell := range cells {
		if i > 0 {
			c.WriteByte('|')
		}
		c.WriteString(cell)
		c.WriteString(strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell))))
	}
	c.WriteString("|\n")
}

func (c *consoleText) divider(widths []int, char byte) {
	c.WriteByte('|')
	for i, w := range widths {
		if i > 0 {
			c.WriteByte('|')
		}
		c.WriteString(strings.Repeat(string(char), w))
	}
	c.WriteString("|\n")
}
