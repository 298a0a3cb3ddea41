package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/internal/fuzztest"
)

// bomb is YAML in which each line has the one before nine times.
func bomb(lines int) string {
	text := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := range lines {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 9))
	}
	return text
}

// FuzzScenario: whatever a scenario holds, reading it ends, takes memory in proportion, and means the same as JSON and
// as YAML.
func FuzzScenario(f *testing.F) {
	for _, s := range []string{
		`{"target":"http://s:2","data":["prompt_tokens=3,output_tokens=2"],"profile":"constant","rate":7}`,
		`{"args":{"target":"http://s:2","data":["prompt_tokens=3"],"rate":[7.0],"max_seconds":9.0},"benchmarks":[]}`,
		"target: http://s:2\ndata: [{prompt_tokens: 3, output_tokens: 2}]\nrate: [7]\nsample_requests: null\n",
		bomb(8), bomb(2),
		"a: &a [*a]\n", strings.Repeat("[", 20000), strings.Repeat(`{"a":`, 20000), strings.Repeat("- ", 2000),
		`{"rate":[1e308,-1,0,"x"],"max_requests":1.5,"warmup":{"percent":0.5,"value":3,"mode":"both"},"cooldown":-1}`,
		`{"backend_kwargs":{"verify":false,"timeout":"x"},"over_saturation":{"enabled":true,"confidence":2}}`,
		`{"data_request_formatter":{"extras":{"headers":{"a":"b"},"body":{"c":[1]}},"stream":false,"max_tokens":3}}`,
		`{"data_column_mapper":{"text_column":["a"],"prefix_column":null},"random_seed":9223372036854775808}`,
		`[]`, `null`, ``, "- a\n", "? [a]\n: b\n", "!!binary aGk=", "target: 2001-01-01\nprofile: yes\n",
		`{"a":1}{"b":2}`,
		"<<: {target: http://x}\n", "---\na: 1\n---\nb: 2\n",
		"profile: synchronous\nmax-seconds: .inf\nrampup: .nan\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 256<<10 {
			return
		}
		fuzztest.Watch(t)
		dir := t.TempDir()
		commands := map[string]*Command{}
		before := fuzztest.Allocated()
		for _, name := range []string{"s.json", "s.yaml"} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := read([]string{"-c", path}, nil)
			if err != nil {
				continue
			}
			commands[name] = c
			// Whether the plan as a whole can be run is the spec's to say.
			_ = c.Spec.Validate()
			if l := c.Spec.Limits; l.MaxDuration < 0 || l.MaxDuration > noLimit || l.MaxRequests < 0 || l.RampUp < 0 {
				t.Fatalf("%s: %q: limits %+v", name, text, l)
			}
		}
		if used := fuzztest.Allocated() - before; used > 64<<20+4000*uint64(len(text)) {
			t.Fatalf("%d bytes for %q", used, text)
		}
		j, y := commands["s.json"], commands["s.yaml"]
		if j == nil || y == nil || !utf8.Valid(text) || bytes.ContainsAny(text, "\\<\x7f\u0085\u2028\u2029\ufeff") {
			return // escapes and line breaks differ, and << merges in YAML
		}
		// Numbers such as 1e3 are texts in YAML, and 1.0 stays one.
		if j.Args.Target != y.Args.Target || j.Args.Profile != y.Args.Profile ||
			!reflect.DeepEqual(j.Args.Outputs, y.Args.Outputs) || !bytes.ContainsAny(text, "eE.") &&
			!reflect.DeepEqual(j.Args, y.Args) {
			t.Fatalf("%q is %+v as JSON, %+v as YAML", text, j.Args, y.Args)
		}
	})
}

// hasText says whether a text stands in a key of a value, or anywhere under a key of the given name.
func hasText(value any, text, under string) bool {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			if hasText(item, text, under) {
				return true
			}
		}
	case guidellm.Object:
		for _, m := range v {
			if strings.Contains(m.Key, text) || hasText(m.Value, text, under) {
				return true
			}
			if shown, _ := appendJSON(nil, m.Value); m.Key == under && bytes.Contains(shown, []byte(text)) {
				return true
			}
		}
	}
	return false
}

