package report

import (
	"strings"
	"testing"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/loadgen"
)

// A stage that lost a worker and was run again says nothing against the run: the one in its place counts.
func TestRepeated(t *testing.T) {
	stage := func(rate float64, reason loadgen.StopReason) Stage {
		l := loadgen.Load{Kind: loadgen.ConstantGap, Rate: rate}
		s := Stage{Name: l.String(), Load: l, Reason: reason, Client: audit.Verdict{Level: audit.Valid}}
		if reason == loadgen.StopWorkerLost {
			s.Client = audit.Verdict{Level: audit.Invalid, Reasons: []audit.Reason{{Level: audit.Invalid,
				Text: "worker a: it died"}}}
		}
		return s
	}
	const lost, ended = loadgen.StopWorkerLost, loadgen.StopDuration
	for _, tc := range []struct {
		name     string
		stages   []Stage
		repeated string
		client   string
	}{
		{"repeated", []Stage{stage(1, ended), stage(2, lost), stage(2, ended)}, "-r-", "valid on all 2 stages"},
		{"lost twice", []Stage{stage(2, lost), stage(2, lost)}, "--", "invalid on 2 of 2 stages"},
		{"lost twice, then not", []Stage{stage(2, lost), stage(2, lost), stage(2, ended)}, "rr-", "valid"},
		{"another rate", []Stage{stage(2, lost), stage(3, ended)}, "--", "invalid on 1 of 2 stages"},
		{"an earlier one", []Stage{stage(2, ended), stage(2, lost)}, "--", "invalid on 1 of 2 stages"},
	} {
		r := Result{Stages: tc.stages}
		markRepeated(r.Stages)
		repeated := ""
		for i := range r.Stages {
			if r.Stages[i].Repeated {
				repeated += "r"
				if text := r.Stages[i].outcomeText(); text != "repeated" {
					t.Errorf("%s: its outcome is %q", tc.name, text)
				}
			} else {
				repeated += "-"
			}
		}
		if _, text := r.clientLine(); repeated != tc.repeated || !strings.HasPrefix(text, tc.client) {
			t.Errorf("%s: %s, the client is %s", tc.name, repeated, text)
		}
		remarks := strings.Join(r.markdownRemarks(), "\n")
		if strings.Contains(tc.repeated, "r") && !strings.Contains(remarks, "it died") {
			t.Errorf("%s: the remarks are %q", tc.name, remarks)
		}
	}
}
