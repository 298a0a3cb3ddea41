package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestGuideLLMScripts runs the commands that take GuideLLM's reports and flags. $GOLDEN holds recordings of GuideLLM's,
// and $LATER is one of a later version.
func TestGuideLLMScripts(t *testing.T) {
	t.Parallel()
	golden, err := filepath.Abs("../../testdata/golden")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/guidellm",
		Setup: func(e *testscript.Env) error {
			e.Setenv("OPENAI_API_KEY", "")
			e.Setenv("NO_PROXY", "*")
			e.Setenv("GOLDEN", golden)
			e.Setenv("LATER", filepath.Join(filepath.Dir(golden), "guidellm-0.8.1.json.gz"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"llmsim":     startSim,
			"httpserver": startHTTP,
			"report":     checkReport,
			"exits":      checkExit,
		},
	})
}
