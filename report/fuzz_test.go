package report

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// FuzzResult: whatever a file has under "openloop", what is read of it can be shown in every form, and is the same
// where it is written and read again.
func FuzzResult(f *testing.F) {
	// A small one of every part, for the engine to begin with.
	whole, err := json.Marshal(&Result{
		Schema: Schema, Version: "1", Command: []string{"openloop"}, Began: time.Unix(1e9, 0).UTC(),
		Asked:  Asked{Target: "http://h", Objectives: []slo.Objective{}, Confidence: 0.95},
		Probes: &Probes{Rates: []float64{1}},
		Stages: []Stage{{
			Name: "constant@1.00", Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: 1},
			Requests: Requests{Errored: 1},
			Errors:   []ErrorCount{{"http status", "HTTP 503", 1}}, Client: audit.Verdict{Level: audit.Valid},
			Judgement: slo.StageJudgement{Outcome: slo.Fail, Reasons: []string{"late"}},
		}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	for _, s := range []string{
		`{"schema":2}`, `{"schema":1,"search":{}}`, `{"schema":2,"stages":[{}]}`,
		`{"schema":2,"search":{"finding":"interval"}}`,
		`{"schema":2,"stages":[{"load":{"kind":"constant","profile":[{"from":1,"to":2,"length_ns":-1}]}}]}`,
		`{"schema":3}`,
		`{"schema":2,"asked":{"objectives":["ttft:p95<250ms"]},"stages":[{"judgement":{"objectives":[{}]}}]}`,
		`{"schema":0}`,
		`{"schema":2,"stages":[{"load":{"kind":"poisson","arrival":"gamma:1e400"}}]}`,
		`{"schema":2,"gates":[{"gate":"rate>=1"}]}`,
		`{"schema":2,"probes":{"rates":null,"steps":[{}]}}`, `{"schema":2,"began":"x"}`,
		`{"schema":2,"warnings":[{"stage":99}]}`,
		`{"schema":2,"stages":[{"engine":{}}],"workload":{}}`, `null`, `[]`, ``,
		`{"schema":1,"stages":[{"ttft":{"p50_ms":"+Inf"}}]}`,
		`{"schema":2,"search":{"finding":"interval","objectives":[{"upper":null}],"lower":"-Inf","limiting":"x"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		defer time.AfterFunc(20*time.Second, func() { panic("hangs") }).Stop()
		r, ok, err := Read(text)
		if (r != nil) != (ok && err == nil) {
			t.Fatalf("%q: %+v, %v, %v", text, r, ok, err)
		}
		if r == nil {
			return
		}
		for _, form := range Formats() {
			if err := form.Write(io.Discard, r); err != nil {
				t.Fatalf("%q as %s: %v", text, form.Name, err)
			}
		}
		if err := WriteWideScreen(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("%q can't be written again: %v", text, err)
		}
		if r.Schema < Schema {
			return // of a former one the search was left out, with a word about it
		}
		again, ok, err := Read(written)
		if err != nil || !ok {
			return // an objective that was missing is written as one that is none
		}
		if second, err := json.Marshal(again); err != nil || !bytes.Equal(second, written) {
			t.Fatalf("%q is written as %s, read again and written as %s (%v)", text, written, second, err)
		}
	})
}
