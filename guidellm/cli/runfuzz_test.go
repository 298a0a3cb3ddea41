package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/internal/fuzztest"
)

// FuzzRunScenario: whatever a scenario of "guidellm run" holds, reading it ends, takes memory in proportion, and what
// it makes has limits within bounds.
func FuzzRunScenario(f *testing.F) {
	const spec = `"backend":{"kind":"openai_http","target":"http://h:1"},` +
		`"data":[{"kind":"synthetic_text","prompt_tokens":8}]`
	for _, s := range []string{
		`{"spec":{` + spec + `,"profile":{"kind":"constant","rate":[1,2]}}}`,
		`{"spec":{` + spec + `,"profile":{"kind":"concurrent"},"constraints":[{"kind":"max_requests"}]},` +
			`"benchmarks":[{"profile.streams":1,"constraints[0].count":3},{"profile.streams":2}]}`,
		`{"spec":{` + spec + `,"profile":{"kind":"sweep"},"outputs":[{"kind":"json","path":"a=b"}]}}`,
		`{"spec":{` + spec +
			`,"profile":{"kind":"synchronous","warmup":{"percent":0.5}},"metrics":{"kind":"generative"}}}`,
		`{"benchmarks":[{"a[1000].b":1,"a[1000].c[1000]":2}],"spec":{}}`,
		`{"spec":{"data":[{"kind":"in_memory_dict","data":{"a":[1,2],"b":3}}],"profile":{"kind":"constant","rate":1}}}`,
		`{"spec":{"data":[{"kind":"mooncake","source":{"kind":"json_file","path":"/dev/null"}}],` +
			`"profile":{"kind":"replay"}}}`,
		"spec:\n  profile: {kind: constant, rate: .inf}\n", "benchmarks: [null]\n", `{"config":{"spec":null}}`,
		strings.Repeat(`{"spec":`, 20000), bomb(8), `{"metadata":{"labels":{"a":1}},"spec":{}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		fuzztest.Watch(t)
		path := filepath.Join(t.TempDir(), "s.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		before := fuzztest.Allocated()
		c, err := readRunLine([]string{"-c", path, "--backend", "kind=openai_http,target=http://h:1"}, nil)
		if used := fuzztest.Allocated() - before; used > 256<<20+4000*uint64(len(text)) {
			t.Fatalf("%d bytes for %q", used, text)
		}
		if err != nil {
			return
		}
		_ = c.Spec.Validate() // whether the plan as a whole can be run is the spec's to say
		for i := range len(c.Spec.Plan.Limits) + 1 {
			l := c.Spec.Limits
			if i > 0 {
				l = c.Spec.Plan.Limits[i-1]
			}
			if l.MaxDuration < 0 || l.MaxDuration > noLimit || l.MaxRequests < 0 || l.RampUp < 0 || l.MaxErrors < 0 {
				t.Fatalf("%q: limits %+v", text, l)
			}
		}
		if _, err := appendJSON(nil, c.Scenario); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

// FuzzArgString: pairs of keys and values are read in proportion, and a secret in the backend's is in no error, in no
// note and in nothing that is saved.
func FuzzArgString(f *testing.F) {
	const canary = "sk-canary-0123456789"
	for _, s := range []string{
		"api_key=KEY", "extras.headers.a=KEY", "extras.headers=KEY", "timeout=KEY", "verify=KEY", "KEY", "a=b,KEY",
		"{KEY",
		"target=http://me:KEY@h:1", "extras={a: KEY}", "api_routes.x=KEY", "max_tokens=KEY", "extras.body=KEY",
		"extras.params.a=KEY", "api_key[0]=KEY", "api_key.x=KEY", "extras.method=KEY", "a[3].b=1,a[3].c=[KEY",
		"api_key=KEY\nb", "request_format=/v1/completions,api_key=KEY", "x: KEY", "['KEY']", "kind=KEY",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 16<<10 || !strings.Contains(text, "KEY") {
			return
		}
		// Names of keys, kinds, models and paths are shown; a key that stands for one was put into the wrong place.
		for _, shown := range []string{"kind", "model", "request_format", "target"} {
			if i := strings.Index(text, shown); i >= 0 && strings.Contains(text[i:], "KEY") {
				return
			}
		}
		if o, err := parseConfig(text); err == nil && hasKey(o, "KEY") {
			return
		}
		fuzztest.Watch(t)
		text = strings.ReplaceAll(text, "KEY", canary)
		c, err := readRunLine([]string{"--backend", "kind=openai_http,target=http://h:1," + text,
			"--data", "kind=synthetic_text,prompt_tokens=8", "--profile", "kind=synchronous"}, nil)
		if err != nil {
			if strings.Contains(err.Error(), canary) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		saved, err := appendJSON(nil, c.Scenario)
		if err != nil {
			t.Fatal(err)
		}
		// What goes into the body is no secret, and no path is.
		if bytes.Contains(saved, []byte(canary)) && !strings.Contains(text, "body") &&
			!strings.Contains(text, "api_routes") {
			t.Fatalf("%q is saved as %s", text, saved)
		}
		if notes := strings.Join(c.Notes, "\n"); strings.Contains(notes, canary) {
			t.Fatalf("%q: notes %q", text, notes)
		}
	})
}

// hasKey says whether a name with a text in it stands anywhere in a value.
func hasKey(value any, text string) bool {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			if hasKey(item, text) {
				return true
			}
		}
	case guidellm.Object:
		for _, m := range v {
			if strings.Contains(m.Key, text) || hasKey(m.Value, text) {
				return true
			}
		}
	}
	return false
}
