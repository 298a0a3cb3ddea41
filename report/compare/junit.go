package compare

import (
	"fmt"
	"io"

	"github.com/openloop/openloop/internal/junit"
	"github.com/openloop/openloop/loadgen/stream"
)

// WriteJUnit writes a case for each condition on each line that it speaks of, and one for each line. A condition fails
// as the exit code does; UNDECIDED is an error that says what would decide it. Lines never fail: a change is no failure
// unless a condition says so. One that was not tested is skipped, with the reason.
func WriteJUnit(w io.Writer, c *Comparison) error {
	var suites []junit.Suite
	for k := 1; k < len(c.Runs); k++ {
		conditions := junit.Suite{Name: stream.Clean(c.Runs[k]) + ": conditions"}
		for i := range c.FailOn {
			f := &c.FailOn[i]
			if f.Run != c.Runs[k] {
				continue
			}
			name := f.Condition
			if f.Stage != "" {
				name += " at " + f.Stage
			}
			one := junit.Case{Class: stream.Clean(c.Runs[k]), Name: stream.Clean(name)}
			switch f.Outcome {
			case Failed:
				one.Failure = &junit.Problem{Message: stream.Clean(f.Text)}
			case Undecided:
				one.Error = &junit.Problem{Message: stream.Clean("UNDECIDED: " + f.Text)}
			default:
				one.Output = stream.Clean(f.Text)
			}
			conditions.Add(one)
		}
		if len(conditions.Cases) > 0 {
			suites = append(suites, conditions)
		}
		lines := junit.Suite{Name: stream.Clean(c.Runs[k]) + ": lines"}
		if c.MaxRate != nil {
			lines.Add(c.MaxRate.testCase(c.Runs[k], "", k))
		}
		for i := range c.Stages {
			for j := range c.Stages[i].Lines {
				lines.Add(c.Stages[i].Lines[j].testCase(c.Runs[k], " at "+c.Stages[i].Title, k))
			}
		}
		suites = append(suites, lines)
	}
	return junit.Write(w, "openloop compare", suites...)
}

// testCase is a line of a run.
func (l *Line) testCase(run, where string, k int) junit.Case {
	d := &l.Changes[k-1]
	c := junit.Case{Class: stream.Clean(run), Name: l.Name + where}
	text := fmt.Sprintf("%s → %s, %s", l.Figures[0].text(l.Unit), l.Figures[k].text(l.Unit), d.evidence(l))
	if d.Verdict == NotTested {
		c.Skipped = &junit.Problem{Message: stream.Clean(text)}
		return c
	}
	c.Output = fmt.Sprintf("%s (%s)", text, d.Verdict)
	return c
}