// FuzzSecretSettings: a secret in the settings of the connection, of the headers or of a tokenizer is in no error, in
// no note and in nothing that is saved, however broken what stands around it is.
func FuzzSecretSettings(f *testing.F) {
	const canary = "sk-canary-0123456789"
	for _, s := range []string{
		`{"api_key":"KEY"}`, "api_key=KEY", "KEY", "a=b,KEY", "{KEY", "verify=KEY", "timeout=KEY",
		`{"api_routes":{"models":"KEY"}}`,
		`{"extras":{"headers":{"authorization":"Bearer KEY"}}}`, `{"extras":{"headers":"KEY"}}`,
		`{"extras":{"headers":{"a":["KEY"]}}}`,
		`{"max_tokens":"KEY"}`, "extras=KEY", "stream=KEY", `{"extras":"KEY"}`, `{"encode_kwargs":{"a":"KEY"}}`,
		`["KEY"]`, `"KEY"`,
		`{"validate_backend":{"url":"http://me:KEY@h/"},"verify":true}`, `{"a":"KEY"`, `{"extras":{"params":"KEY"}}`,
		"http2=KEY",
		`{"extras":{"headers":{"a":"KEY\n"}}}`, `{"extras":{"headers":{"":"KEY"}}}`, `{"follow_redirects":"KEY"}`,
		"{}KEY",
		`{"extras":{"headers":{"a":"KEY"},"headers":{"b":"KEY"}},"extras":{"headers":{"c":"KEY"}}}`,
		`{"extras":[{"headers":"KEY"}]}`,
	} {
		f.Add(s)
	}
	flags := []string{
		"backend-kwargs", "backend-args", "request-formatter-kwargs", "processor-args", "dataloader-kwargs",
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.Contains(text, "KEY") || strings.Contains(text, "\x00") {
			return
		}
		fuzztest.Watch(t)
		text = strings.ReplaceAll(text, "KEY", canary)
		if v, err := parseSettings(text); err == nil && hasText(v, canary, "body") || len(text) > 4096 {
			return // a name is no secret, and what is added to bodies is shown
		}
		if o, _ := parseSettings(text); o != nil {
			if o, ok := o.(guidellm.Object); ok {
				if kind, _ := o.Get("request_type").(string); strings.Contains(kind, canary) {
					return // is to be one of a few
				}
			}
		}
		for _, flag := range flags {
			for _, args := range [][]string{{"--" + flag, text}, {"--" + flag + "=" + text}} {
				c, err := read(append(words(baseLine+" --profile synchronous"), args...), nil)
				if err != nil {
					if strings.Contains(err.Error(), canary) {
						t.Fatalf("%q: %v", args, err)
					}
					continue
				}
				saved, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				if shown := string(saved) + strings.Join(c.Notes, "\n"); strings.Contains(shown, canary) {
					t.Fatalf("%q: saved %s, notes %q", args, saved, c.Notes)
				}
			}
		}
	})
}

// FuzzCommandLine: whatever the arguments of "benchmark run" are, one a line, reading them ends, with limits that hold
// or with an error.
func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{
		"--profile\nconstant\n--rate\n1,2.5\n--max-seconds\n3", "--rate=1e308\n--profile=concurrent",
		"--rate\nNaN\n--profile\npoisson",
		"--profile\nthroughput\n--rate\n1.5", "--rate\n3\n--profile\nsweep", "--rate=1e19\n--profile=sweep",
		"--max-requests=-1",
		"--max-requests=9223372036854775807", "--max-seconds=1e300", "--rampup=inf", "--warmup={\"value\":1e300}",
		"--cooldown=0.99",
		"--warmup=mode=both,value=3\n--max-requests=3", "--over-saturation\nmin_seconds=-1",
		"--data\nprompt_tokens=1\n--data\nb",
		"--outputs=json,,a.csv", "--output-path=/x/y.json", "--output-path=.\n--output-dir=.",
		"--random-seed=-9223372036854775808",
		"--sample-requests=-5", "--disable-console=maybe", "--data-samples=-2\n--data-sampler=shuffle",
		"--detect-saturation",
		"--request-type=audio_translations", "--max-error-rate=1e-320", "--max-global-error-rate=1",
		"--model=\n--processor=",
		"--data-column-mapper={\"text_column\":[\"a\"]}", "--data-args={\"type_\":\"json_file\"}", "-c\nchat",
		"--scenario\n/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || strings.Contains(text, "\x00") {
			return
		}
		fuzztest.Watch(t)
		args := append(words(baseLine), strings.Split(text, "\n")...)
		before := fuzztest.Allocated()
		c, err := read(args, nil)
		if used := fuzztest.Allocated() - before; used > 64<<20 {
			t.Fatalf("%d bytes for %q", used, args)
		}
		if err != nil {
			return
		}
		l := c.Spec.Limits
		if l.MaxDuration < 0 || l.MaxRequests < 0 || l.MaxErrors < 0 || l.RampUp < 0 || c.samples() < 0 ||
			l.Warmup.Duration(l) < 0 || l.Cooldown.Duration(l) < 0 || c.Spec.Output.SampleRequests < 0 {
			t.Fatalf("%q: %+v", args, l)
		}
		if p := c.Spec.Plan; (p.Sweep == nil) == (len(p.Stages) == 0) {
			t.Fatalf("%q: %+v", args, p)
		}
		for _, load := range c.Spec.Plan.Stages {
			if load.Kind.Open() != (load.Rate > 0) || load.Kind.Open() == (load.Streams > 0) {
				t.Fatalf("%q: %+v", args, load)
			}
		}
		_ = c.Spec.Validate()
		if _, err := json.Marshal(c.Args); err != nil {
			t.Fatalf("%q can't be saved: %v", args, err)
		}
	})
}
