package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
)

// checkEngines checks the engines of a report with one stage: engines FILE [NAME=TOKENS…] [all=TOKENS] [ttft=COUNT].
// The tokens are those that each generated, – where it could not be read, and ttft how many first tokens all counted.
func checkEngines(ts *testscript.TestScript, _ bool, args []string) {
	file, err := guidellm.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	own, _ := file.OpenLoop.(json.RawMessage)
	r, ok, err := report.Read(own)
	ts.Check(err)
	if !ok || len(r.Stages) != 1 {
		ts.Fatalf("not the report of one stage")
	}
	count := func(v num.Value) string {
		if v.IsAbsent() {
			return "-"
		}
		return fmt.Sprint(float64(v))
	}
	s := &r.Stages[0]
	got := map[string]string{}
	for _, e := range s.Engines {
		got[e.Name] = count(e.Metrics.OutputTokens)
	}
	if len(r.Engines) != len(s.Engines) {
		ts.Fatalf("%d engines, and %d in the stage", len(r.Engines), len(s.Engines))
	}
	if s.Engine != nil {
		got["all"], got["ttft"] = count(s.Engine.OutputTokens), count(s.Engine.TTFT.Count)
		if s.Engine.TTFT.Mean.IsAbsent() {
			got["ttft"] = "-"
		}
	}
	names := 0
	for _, arg := range args[1:] {
		name, want, _ := strings.Cut(arg, "=")
		if name != "all" && name != "ttft" {
			names++
		}
		if got[name] != want {
			ts.Fatalf("%s: %q, want %q, of %v", name, got[name], want, got)
		}
	}
	if names != len(s.Engines) || len(args) == 1 && s.Engine != nil {
		ts.Fatalf("%v, want %v", got, args[1:])
	}
}
