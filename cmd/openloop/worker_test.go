package main

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/report"
)

// A stage that was run again in the place of one that lost a worker decides alone whether the client was valid.
func TestRepeatedStageIsNoFault(t *testing.T) {
	lost := report.Stage{Name: "constant@5.00", Repeated: true, Client: audit.Verdict{Level: audit.Invalid}}
	good := report.Stage{Name: "constant@5.00", Client: audit.Verdict{Level: audit.Valid}}
	bad := lost
	bad.Repeated = false
	if err := invalidStages(&report.Result{Stages: []report.Stage{lost, good}}); err != nil {
		t.Error(err)
	}
	if err := invalidStages(&report.Result{Stages: []report.Stage{lost, bad}}); err == nil {
		t.Error("a stage that lost a worker, and was not run again, is taken for valid")
	}
}

func TestJoinAddress(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for listen, want := range map[string]string{
		"[::]:4222": host + ":4222", "0.0.0.0:4222": host + ":4222", "127.0.0.1:4222": "127.0.0.1:4222",
		"[::1]:4222": "[::1]:4222",
	} {
		if got := joinAddress(listen); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}

// checkSameRequests checks that two runs sent the same requests at the same times after their starts to the same
// targets: samerequests A.jsonl B.jsonl [slow=CLASS]. The engine took 0.3 s more to the first token of those of CLASS,
// and of no other.
func checkSameRequests(ts *testscript.TestScript, _ bool, args []string) {
	type request struct {
		Status        string
		Class, Target string
		Scheduled     float64 `json:"scheduled_s"`
		TTFT          float64 `json:"ttft_s"`
		PromptTokens  int     `json:"prompt_tokens"`
		AskedOutput   int     `json:"asked_output_tokens"`
	}
	read := func(name string) (all []request) {
		for line := range strings.Lines(ts.ReadFile(name)) {
			var r request
			ts.Check(json.Unmarshal([]byte(line), &r))
			all = append(all, r)
		}
		return all
	}
	one, two := read(args[0]), read(args[1])
	if len(one) == 0 || len(one) != len(two) {
		ts.Fatalf("%d and %d requests", len(one), len(two))
	}
	for i, a := range one {
		b := two[i]
		if len(args) > 2 {
			slow := a.Class == strings.TrimPrefix(args[2], "slow=")
			for _, r := range []request{a, b} {
				if r.TTFT >= 0.3 != slow {
					ts.Fatalf("request %d of class %s: its first token came after %v s", i, r.Class, r.TTFT)
				}
			}
		}
		const written = 1e-5 // s; times are written to so many digits
		if a.TTFT, b.TTFT = 0, 0; math.Abs(a.Scheduled-b.Scheduled) < written {
			a.Scheduled = b.Scheduled
		}
		if a != b {
			ts.Fatalf("request %d: %+v and %+v", i, a, b)
		}
	}
}
