package sweep

import (
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// answeredStage is a stage of 800 requests at 20 a second, each with its first token after ttft.
func answeredStage(ttft time.Duration) *Stage {
	m := &loadgen.Measured{Start: 1, Offered: 800, Stopped: int64(40 * time.Second), End: int64(42 * time.Second)}
	m.Stage.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: 20}
	for i := range 800 {
		at := m.Start + int64(i+1)*int64(50*time.Millisecond)
		first := at + int64(ttft)
		m.Records = append(m.Records, loadgen.Record{
			Scheduled: at, Started: at, Sent: at, FirstToken: first, LastToken: first + 1, End: first + 1,
			TokenEvents: 2, OutputTokens: 2,
			HTTPStatus: 200, Status: loadgen.Completed,
		})
	}
	return &Stage{Load: m.Stage.Load, Measured: m, Audit: audit.Verdict{Level: audit.Valid}}
}

// What the client did not offer, the server can't have failed, and can't have passed.
func TestJudgeStageClient(t *testing.T) {
	ttft := []slo.Objective{objective(t, "ttft:p95<250ms")}
	check := func(name string, l *Stage, part string) {
		t.Helper()
		j := judge(l, ttft, 0)
		if j.Outcome != slo.Undecided || !j.ClientAtFault || !strings.Contains(strings.Join(j.Reasons, " "), part) {
			t.Errorf("%s: %s %v %v", name, j.Outcome, j.ClientAtFault, j.Reasons)
		}
	}
	invalid := answeredStage(100 * time.Millisecond)
	invalid.Audit = audit.Verdict{Level: audit.Invalid, Reasons: []audit.Reason{{Level: audit.Invalid,
		Text: "sent late"}}}
	check("invalid", invalid, "sent late")
	failing := answeredStage(300 * time.Millisecond)
	failing.Audit.Level = audit.Invalid
	check("invalid and slow", failing, "invalid")
	capped := answeredStage(100 * time.Millisecond)
	capped.Records[400].Flags |= loadgen.DelayedByCap
	check("delayed by the cap", capped, "cap")
	unsent := answeredStage(100 * time.Millisecond)
	for i := 300; i < 310; i++ {
		unsent.Records[i].Sent, unsent.Records[i].FirstToken, unsent.Records[i].Status = 0, 0, loadgen.NotSent
	}
	check("not sent", unsent, "788 of 798")
}
