package report

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

// twoTargets is a stage of 200 requests over 20 s to two targets in turn, of which the second takes 2 ms longer; every
// third request is of the second class, and the last request of all failed.
func twoTargets() *sweep.Stage {
	const ms = int64(time.Millisecond)
	m := &loadgen.Measured{Start: 1, Stopped: 1 + 20_000*ms, End: 1 + 20_000*ms}
	m.Stage.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: 10}
	for i := range 200 {
		at := m.Start + int64(i)*100*ms
		r := loadgen.Record{Scheduled: at, Sent: at, Target: uint8(i % 2), Class: uint8(1 + min(i%3, 1)),
			Status: loadgen.Completed, OutputTokens: 11, TokenEvents: 11}
		r.FirstToken = at + (20+2*int64(r.Target))*ms + int64(i%7)*10_000
		r.LastToken = r.FirstToken + 50*ms
		r.End = r.LastToken
		m.Records = append(m.Records, r)
	}
	last := &m.Records[199]
	last.Status, last.FirstToken, last.LastToken, last.Err = loadgen.Errored, 0, 0, loadgen.ErrReset
	return &sweep.Stage{Measured: m, Judgement: slo.StageJudgement{}, Audit: audit.Verdict{Level: audit.Valid}}
}

func TestGroups(t *testing.T) {
	s := spec.Spec{
		Mix:     []spec.Class{{Name: "chat", Weight: 1}, {Name: "batch", Weight: 2}},
		Targets: []spec.Target{{Name: "direct", Weight: 1}, {Name: "proxy", Weight: 1}},
	}
	r := New(s, Run{Measured: &sweep.Result{Stages: []*sweep.Stage{twoTargets()}}})
	st := &r.Stages[0]
	if len(st.Classes) != 2 || len(st.Targets) != 2 {
		t.Fatalf("%+v", st)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9*want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	chat, batch, direct, proxy := &st.Classes[0], &st.Classes[1], &st.Targets[0], &st.Targets[1]
	if chat.Requests.Completed != 67 || batch.Requests.Completed != 132 || batch.Requests.Errored != 1 ||
		direct.Requests.Completed != 100 || proxy.Requests.Errored != 1 || chat.TTFT.Count != 67 {
		t.Errorf("%+v %+v %+v %+v", chat.Requests, batch.Requests, direct.Requests, proxy.Requests)
	}
	near("sent", proxy.Sent, 5)
	near("done", proxy.Done, 99/20.0)
	near("TPOT", float64(direct.TPOT.P50), 5)
	near("sum of sent", chat.Sent+batch.Sent, st.Rates.Sent)
	near("sum of output", direct.Output+proxy.Output, st.Rates.Output)
	d := proxy.Beside
	if direct.Beside != nil || chat.Beside != nil || batch.Beside != nil || d == nil {
		t.Fatalf("%+v", st.Targets)
	}
	near("difference", d.Value, float64(proxy.TTFT.P50-direct.TTFT.P50))
	if !(d.Lower < d.Value && d.Value < d.Upper) || d.Lower < 1.9 || d.Upper > 2.1 {
		t.Errorf("%+v", d)
	}
	var b strings.Builder
	if err := WriteScreen(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"chat", "batch", "direct", "TTFT p50 of proxy beside direct: +2"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not on the screen:\n%s", want, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > screenWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	// Where there is one of each, there is nothing to tell apart.
	r = New(spec.Spec{}, Run{Measured: &sweep.Result{Stages: []*sweep.Stage{twoTargets()}}})
	if st := &r.Stages[0]; st.Classes != nil || st.Targets != nil {
		t.Errorf("%+v", st)
	}
}
