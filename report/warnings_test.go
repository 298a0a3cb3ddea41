package report

import (
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/sweep"
)

func TestAnswerWarnings(t *testing.T) {
	stage := func(flags ...loadgen.Flags) *sweep.Stage {
		m := &loadgen.Measured{}
		for _, f := range flags {
			m.Records = append(m.Records, loadgen.Record{Status: loadgen.Completed, Flags: f})
		}
		m.Records = append(m.Records, loadgen.Record{Status: loadgen.Errored, Flags: loadgen.BadUsage})
		return &sweep.Stage{Load: loadgen.Load{Kind: loadgen.Synchronous, Streams: 1}, Measured: m}
	}
	got := answerWarnings([]*sweep.Stage{
		stage(0, loadgen.Streamed), stage(loadgen.BadUsage, 0), stage(loadgen.OtherChoices, loadgen.OtherChoices, 0),
	}, false)
	if len(got) != 2 || got[0].Stage != 1 || !strings.Contains(got[0].Text, "usage of 1 of 2 answers") ||
		got[1].Stage != 2 || !strings.Contains(got[1].Text, "2 of 3 answers held several choices") {
		t.Errorf("%+v", got)
	}
}
