package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/sweep"
)

// watch shows the legs as they run: a line that is rewritten on a terminal, and one line a leg elsewhere.
func (s *session) watch(legs int) {
	s.plan.LegEnded = func(_ int, l *sweep.Leg) { s.keep(l) }
	if s.flags.quiet {
		return
	}
	terminal := isTerminal(s.stderr)
	lines := rate.NewLimiter(rate.Every(200*time.Millisecond), 1)
	s.plan.LegStarted = func(index int, st sweep.Strategy, run *loadgen.Run) {
		name := fmt.Sprintf("%s  %s", legLabel(index, legs), st)
		if index < 0 {
			name = "finding the saturation"
		}
		if !terminal {
			fmt.Fprintln(s.stderr, name)
			return
		}
		go func() {
			for {
				select {
				case <-run.Done():
					fmt.Fprintf(s.stderr, "\r\x1b[K")
					return
				case <-time.After(100 * time.Millisecond):
					if lines.Allow() {
						fmt.Fprintf(s.stderr, "\r\x1b[K%s", progressLine(name, run.Progress(), s.plan.Stage, index))
					}
				}
			}
		}()
	}
	s.plan.LegEnded = func(index int, l *sweep.Leg) {
		s.keep(l)
		if terminal {
			fmt.Fprintf(s.stderr, "\r\x1b[K%s  %s\n", legLabel(index, legs), report.LegLine(l))
		} else {
			fmt.Fprintf(s.stderr, "  %s\n", report.LegLine(l))
		}
	}
}

// legLabel counts a leg, of legs where their number is known.
func legLabel(index, legs int) string {
	if index >= legs {
		return fmt.Sprintf("leg %d", index+1)
	}
	return fmt.Sprintf("leg %d of %d", index+1, legs)
}

// progressLine is one line about a leg under way.
func progressLine(name string, p loadgen.Progress, stage loadgen.Stage, index int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %.0f", name, p.Elapsed.Seconds())
	if stage.MaxDuration > 0 && index >= 0 {
		fmt.Fprintf(&b, "/%.0f", stage.MaxDuration.Seconds())
	}
	fmt.Fprintf(&b, " s  sent %d", p.Sent)
	if stage.MaxRequests > 0 && index >= 0 {
		fmt.Fprintf(&b, "/%d", stage.MaxRequests)
	}
	fmt.Fprintf(&b, "  in flight %d  done %d  errors %d", p.InFlight, p.Completed, p.Errored)
	return b.String()
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
