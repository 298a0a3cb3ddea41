package cli

import (
	"errors"
	"fmt"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/tokens"
)

// CountRecords reads the data once, so that a bad record is refused before any load. The end of the data ends a stage,
// as in GuideLLM, and where no record says how long its answer is to be, the formatter's length is asked for.
func (c *Command) CountRecords() error {
	count, withLength, err := c.scan()
	if err != nil {
		return err
	}
	if c.answerTokens > 0 && c.Spec.Workload.Data != nil {
		if withLength > 0 {
			return fmt.Errorf("%s: %d of the %d records say how long their answer is to be, "+
				"and the others would take max_tokens: openloop takes one or the other", c.lengthName, withLength,
				count)
		}
		if err := c.addLength(); err != nil {
			return err
		}
	}
	c.Spec.Limits.MaxRequests = fewer(c.Spec.Limits.MaxRequests, count)
	for i := range c.Spec.Plan.Limits {
		l := &c.Spec.Plan.Limits[i]
		l.MaxRequests = fewer(l.MaxRequests, count)
	}
	if !c.limited && count == 0 {
		c.note("neither %s nor %s is given, so that, as in GuideLLM, the first stage has no end; Ctrl-C ends it and "+
			"saves what was measured", c.limits[0], c.limits[1])
	}
	return nil
}

// fewer is the less of two numbers of which 0 is none.
func fewer(limit, count int) int {
	if limit == 0 || count > 0 && count < limit {
		return count
	}
	return limit
}

// scan counts the records of the data, 0 for synthetic data without end, and those that say how long their answer is to
// be.
func (c *Command) scan() (count, withLength int, err error) {
	if c.Spec.Workload.Trace != nil { // it is read when it is opened
		return 0, 0, nil
	}
	what := tokens.Spec{Synthetic: c.Spec.Workload.Synthetic, Format: c.Spec.Workload.Format, Tokenizer: "none"}
	if d := c.Spec.Workload.Data; d != nil {
		what.Data = &tokens.DataSpec{Source: d.Source, Columns: d.Columns, Samples: d.Samples, GuideLLM: true}
	}
	w, err := tokens.Open(what, "")
	if err == nil {
		count, withLength = w.Records()
		w.Close()
	}
	if err != nil {
		var wrong *tokens.SpecError
		if errors.As(err, &wrong) {
			err = wrong.Err
		}
		return 0, 0, fmt.Errorf("--data: %w", err)
	}
	if what.Synthetic != nil {
		count = c.samples()
	}
	return count, withLength, nil
}

// addLength adds the formatter's length of the answer to the further fields of every request. Unlike a length of a
// record's own it leaves the model free to end before it.
func (c *Command) addLength() error {
	w := &c.Spec.Workload
	field := "max_completion_tokens"
	if w.Format == tokens.TextCompletions {
		field = "max_tokens"
	}
	fields := guidellm.Object{{Key: field, Value: int64(c.answerTokens)}}
	if w.Extra != nil {
		more, err := parseJSON(w.Extra)
		if err != nil {
			return err
		}
		if o, ok := more.(guidellm.Object); ok {
			fields = append(fields, o...)
		}
	}
	var err error
	w.Extra, err = appendJSON(nil, fields)
	return err
}
