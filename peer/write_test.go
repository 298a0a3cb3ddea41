package peer

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/llmsim"
)

var update = flag.Bool("update", false, "write the golden files")

// auditOf is an audit of a tool that bunches its requests eight by eight, and claims otherwise.
func auditOf() *Audit {
	var truth []llmsim.Truth
	truth = append(truth, request(0, nil)) // a trial
	for i := range int64(800) {
		truth = append(truth, request(1000+i/8*40, func(r *llmsim.Truth) {
			r.Connection = uint64(2 + i%8)
			if i%100 == 99 {
				r.Status, r.Outcome, r.Stream = 503, "refused", false
			}
		}))
	}
	claim := newStage("poisson@250")
	claim.Arrivals, claim.Asked, claim.Rate, claim.RateOf = "poisson", 250, 246.2, "completed requests"
	claim.Sent, claim.Completed, claim.Errored = 800, 798, 2
	claim.TTFT50, claim.TTFT99, claim.ITLMean, claim.ITL99 = 58.1, 831, 5.02, 5.4
	claim.PromptTokens, claim.OutputTokens = 10, 5
	none := num.Absent()
	run := &ran{began: origin.Add(-8 * time.Second), process: Process{
		Took: 15, CPU: 3, Memory: 1100, Processes: 4, First: none, CPUToken: none,
	}}
	for i := range 80 {
		run.samples = append(run.samples, sample{
			at: origin.Add(time.Duration(i-40) * 200 * time.Millisecond), cpu: 0.02 * float64(i), processes: 4,
		})
	}
	a := &Audit{
		Command: []string{"tool", "--target", "{target}", "--name", "it's"}, Engine: "fixed?ttft=30ms&itl=5ms",
		Began: origin, Connections: 12,
	}
	a.compare(&Claim{Tool: "Tool 1.0", File: "report.json", Stages: []StageClaim{claim}}, truth, run)
	return a
}

func TestWrite(t *testing.T) {
	a := auditOf()
	for format, ending := range map[string]string{"screen": "txt", "markdown": "md", "json": "json", "html": "html"} {
		var b strings.Builder
		if err := a.Write(&b, format); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join("testdata", "audit."+ending)
		if FormatOf(name) != format {
			t.Errorf("%s is taken for %q", name, FormatOf(name))
		}
		if *update {
			if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := string(testFile(t, "audit."+ending)); b.String() != want {
			t.Errorf("%s differs from testdata/audit.%s (go test ./peer -update writes it):\n%s", format, ending,
				b.String())
		}
		if format == "screen" {
			for line := range strings.Lines(b.String()) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > screenWidth {
					t.Errorf("a line of %d characters: %q", n, line)
				}
			}
		}
	}
	if err := a.Write(&strings.Builder{}, "pdf"); err == nil {
		t.Error("an unknown format was written")
	}
}

func TestCompare(t *testing.T) {
	a := auditOf()
	if len(a.Stages) != 1 || a.Others != 1 {
		t.Fatalf("%d stages, %d other requests", len(a.Stages), a.Others)
	}
	s := &a.Stages[0]
	for key, want := range map[string]num.Value{
		"ttft_p50": 58.1 - 31, "itl_mean": 0.02, "failed": 2 - 8, "output_tokens": 1,
	} {
		if l := s.Find(key); l == nil || math.Abs(float64(l.Error-want)) > 1e-9 {
			t.Errorf("%s: %+v, want an error of %v", key, l, want)
		}
	}
	arrivals := s.Find("arrivals")
	if !strings.Contains(arrivals.Remark, "in bunches") || arrivals.HappenedText != "not: 1.24" {
		t.Errorf("arrivals: %q, %q", arrivals.HappenedText, arrivals.Remark)
	}
	if s.Find("nothing") != nil {
		t.Error("a line was found that is not there")
	}
	// The load took from 1 to 5 s, and 0.1 s of processor time a second, for 792 answers of four tokens.
	if got := float64(a.Process.CPUToken); !a.Process.CPUOfLoad || math.Abs(got-1e6*0.4/3200) > 10 {
		t.Errorf("%v µs a token", got)
	}
	if a.Process.First != 8 {
		t.Errorf("first request after %v s", a.Process.First)
	}
}

// Without a report, the server's side is shown; without requests, why.
func TestCompareNothing(t *testing.T) {
	run := &ran{began: origin}
	a := &Audit{NoReport: "none"}
	a.compare(nil, []llmsim.Truth{request(0, nil), request(20, nil)}, run)
	if len(a.Stages) != 1 || a.Stages[0].Seen.Requests != 2 || a.Stages[0].Claim != nil {
		t.Errorf("without a report: %+v", a.Stages)
	}
	var b strings.Builder
	if err := a.Write(&b, "screen"); err != nil || !strings.Contains(b.String(), "nothing reported: none") {
		t.Errorf("%v, %s", err, b.String())
	}
	a = &Audit{}
	a.compare(nil, nil, run)
	if len(a.Notes) != 1 || !strings.Contains(a.Notes[0], "{target}") {
		t.Errorf("without requests: %q", a.Notes)
	}
}
