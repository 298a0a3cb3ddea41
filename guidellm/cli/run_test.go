package cli

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// readRunLine reads a command line of "guidellm run" and its environment.
func readRunLine(args, environ []string) (*Command, error) {
	set := pflag.NewFlagSet("run", pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	AddRunFlags(set)
	args = JoinOverrides(args)
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	base := spec.Spec{Confidence: 0.95}
	base.Endpoint.ConnectTimeout = 5 * time.Second
	base.Limits.MaxConcurrency = 1000
	base.Output.Style = spec.StyleGuideLLM
	return ParseRun(set, args, environ, base)
}

const runLine = "--backend kind=openai_http,target=http://h:1 " +
	"--data kind=synthetic_text,prompt_tokens=8,output_tokens=4"

// write writes a file into a new folder.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunPlans(t *testing.T) {
	t.Parallel()
	constant := func(rates ...float64) (loads []loadgen.Load) {
		for _, rate := range rates {
			loads = append(loads, loadgen.Load{Kind: loadgen.ConstantGap, Rate: rate, Seed: 42})
		}
		return loads
	}
	concurrent := func(streams ...int) (loads []loadgen.Load) {
		for _, n := range streams {
			loads = append(loads, loadgen.Load{Kind: loadgen.Concurrent, Streams: n})
		}
		return loads
	}
	for _, test := range []struct {
		args []string
		want spec.Plan
	}{
		{words("--profile kind=synchronous"),
			spec.Plan{Profile: "synchronous", Stages: []loadgen.Load{{Kind: loadgen.Synchronous, Streams: 1}}}},
		{words("--profile kind=constant,rate=2.5"), spec.Plan{Profile: "constant", Stages: constant(2.5)}},
		{words("--profile kind=async,rate=2"), spec.Plan{Profile: "constant", Stages: constant(2)}},
		{[]string{"--profile", `{"kind":"constant","rate":[1,2]}`}, spec.Plan{Profile: "constant", Stages: constant(1,
			2)}},
		{[]string{"--profile", "kind: constant\nrate: [1, 2]"}, spec.Plan{Profile: "constant", Stages: constant(1, 2)}},
		{[]string{"--profile", `{"kind":"constant","rate":"[1,2]"}`}, spec.Plan{Profile: "constant",
			Stages: constant(1, 2)}},
		{words("--profile kind=poisson,rate=2 --seed kind=static,value=7"), spec.Plan{Profile: "poisson",
			Stages: []loadgen.Load{{Kind: loadgen.PoissonGaps, Rate: 2, Seed: 7}}}},
		{words("--profile kind=throughput,max_concurrency=9"),
			spec.Plan{Profile: "throughput", Stages: []loadgen.Load{{Kind: loadgen.Throughput, Streams: 9}}}},
		{words("--profile kind=concurrent --override profile.streams 1,2,4"),
			spec.Plan{Profile: "concurrent", Stages: concurrent(1, 2, 4)}},
		{words("--profile kind=concurrent --override=profile.streams 1,2"),
			spec.Plan{Profile: "concurrent", Stages: concurrent(1, 2)}},
		{words("--profile kind=concurrent,streams=2.7"), spec.Plan{Profile: "concurrent", Stages: concurrent(2)}},
		{words("--profile kind=sweep"), spec.Plan{Profile: "sweep", Sweep: &spec.Sweep{Size: 10, Seed: 42}}},
		{words("--profile kind=sweep,sweep_size=4,strategy_type=poisson"), spec.Plan{Profile: "sweep",
			Sweep: &spec.Sweep{Size: 4, Seed: 42, Arrival: loadgen.Arrival{Kind: loadgen.PoissonArrival}}}},
	} {
		c, err := readRunLine(append(words(runLine), test.args...), nil)
		if err != nil {
			t.Errorf("%q: %v", test.args, err)
			continue
		}
		if !reflect.DeepEqual(c.Spec.Plan, test.want) {
			t.Errorf("%q: %+v, want %+v", test.args, c.Spec.Plan, test.want)
		}
		if err := c.Spec.Validate(); err != nil {
			t.Errorf("%q: %v", test.args, err)
		}
	}
}

