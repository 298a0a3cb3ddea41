package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Scenarios: the built-in ones, files, and a report's arguments; what is given beside them goes over them.
func TestScenarios(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"s.json": `{"target":"http://s:2","data":["prompt_tokens=3,output_tokens=2"],"profile":"constant","rate":7,
			"max-seconds":9,"request-type":"text_completions","unknown":1}`,
		"s.yaml": "target: http://s:2\ndata: [{prompt_tokens: 3, output_tokens: 2}]\nprofile: constant\nrate: [7]\n" +
			"max_seconds: 9\nrequest_type: text_completions\nsample_requests: null\n",
		"r.json": `{"args":{"target":"http://s:2","data":["prompt_tokens=3,output_tokens=2"],"profile":"constant",
			"rate":[7.0],"max_seconds":9.0,"data_request_formatter":"text_completions"},"benchmarks":[]}`,
		"list.yml": "- a\n",
		"s.toml":   "",
		"bad.json": "{",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"s.json", "s.yaml", "r.json"} {
		c, err := read([]string{"-c", filepath.Join(dir, name), "--max-seconds", "11"}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := fmt.Sprint(c.Args.Target, " ", stages(c), " ", c.Spec.Limits.MaxDuration, " ",
			c.Args.DataRequestFormatter, " ", c.Args.Data[0])
		want := "http://s:2 constant@7.00 11s text_completions prompt_tokens=3,output_tokens=2"
		if name == "s.yaml" {
			want = `http://s:2 constant@7.00 11s text_completions {"prompt_tokens":3,"output_tokens":2}`
			if c.Args.SampleRequests.Valid || c.Spec.Output.SampleRequests < 1e6 {
				t.Errorf("%s: a null keeps all texts, not %d", name, c.Spec.Output.SampleRequests)
			}
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"chat": "prompt_tokens=512,prompt_tokens_stdev=128,prompt_tokens_min=1,prompt_tokens_max=1024," +
			"output_tokens=256,output_tokens_stdev=64,output_tokens_min=1,output_tokens_max=1024",
		"rag.json": "prompt_tokens=4096,prompt_tokens_stdev=512,prompt_tokens_min=2048,prompt_tokens_max=6144," +
			"output_tokens=512,output_tokens_stdev=128,output_tokens_min=1,output_tokens_max=1024",
		"chat.json": builtIn["chat"],
	} {
		c, err := read([]string{"--scenario", name, "--target", "http://h:1"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Args.Data[0] != want || c.Args.Profile != "sweep" || c.Spec.Plan.Sweep.Size != 10 {
			t.Errorf("%s: %s of %q", name, c.Args.Profile, c.Args.Data[0])
		}
	}
	for _, name := range []string{"list.yml", "s.toml", "bad.json", "nothing"} {
		_, err := read([]string{"-c", filepath.Join(dir, name), "--target", "http://h:1"}, nil)
		if err == nil || !strings.Contains(err.Error(), "--scenario") {
			t.Errorf("%s: %v, want an error of --scenario", name, err)
		}
	}
}
