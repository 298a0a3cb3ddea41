package report

import (
	"fmt"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/sweep"
)

// answerWarnings says of each stage what of its answers was not taken as the server gave it.
func answerWarnings(stages []*sweep.Stage, lengthsAreModels bool) []sweep.Warning {
	var all []sweep.Warning
	for i, st := range stages {
		usage, choices, answers := 0, 0, 0
		for j := range st.Records {
			rec := &st.Records[j]
			if rec.Status != loadgen.Completed {
				continue
			}
			answers++
			if rec.Flags&loadgen.BadUsage != 0 {
				usage++
			}
			if rec.Flags&loadgen.OtherChoices != 0 {
				choices++
			}
		}
		add := func(format string, args ...any) {
			all = append(all, sweep.Warning{Stage: i, Text: fmt.Sprintf(format, args...)})
		}
		if usage > 0 {
			add("%s: the usage of %d of %d answers can't be right: their tokens are the token events that came",
				st.Load, usage, answers)
		}
		for _, text := range endingWarnings(st.Measured, lengthsAreModels) {
			add("%v: %s", st.Load, text)
		}
		if choices > 0 {
			add("%s: %d of %d answers held several choices (n > 1): the first of each was measured, its tokens are "+
				"its token events", st.Load, choices, answers)
		}
	}
	return all
}