// The limits of benchmarks may differ, by overrides or by lists in one constraint; what is not said again is the first
// one's.
func TestRunLimits(t *testing.T) {
	t.Parallel()
	file := write(t, "s.yaml", `
spec:
  backend: {kind: openai_http, target: http://h:1}
  profile: {kind: concurrent, warmup: 0.1, cooldown: {percent: null, value: 2, mode: prefer_duration}}
  data: [{kind: synthetic_text, prompt_tokens: 8, output_tokens: 4, turns: 5, delay: 0.5,
         prefix_buckets: [{prefix_tokens: 16, prefix_count: 3}]}]
  constraints: [{kind: max_requests}, {kind: max_duration, seconds: 60}, {kind: max_errors, count: 3}]
benchmarks:
- {profile.streams: 2, "constraints[0].count": 10}
- {profile.streams: 4, "constraints[0].count": 21}
- profile.streams: 8
`)
	c, err := readRunLine([]string{"--config", file, "-l", "a=b=c"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var requests []int
	for i := range 4 {
		l := c.Spec.Plan.LimitsOf(i)
		requests = append(requests, l.MaxRequests)
		if l.MaxDuration != time.Minute || l.MaxErrors != 3 || l.Warmup.Percent != 0.1 || l.Cooldown.Value != 2 {
			t.Errorf("stage %d: %+v", i, l)
		}
	}
	// Sessions of five turns. The third benchmark has the first one's count, which is the spec's.
	if want := []int{2, 5, 2, 2}; !reflect.DeepEqual(requests, want) {
		t.Errorf("sessions %v, want %v", requests, want)
	}
	if c.Spec.Limits.MaxRequests != 5 {
		t.Errorf("the widest limit is %d", c.Spec.Limits.MaxRequests)
	}
	s := c.Spec.Workload.Synthetic
	if s.Sessions == nil || s.Sessions.Turns.Mean != 5 || s.Sessions.Think.Least != time.Second/2 ||
		!reflect.DeepEqual(s.Prefixes, []tokens.PrefixBucket{{Tokens: 16, Count: 3}}) {
		t.Errorf("workload %+v", s)
	}
	if c.Spec.Output.Labels["a"] != "b=c" {
		t.Errorf("labels %v", c.Spec.Output.Labels)
	}
	if notes := strings.Join(c.Notes, "\n"); !strings.Contains(notes,
		"max_requests 21: openloop counts whole sessions") {
		t.Errorf("notes %q", notes)
	}
}

func TestRunSpec(t *testing.T) {
	t.Parallel()
	records := write(t, "r.jsonl", `{"prompt":"a","output_tokens_count":3}`+"\n")
	trace := write(t, "t.jsonl", `{"timestamp":0,"input_length":5,"output_length":2,"hash_ids":[1]}`+"\n")
	args := append(words(runLine), "--profile", "kind=constant,rate=1")
	for _, test := range []struct {
		name    string
		args    []string
		environ []string
		ok      func(c *Command) bool
	}{
		{"a key", words("--backend kind=openai_http,target=http://h:1,api_key=sk-1"), nil, func(c *Command) bool {
			h := c.Spec.Endpoint.Headers
			return len(h) == 1 && h[0].Name == "Authorization" && h[0].Value.Reveal() == "Bearer sk-1"
		}},
		{"the text format", words("--backend kind=openai_http,target=http://h:1/,request_format=/v1/completions"), nil,
			func(c *Command) bool { return c.Spec.Workload.Format == tokens.TextCompletions }},
		{"responses", words("--backend kind=openai_http,target=http://h:1,request_format=/v1/responses,stream=false"),
			nil,
			func(c *Command) bool { return c.Spec.Workload.Format == tokens.Responses && c.Spec.Workload.NoStream }},
		{"extras",
			words("--backend kind=openai_http,target=http://h:1,extras.body.seed=3,extras.headers.a=b,verify=no"), nil,
			func(c *Command) bool {
				return string(c.Spec.Workload.Extra) == `{"seed":3}` && len(c.Spec.Endpoint.Headers) == 1 &&
					c.Spec.Endpoint.Insecure
			}},
		{"an environment", nil, []string{"GUIDELLM__SPEC__BACKEND__MODEL=m", "GUIDELLM__DEFAULT_RESULTS_DIR=/r"},
			func(c *Command) bool { return c.Spec.Endpoint.Model == "m" && c.Spec.Output.Dir == "/r" }},
		{"a flag over the environment", nil, []string{"GUIDELLM__SPEC__PROFILE={\"kind\":\"constant\",\"rate\":9}"},
			func(c *Command) bool { return c.Spec.Plan.Stages[0].Rate == 1 }},
		{"outputs", words("--output kind=json,path=a/b.json --output kind=yaml --output kind=csv --output kind=html " +
			"--output kind=plot,path=p.svg --output kind=console"), nil, func(c *Command) bool {
			return reflect.DeepEqual(c.Spec.Output.Files, []string{"guidellm-v2=a/b.json",
				"guidellm-v2-yaml=benchmarks.yaml", "csv=benchmarks.csv", "html=benchmarks.html", "svg=p.svg"})
		}},
		{"the default outputs", nil, nil, func(c *Command) bool {
			return reflect.DeepEqual(c.Spec.Output.Files, []string{"guidellm-v2=benchmarks.json", "csv=benchmarks.csv"})
		}},
		{"a file", []string{"--data", "kind=json_file,path=" + records, "--data-loader",
			"kind=pytorch,samples=1,shuffle=true"},
			nil, func(c *Command) bool {
				d := c.Spec.Workload.Data
				return d != nil && d.Source == records && d.Samples == 1 && d.Shuffle && d.GuideLLM
			}},
		{"a file as a data set", []string{"--data", "kind=huggingface,source=" + records}, nil,
			func(c *Command) bool { return c.Spec.Workload.Data.Source == records }},
		{"records in the line", []string{"--data", `{"kind":"in_memory_dict","data":{"prompt":["a","b"],"n":[1,2]}}`},
			nil,
			func(c *Command) bool {
				return c.Spec.Workload.Data.Source == `[{"prompt":"a","n":1},{"prompt":"b","n":2}]`
			}},
		{"a trace", []string{"--data", "kind=mooncake,source.kind=json_file,source.path=" + trace + ",time_scale=0.5",
			"--profile", "kind=replay,time_scale=4"}, nil, func(c *Command) bool {
			w := c.Spec.Workload.Trace
			return w != nil && w.File == trace && w.Speed == 0.5 && w.BlockTokens == 512 && w.TimeUnit == tokens.Seconds
		}},
		{"the first prompt",
			words("--data kind=synthetic_text,prompt_tokens=8,output_tokens=4,turns=2,first_prompt_tokens=100"),
			nil, func(c *Command) bool {
				s := c.Spec.Workload.Synthetic
				return s.Prompt.Mean == 100 && s.Sessions.Prompt.Mean == 8
			}},
		{"what is kept", words("--metrics kind=generative,sample_size=0 --disable-progress"), nil,
			func(c *Command) bool {
				return c.Spec.Output.SampleRequests == 0 && c.Spec.Output.Quiet && !c.NoConsole
			}},
		{"over-saturation", words("--constraint kind=over_saturation,min_seconds=5"), nil, func(c *Command) bool {
			return c.OverSaturation != nil && c.OverSaturation.MinSeconds == 5 && c.OverSaturation.Enabled
		}},
	} {
		line := args
		for _, arg := range test.args { // what is given once goes in the place of what is in the line
			if strings.HasPrefix(arg, "--backend") || strings.HasPrefix(arg, "--data") || strings.HasPrefix(arg,
				"--profile") {
				line = without(line, arg)
			}
		}
		c, err := readRunLine(append(line, test.args...), test.environ)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if !test.ok(c) {
			t.Errorf("%s: %+v, plan %+v, notes %q", test.name, c.Spec, c.Spec.Plan, c.Notes)
		}
	}
}

// without is a command line without a flag and its value.
func without(line []string, flag string) (out []string) {
	for i := 0; i < len(line); i++ {
		if line[i] == flag {
			i++
			continue
		}
		out = append(out, line[i])
	}
	return out
}

// The report has the scenario as it was asked for, without credentials.
func TestRunEcho(t *testing.T) {
	t.Parallel()
	c, err := readRunLine(words("--backend kind=openai_http,target=http://me:pw@h:1,api_key=sk-1,"+
		"extras.headers.x=sk-2 "+
		"--data kind=synthetic_text,prompt_tokens=8 --profile kind=concurrent --override profile.streams 1,2 "+
		"--label a=b"), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := appendJSON(nil, c.Scenario)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"metadata":{"labels":{"a":"b"}},"spec":{"backend":{"kind":"openai_http",` +
		`"target":"http://[redacted]@h:1",` +
		`"api_key":"**********",` +
		`"extras":{"headers":{"x":"[redacted]"}}},"profile":{"kind":"concurrent","streams":[1]},` +
		`"data":[{"kind":"synthetic_text","prompt_tokens":8}]},` +
		`"benchmarks":[{"profile.streams":1},{"profile.streams":2}]}`
	if string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
	for _, secret := range []string{"sk-1", "sk-2", "pw"} {
		if all := strings.Join(c.Spec.Output.Command, " ") + strings.Join(c.Notes, " "); strings.Contains(all, secret) {
			t.Errorf("%s shows %s", all, secret)
		}
	}
}

func TestRunRefusals(t *testing.T) {
	t.Parallel()
	old := write(t, "old.yaml", "target: http://h:1\nprofile: sweep\n")
	const (
		backend = "--backend kind=openai_http,target=http://h:1"
		data    = " --data kind=synthetic_text,prompt_tokens=8"
		profile = " --profile kind=constant,rate=1"
		all     = backend + data + profile
	)
	for _, test := range []struct{ args, want string }{
		{backend + data, "no profile"},
		{backend + profile, "no data"},
		{data + profile, "no endpoint"},
		{"--backend kind=openai_http" + data + profile, "backend.target: it is missing"},
		{"--backend target=http://h:1" + data + profile, "it has no kind"},
		{"--backend kind=vllm_python,model=m" + data + profile, "vllm serve"},
		{"--backend kind=openai_http,target=ftp://h" + data + profile, "backend.target: "},
		{"--backend kind=openai_http,target=http://h:1,nope=1" + data + profile, `no "nope" here; there are api_key`},
		{"--backend kind=openai_http,target=http://h:1,request_format=/pooling" + data + profile,
			"openloop asks at /v1/chat/"},
		{"--backend kind=openai_http,target=http://h:1,request_format=/v1/embeddings" + data + profile,
			"openloop run URL --request-type embeddings"},
		{"--backend kind=openai_http,target=http://h:1,server_history=true" + data + profile, "server_history"},
		{"--backend kind=openai_http,target=http://h:1,extras.params.a=1" + data + profile, "backend.extras.params"},
		{"--backend kind=openai_http,target=http://h:1,extras.body=x" + data + profile, "backend.extras.body"},
		{"--backend kind=openai_http,kind=x" + data + profile, "given twice"},
		{"--backend nonsense" + data + profile, "want key=value pairs"},
		{backend + data + " --profile kind=goodput", "openloop sweep"},
		{backend + data + " --profile kind=knee", "kind=concurrent"},
		{backend + data + " --profile kind=what", `profile.kind: "what": openloop takes synchronous`},
		{backend + data + " --profile kind=constant", "profile.rate: it is missing"},
		{backend + data + " --profile kind=constant,rate=0", "numbers above 0"},
		{backend + data + " --profile kind=concurrent,streams=0.5", "at least one stream"},
		{backend + data + " --profile kind=concurrent,streams=2000", "--max-concurrency"},
		{backend + data + " --profile kind=throughput", "max_concurrency: it is missing"},
		{backend + data + " --profile kind=constant,rate=1,rampup_duration=3", "--ramp"},
		{backend + data + " --profile kind=replay", "not a trace"},
		{backend + data + " --profile kind=synchronous,rate=3", `no "rate" here`},
		{all + " --profile kind=sweep", "--profile was given 2 times"},
		{all + " --constraint kind=max_duration", "constraints[0].seconds: it is missing"},
		{all + " --constraint kind=max_duration,seconds=-1", "above 0"},
		{all + " --constraint kind=max_requests,count=3,stopping_scope=all", "stopping_scope"},
		{all + " --constraint kind=max_error_rate,rate=1", "at most"},
		{all + " --constraint kind=max_error_rate,rate=0.5,window=10", "looks at 30"},
		{all + " --constraint kind=over_saturation,mode=monitor", "enforce"},
		{all + data, "2 sources"},
		{backend + profile + " --data kind=synthetic_text", "prompt_tokens is missing"},
		{backend + profile + " --data kind=synthetic_text,prompt_tokens=8,tool_call_turns=1", "sends no tools"},
		{backend + profile + " --data kind=synthetic_text,prompt_tokens=8,nope=1",
			`data[0]: GuideLLM 0.8.1 has no "nope"`},
		{backend + profile + " --data kind=synthetic_text,prompt_tokens=8,delay=1,delay_stdev=1", "--think-time"},
		{backend + profile + " --data kind=huggingface,source=a/b", "downloads no data set"},
		{backend + profile + " --data kind=json_file,path=/nonexistent.json", "no such file"},
		{backend + profile + " --data kind=weka,source.kind=json_file", "openloop run URL --trace"},
		{all + " --data-column-mapper kind=pooling_column_mapper", "embeddings"},
		{all + " --tokenizer kind=other", "tokenizer.kind"},
		{all + " --output kind=json,file=a", `no "file" here; there are kind, path`},
		{all + " --output kind=plot,path=a.pdf", ".png and .svg"},
		{all + " --metrics kind=generative,slo.ttft_ms=3", "--slo"},
		{all + " --override seed.value 1,2", "benchmarks[1] changes more"},
		{all + " --override profile.nope 1", `profile: GuideLLM 0.8.1 has no "nope"`},
		{all + " --label a", "--label"},
		{"--scenario /nonexistent.yaml", "--scenario"},
		{"--scenario " + old, "openloop benchmark run takes it"},
	} {
		_, err := readRunLine(words(test.args), nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
	}
	for _, environ := range []string{"GUIDELLM__SPEC__BACKEND={", "GUIDELLM__SPEC__NOPE=1", "GUIDELLM__SPEC=3"} {
		if _, err := readRunLine(words(all), []string{environ}); err == nil {
			t.Errorf("%s was taken", environ)
		}
	}
}

// Scenarios that GuideLLM brings along, and those in reports.
func TestRunScenarios(t *testing.T) {
	t.Parallel()
	report := write(t, "report.json", `{"metadata":{"version":2},"config":{"spec":{"profile":`+
		`{"kind":"constant","rate":[3]},"data":[{"kind":"synthetic_text","prompt_tokens":8}]},`+
		`"benchmarks":[null]},"benchmarks":[]}`)
	backend := words("--backend kind=openai_http,target=http://h:1")
	c, err := readRunLine(append(backend, "-c", report), nil)
	if err != nil || c.Spec.Plan.Stages[0].Rate != 3 {
		t.Errorf("%+v, %v", c, err)
	}
	for name := range builtInRuns {
		c, err := readRunLine(append(backend, "--scenario", name), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if n := len(c.Spec.Plan.Stages); n != 5 && n != 3 {
			t.Errorf("%s: %d stages", name, n)
		}
	}
}

// min_requests lets requests be sent until so many have ended, in each stage.
func TestRunMinRequests(t *testing.T) {
	t.Parallel()
	c, err := readRunLine(words(runLine+" --profile kind=concurrent --constraint kind=min_requests "+
		"--override profile.streams 1,2 --override constraints[0].count 2,3"), nil)
	if err != nil {
		t.Fatal(err)
	}
	observe := c.Observe()
	for i, want := range []int{2, 3} {
		run := &stopped{}
		for n := 1; run.reason == ""; n++ {
			observe(loadgen.Event{Run: run})
			observe(loadgen.Event{Run: run, Ended: true, Record: &loadgen.Record{}})
			if run.reason != "" && n != want || n > want {
				t.Fatalf("stage %d ended after %d requests, want %d", i, n, want)
			}
		}
		if run.reason != loadgen.StopMinRequests {
			t.Errorf("ended by %s", run.reason)
		}
	}
}

type stopped struct {
	loadgen.Running
	reason loadgen.StopReason
}

func (s *stopped) StopFor(reason loadgen.StopReason) { s.reason = reason }

func TestArgString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               `{}`,
		"a=1,b=x, c = 1.5":               `{"a":1,"b":"x","c":1.5}`,
		"a.b=1,a.c=true":                 `{"a":{"b":1,"c":true}}`,
		"f[0]=a,f[2]=b":                  `{"f":["a",null,"b"]}`,
		"i[0].w=10,i[0].c=5":             `{"i":[{"w":10,"c":5}]}`,
		"u=http://h:1/v1?a=b,e=":         `{"u":"http://h:1/v1?a=b","e":null}`,
		"a=1,a=2":                        "",
		"a=1,a.b=2":                      "",
		"a":                              "",
		"=1":                             "",
		"a[9999]=1":                      "",
		strings.Repeat("a.", 200) + "=1": "",
	} {
		got, err := parseArgString(text)
		if want == "" {
			if err == nil {
				t.Errorf("%.40q was read as %v", text, got)
			}
			continue
		}
		shown, _ := appendJSON(nil, got)
		if err != nil || string(shown) != want {
			t.Errorf("%q: %s, %v; want %s", text, shown, err, want)
		}
	}
	list := guidellm.Object{{Key: "a", Value: []any{int64(1), int64(2)}}}
	if o, err := setPath(list, "a[1]", int64(3), true); err != nil {
		t.Error(err)
	} else if shown, _ := appendJSON(nil, o); string(shown) != `{"a":[1,3]}` {
		t.Errorf("%s", shown)
	}
}
