package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/peer"
)

// The table stands between these lines of the file.
const (
	tableBegins = "<!-- tables: written by make peers -->\n"
	tableEnds   = "<!-- end of tables -->\n"
)

// writeTable replaces the table in a file.
func writeTable(name, table string) error {
	page, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(page), tableBegins)
	_, tail, alsoOK := strings.Cut(rest, tableEnds)
	if !ok || !alsoOK {
		return fmt.Errorf("%s has no lines %q and %q", name, tableBegins, tableEnds)
	}
	return os.WriteFile(name, []byte(head+tableBegins+"\n"+table+"\n"+tableEnds+tail), 0o644)
}

// column is a load generator at one rate, as the table shows it.
type column struct {
	outcome
	stage *peer.Stage // nil where nothing was sent
}

// setting says what the table is taken of and on, before anything is run.
func setting() string {
	text := "An unknown commit"
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		text = "Commit " + strings.TrimSpace(string(out))
	}
	text += fmt.Sprintf(", %s, %d processors", time.Now().Format("2 January 2006"), runtime.NumCPU())
	if b, err := os.ReadFile("/proc/loadavg"); err == nil && len(b) > 0 {
		text += ", load average before it " + strings.Fields(string(b))[0]
	}
	return text
}

func (o *options) table(outcomes []outcome, skipped []string, setting string, began time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s in all: `make peers", setting, time.Since(began).Round(time.Second))
	// What the Makefile gives itself is left out.
	var given []string
	for i := 1; i < len(os.Args); i++ {
		if os.Args[i] == "-openloop" || os.Args[i] == "-write" {
			i++
			continue
		}
		given = append(given, os.Args[i])
	}
	if len(given) > 0 {
		fmt.Fprintf(&b, " ARGS='%s'", strings.Join(given, " "))
	}
	fmt.Fprintf(&b, "`. Engine `%s`; %d prompt and %d output tokens, %g s a run.\n", o.engine, o.prompt, o.output,
		o.seconds)
	if len(skipped) > 0 {
		fmt.Fprintf(&b, "\nLeft out: %s.\n", strings.Join(skipped, "; "))
	}
	for _, rate := range o.rates {
		var columns []column
		for _, out := range outcomes {
			if out.load.rate != rate {
				continue
			}
			c := column{outcome: out}
			if out.audit != nil && len(out.audit.Stages) > 0 {
				// The longest one, where its report has more than one.
				c.stage = &out.audit.Stages[0]
				for i := range out.audit.Stages {
					if s := &out.audit.Stages[i]; s.Seen.Requests > c.stage.Seen.Requests {
						c.stage = s
					}
				}
			}
			columns = append(columns, c)
		}
		fmt.Fprintf(&b, "\n### %g requests a second\n\n", rate)
		writeRate(&b, columns)
	}
	return b.String()
}

// writeRate writes the table of one rate: a column for each load generator.
func writeRate(b *strings.Builder, columns []column) {
	row := func(name string, cell func(c *column) string) {
		fmt.Fprintf(b, "| %s |", name)
		for i := range columns {
			fmt.Fprintf(b, " %s |", cell(&columns[i]))
		}
		b.WriteByte('\n')
	}
	row("", func(c *column) string {
		if c.audit != nil && c.audit.Tool != "" && !strings.HasPrefix(c.audit.Tool, "openloop") &&
			!strings.HasPrefix(c.audit.Tool, "vllm") {
			return c.audit.Tool
		}
		return c.tool.title
	})
	fmt.Fprintf(b, "|---|%s\n", strings.Repeat("---:|", len(columns)))
	both := func(name, key string) {
		row(name, func(c *column) string {
			l := c.line(key)
			if l == nil {
				return "–"
			}
			reported := l.ReportedCell()
			if reported == "" {
				reported = "–"
			}
			text := reported + " / " + l.HappenedCell()
			if e := l.ErrorCell(); e != "" {
				text += " (" + e + ")"
			}
			return text
		})
	}
	both("requests a second: reported / happened (error)", "rate")
	row("of those asked for", func(c *column) string {
		if c.stage == nil {
			return "–"
		}
		return fmt.Sprintf("%.1f %%", 100*float64(c.stage.Seen.Arrivals.Rate)/c.load.rate)
	})
	both("requests completed", "completed")
	row("dispersion of arrivals (Poisson: 1)", func(c *column) string {
		if c.stage == nil {
			return "–"
		}
		a := &c.stage.Seen.Arrivals
		return fmt.Sprintf("%s, %s", num.Three(float64(a.Dispersion)), a.Kind())
	})
	row("within 0.1 ms of the one before (Poisson)", func(c *column) string {
		if c.stage == nil {
			return "–"
		}
		a := &c.stage.Seen.Arrivals
		return fmt.Sprintf("%.0f %% (%.0f %%)", 100*float64(a.Together), 100*float64(a.PoissonTogether))
	})
	both("TTFT p50, ms", "ttft_p50")
	both("TTFT p99, ms", "ttft_p99")
	both("ITL mean, ms", "itl_mean")
	row("prompts sent before", func(c *column) string {
		if c.stage == nil || c.stage.Seen.RepeatedPrompts.IsAbsent() {
			return "–"
		}
		return fmt.Sprintf("%.0f %%", 100*float64(c.stage.Seen.RepeatedPrompts))
	})
	process := func(name, format string, value func(*peer.Audit) num.Value) {
		row(name, func(c *column) string {
			if c.audit == nil || value(c.audit).IsAbsent() {
				return "–"
			}
			return fmt.Sprintf(format, float64(value(c.audit)))
		})
	}
	process("processor time a token, µs", "%.1f", func(a *peer.Audit) num.Value { return a.Process.CPUToken })
	process("memory at most, MB", "%.0f", func(a *peer.Audit) num.Value { return a.Process.Memory })
	process("first request after, s", "%.2f", func(a *peer.Audit) num.Value { return a.Process.First })
	process("connections opened", "%.0f", func(a *peer.Audit) num.Value { return num.Value(a.Connections) })
	row("the client by its own report", func(c *column) string {
		if l := c.line("verdict"); l != nil {
			return l.ReportedCell()
		}
		return "–"
	})
	row("cores that others used meanwhile", func(c *column) string { return fmt.Sprintf("%.2f", c.busy) })
	row("the server's own lateness p99, ms", func(c *column) string {
		if c.stage == nil || c.stage.Seen.ServerLate.IsAbsent() {
			return "–"
		}
		return fmt.Sprintf("%.2f", math.Max(float64(c.stage.Seen.ServerLate), 0))
	})
	if slices.ContainsFunc(columns, func(c column) bool { return c.err != "" }) {
		b.WriteByte('\n')
	}
	for i := range columns {
		if c := &columns[i]; c.err != "" {
			fmt.Fprintf(b, "- %s: %s\n", c.tool.title, c.err)
		}
	}
}

func (c *column) line(key string) *peer.Line {
	if c.stage == nil {
		return nil
	}
	return c.stage.Find(key)
}
