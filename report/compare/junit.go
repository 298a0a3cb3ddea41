package compare

import (
	"encoding/xml"
	"fmt"
	"io"

	"github.com/openloop/openloop/loadgen/stream"
)

type (
	suites struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		Suites  []suite  `xml:"testsuite"`
	}
	suite struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Cases    []testCase
	}
	testCase struct {
		XMLName xml.Name `xml:"testcase"`
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *message `xml:"failure"`
		Error   *message `xml:"error"`
		Skipped *message `xml:"skipped"`
		Output  string   `xml:"system-out,omitempty"`
	}
	message struct {
		Message string `xml:"message,attr"`
	}
)

// WriteJUnit writes a case for each condition on each line that it speaks of, and one for each line. A condition fails
// as the exit code does; UNDECIDED is an error that says what would decide it. Lines never fail: a change is no failure
// unless a condition says so. One that was not tested is skipped, with the reason.
func WriteJUnit(w io.Writer, c *Comparison) error {
	out := suites{Name: "openloop compare"}
	for k := 1; k < len(c.Runs); k++ {
		conditions := suite{Name: clean(c.Runs[k]) + ": conditions"}
		for i := range c.FailOn {
			f := &c.FailOn[i]
			if f.Run != c.Runs[k] {
				continue
			}
			name := f.Condition
			if f.Stage != "" {
				name += " at " + f.Stage
			}
			one := testCase{Class: clean(c.Runs[k]), Name: clean(name)}
			switch f.Outcome {
			case Failed:
				one.Failure = &message{clean(f.Text)}
			case Undecided:
				one.Error = &message{clean("UNDECIDED: " + f.Text)}
			default:
				one.Output = clean(f.Text)
			}
			conditions.add(one)
		}
		if len(conditions.Cases) > 0 {
			out.Suites = append(out.Suites, conditions)
		}
		lines := suite{Name: clean(c.Runs[k]) + ": lines"}
		if c.MaxRate != nil {
			lines.add(c.MaxRate.testCase(c.Runs[k], "", k))
		}
		for i := range c.Stages {
			for j := range c.Stages[i].Lines {
				lines.add(c.Stages[i].Lines[j].testCase(c.Runs[k], " at "+c.Stages[i].Title, k))
			}
		}
		out.Suites = append(out.Suites, lines)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *suite) add(c testCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Error != nil {
		s.Errors++
	}
	if c.Skipped != nil {
		s.Skipped++
	}
}

// testCase is a line of a run.
func (l *Line) testCase(run, where string, k int) testCase {
	d := &l.Changes[k-1]
	c := testCase{Class: clean(run), Name: l.Name + where}
	text := fmt.Sprintf("%s → %s, %s", l.Figures[0].text(l.Unit), l.Figures[k].text(l.Unit), d.evidence(l))
	if d.Verdict == NotTested {
		c.Skipped = &message{clean(text)}
		return c
	}
	c.Output = fmt.Sprintf("%s (%s)", text, d.Verdict)
	return c
}

// clean is a text that XML may hold.
func clean(text string) string { return stream.Clean(text) }
