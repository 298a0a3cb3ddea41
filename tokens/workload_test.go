package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

func synthetic(prompt, output int) Spec {
	return Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: prompt}, Output: Length{Mean: output}}}
}

func mustOpen(t testing.TB, spec Spec) *Workload {
	t.Helper()
	w, err := Open(spec, "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// take returns the first n requests of a stage.
func take(t testing.TB, w *Workload, stage, n int) []loadgen.Request {
	t.Helper()
	next, release, err := w.Source(t.Context(), stage)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	requests := make([]loadgen.Request, n)
	for i := range requests {
		if requests[i], err = next(i); err != nil {
			t.Fatal(err)
		}
	}
	return requests
}

// What is wrong is found before anything is sent, and says which field of the spec it is; flags are for the program to
// name.
func TestOpenRefuses(t *testing.T) {
	good := write(t, "good.jsonl", `{"prompt":"x"}`)
	saved := write(t, "saved.jsonl", `{"index":0,"path":"/v1/completions","body":{"prompt":"x"}}`)
	data := func(d DataSpec) Spec { return Spec{Data: &d, Tokenizer: "none"} }
	for _, c := range []struct {
		spec        Spec
		field, want string
	}{
		{Spec{}, "Synthetic", "want one of synthetic prompts, data and a trace"},
		{Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: 1}}, Data: &DataSpec{Source: good}, Tokenizer: "none"},
			"Synthetic", "want one of"},
		{synthetic(0, 1), "Synthetic", "a mean of at least 1 token"},
		{Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: 9, Min: 20, Max: 10}}}, "Synthetic", "above the greatest"},
		{Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: 9}}, Extra: []byte(`{"a":1`)}, "Extra",
			"it ends too early"},
		{Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: 9}}, Tokenizer: "gpt-9"}, "Tokenizer",
			`tokenizer "gpt-9"`},
		{Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: 9}},
			SaveTo: filepath.Join(t.TempDir(), "no", "such.jsonl")},
			"SaveTo", "no such file"},
		{data(DataSpec{}), "Data", "no data"},
		{data(DataSpec{Source: "nosuch.jsonl"}), "Data", "no such file"},
		{data(DataSpec{Source: "prompt_tokens=0"}), "Data", "at least 1"},
		{data(DataSpec{Source: write(t, "a.jsonl", `{"n":1}`)}), "Data",
			"a.jsonl:1: it has no prompt: none of its columns (n)"},
		{data(DataSpec{Source: saved}), "Data", "holds requests to /v1/completions, but requests to " +
			"/v1/chat/completions"},
		{data(DataSpec{Source: good, Columns: map[string][]string{"text": {"q"}}}), "Data.Columns",
			`"text" is not a kind of column`},
		{data(DataSpec{Source: good, Columns: map[string][]string{"text_column": {"q"}}}), "Data", `no column "q"`},
		{Spec{Data: &DataSpec{Source: good}, Tokenizer: "nosuch.json"}, "Tokenizer", "no such file"},
		{Spec{Trace: &TraceSpec{File: write(t, "t.jsonl", "{}")}}, "Trace", "t.jsonl:1: want timestamp"},
		{Spec{Trace: &TraceSpec{File: good, Speed: -1}}, "Trace", "speed -1"},
	} {
		_, err := Open(c.spec, "m")
		var wrong *SpecError
		if !errors.As(err, &wrong) || wrong.Field != c.field || !strings.Contains(wrong.Err.Error(), c.want) {
			t.Errorf("%s: %v, want %s: %s", c.spec.Describe(), err, c.field, c.want)
			continue
		}
		if strings.Contains(err.Error(), "--") || !strings.HasPrefix(err.Error(), c.field+": ") {
			t.Error(err)
		}
	}
	if _, err := Open(data(DataSpec{Source: `[{"n":1}]`}), "m"); !errors.Is(err, ErrNoPrompt) {
		t.Error(err)
	}
}

func TestParseColumns(t *testing.T) {
	for text, want := range map[string]map[string][]string{
		"":     nil,
		"null": nil,
		"{}":   {},
		`{"text_column":"q","prefix_column":["a","b"]}`: {"text_column": {"q"}, "prefix_column": {"a", "b"}},
	} {
		if got, err := ParseColumns(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	const form = `want a JSON object such as {"text_column":"question"}, got `
	for text, want := range map[string]string{
		"text_column=prompt":          form + `"text_column=prompt": invalid character 'e' in literal true`,
		`{"text_column":`:             form + `"{\"text_column\":": it ends too early`,
		`["q"]`:                       form + `"[\"q\"]": it is a JSON array`,
		`{"text_column":7}`:           "text_column is 7: it must be the name of a column, or a list of names",
		`{"text_column":["a",{}]}`:    "text_column is [a map[]]: it must be the name of a column",
		`{"text":"q","zzz":"q"}`:      `"text" is not a kind of column; there are text_column, prefix_column,`,
		`{"text_column":"q"} trailer`: form,
	} {
		if _, err := ParseColumns(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	lengths := SyntheticSpec{Prompt: Length{Mean: 256, Stdev: 20, Min: 100, Max: 400}, Output: Length{Mean: 128}}
	shared, several := lengths, lengths
	shared.Prefixes = []PrefixBucket{{Count: 3, Tokens: 64}}
	several.Prefixes = []PrefixBucket{{Weight: 75, Count: 2, Tokens: 16}, {Tokens: 32}}
	const text = "kind=synthetic_text,prompt_tokens=256,prompt_tokens_stdev=20,prompt_tokens_min=100," +
		"prompt_tokens_max=400,output_tokens=128"
	for want, spec := range map[string]SyntheticSpec{
		text: lengths,
		text + ",prefix_tokens=64,prefix_count=3": shared,
		`{"kind":"synthetic_text","prompt_tokens":256,"prompt_tokens_stdev":20,"prompt_tokens_min":100,` +
			`"prompt_tokens_max":400,"output_tokens":128,"prefix_buckets":[` +
			`{"bucket_weight":75,"prefix_count":2,"prefix_tokens":16},{"prefix_tokens":32}]}`: several,
		"kind=synthetic_text,prompt_tokens=5": {Prompt: Length{Mean: 5}},
	} {
		if got := (Spec{Synthetic: &spec}).Describe(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got, is, err := ParseSynthetic(want); err != nil || !is || !reflect.DeepEqual(got, spec) {
			t.Errorf("%s is read as %+v, %v", want, got, err)
		}
	}
	for want, spec := range map[string]Spec{
		"a.jsonl": {Data: &DataSpec{Source: "a.jsonl"}}, "t.csv": {Trace: &TraceSpec{File: "t.csv"}}, "": {},
	} {
		if got := spec.Describe(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Every stage has prompts of its own, and the trial has one that no stage sends.
func TestStagesShareNoPrompt(t *testing.T) {
	w := mustOpen(t, synthetic(16, 4))
	trial, err := w.Trial()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{string(trial.Body): true}
	for stage := range 4 {
		for _, r := range take(t, w, stage, 50) {
			if seen[string(r.Body)] {
				t.Fatalf("stage %d sends %s again", stage, r.Body)
			}
			seen[string(r.Body)] = true
			if r.PromptTokens != 16 || r.OutputTokens != 4 || r.PromptWords != 16 || r.PromptChars < 4*16 {
				t.Errorf("%+v", r)
			}
		}
	}
	// The same spec gives the same bytes.
	again := mustOpen(t, synthetic(16, 4))
	for _, r := range take(t, again, 2, 50) {
		if !seen[string(r.Body)] {
			t.Fatalf("%s is new", r.Body)
		}
	}
}

// Data and traces go on where the last stage ended; a trial takes nothing away from them.
func TestDataGoesOnFromStageToStage(t *testing.T) {
	w := mustOpen(t, Spec{Data: &DataSpec{Source: write(t, "a.txt", "p0\np1\np2")}, Tokenizer: "none", NoStream: true})
	for range 2 {
		if trial, err := w.Trial(); err != nil || trial.PromptText != "p0" ||
			strings.Contains(string(trial.Body), "stream") {
			t.Fatalf("%+v, %v", trial, err)
		}
	}
	var texts []string
	for stage, n := range []int{2, 3, 2} {
		for _, r := range take(t, w, stage, n) {
			texts = append(texts, bodyText(t, r.Body))
			if r.PromptTokens != -1 || r.PromptWords != 1 {
				t.Errorf("%+v", r)
			}
		}
	}
	if got := strings.Join(texts, " "); got != "p0 p1 p2 p0 p1 p2 p0" {
		t.Error(got)
	}
	want := []string{"the 3 records of the data were sent 2.3 times over: " +
		"later requests may have been answered from the server's prefix cache"}
	if got := w.Warnings(nil); !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
}

// bodyText is the text of a body's last message.
func bodyText(t testing.TB, body []byte) string {
	t.Helper()
	var b struct {
		Messages []struct{ Content []struct{ Text string } }
	}
	if err := json.Unmarshal(body, &b); err != nil || len(b.Messages) == 0 {
		t.Fatal(string(body), err)
	}
	return b.Messages[len(b.Messages)-1].Content[0].Text
}

func TestRecords(t *testing.T) {
	lines := write(t, "a.jsonl", `{"prompt":"x"}{"prompt":"y","output_tokens_count":3}{"prompt":"z"}`)
	for _, c := range []struct {
		spec              Spec
		count, withOutput int
	}{
		{synthetic(5, 5), 0, 0},
		{Spec{Data: &DataSpec{Source: "prompt_tokens=5", Samples: 7}}, 7, 0},
		{Spec{Data: &DataSpec{Source: lines, Output: 9}, Tokenizer: "none"}, 3, 1},
		{Spec{Data: &DataSpec{Source: lines, Samples: 2}, Tokenizer: "cl100k_base"}, 2, 1},
		{Spec{Trace: &TraceSpec{File: write(t, "t.jsonl", mooncake), BlockTokens: 512}}, 5, 5},
	} {
		count, withOutput := mustOpen(t, c.spec).Records()
		if count != c.count || withOutput != c.withOutput {
			t.Errorf("%s: %d, %d; want %d, %d", c.spec.Describe(), count, withOutput, c.count, c.withOutput)
		}
	}
	bad := mustOpen(t, Spec{Data: &DataSpec{Source: write(t, "b.jsonl", `{"prompt":"x"}`+"\n{}")}, Tokenizer: "none"})
	if n, _ := bad.Records(); n != 1 {
		t.Error(n)
	}
	if _, warnings := bad.Notes(); len(warnings) != 1 ||
		!strings.Contains(warnings[0], "1 of 2 records can't be sent and are left out: ") ||
		!strings.Contains(warnings[0], "b.jsonl:2: it has no prompt") {
		t.Error(warnings)
	}
}

func TestTraceLoad(t *testing.T) {
	w := mustOpen(t, Spec{Trace: &TraceSpec{File: write(t, "t.jsonl", mooncake), Speed: 2, BlockTokens: 512}})
	l := w.TraceLoad()
	if l.Kind != loadgen.ConstantGap || len(l.Times) != 5 || l.Times[4] != 2*time.Second || l.Rate != 2.5 ||
		l.Name != "trace" {
		t.Errorf("%+v", l)
	}
	trial, err := w.Trial()
	if err != nil || len(strings.Fields(trial.PromptText)) != 1100 || trial.OutputTokens != 500 {
		t.Error(len(strings.Fields(trial.PromptText)), trial.OutputTokens, err)
	}
	if got := take(t, w, 0, 5); string(got[0].Body) != string(trial.Body) {
		t.Error("the trial is not the trace's first request")
	}
	again := take(t, w, 1, 5)
	if string(again[0].Body) == string(trial.Body) || again[0].PromptTokens != 1100 {
		t.Error("a further stage sends the same texts, which the endpoint may have cached, or other lengths")
	}
	if l := mustOpen(t, synthetic(1, 1)).TraceLoad(); l.Kind != "" || l.Times != nil {
		t.Errorf("%+v", l)
	}
}

// Requests that were handed out and not sent are not saved: one, or as many as several processes fetch ahead.
func TestWhatIsSavedIsWhatWasSent(t *testing.T) {
	type stage struct{ handed, sent int }
	for name, stages := range map[string][]stage{
		"one ahead":         {{3, 2}, {2, 2}},
		"many ahead":        {{40, 2}, {30, 30}, {500, 3}},
		"none of the first": {{9, 0}, {2, 2}},
		"none of the last":  {{2, 2}, {9, 0}},
		"a probe between":   {{20, 5}, {7, -1}, {20, 5}}, // of which nobody is told
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "saved.jsonl")
			spec := synthetic(8, 4)
			spec.SaveTo = path
			w, err := Open(spec, "m")
			if err != nil {
				t.Fatal(err)
			}
			var want []loadgen.Request
			for i, s := range stages {
				handed := take(t, w, i, s.handed)
				if s.sent < 0 {
					want = append(want, handed...)
					continue
				}
				w.Sent(s.sent)
				want = append(want, handed[:s.sent]...)
			}
			if saved, err := w.Save(keepNothing); !saved || err != nil {
				t.Fatal(saved, err)
			}
			w.Close()
			w.Close()
			again := mustOpen(t, Spec{Data: &DataSpec{Source: path}, Tokenizer: "none"})
			if n, withOutput := again.Records(); n != len(want) || withOutput != n {
				t.Fatal(n, withOutput)
			}
			for i, r := range take(t, again, 0, len(want)) {
				want[i].PromptWords, want[i].PromptChars = 0, 0 // of a body nobody knows them
				if !reflect.DeepEqual(r, want[i]) {
					t.Errorf("request %d\n got %+v\nwant %+v", i, r, want[i])
				}
			}
		})
	}
}

func keepNothing(string) error { return nil }

// What had the name of the file to save to is there until the new one is whole: if no request is sent, for good.
func TestSavingKeepsWhatWasThere(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "saved.jsonl")
	if err := os.WriteFile(path, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := synthetic(8, 4)
	spec.SaveTo = path
	for _, sent := range []int{0, 1} {
		w, err := Open(spec, "m")
		if err != nil {
			t.Fatal(err)
		}
		if sent > 0 {
			take(t, w, 0, sent)
		}
		if got, _ := os.ReadFile(path); string(got) != "precious" {
			t.Errorf("%d sent: it holds %q before the end", sent, got)
		}
		saved, err := w.Save(func(name string) error { return os.Rename(name, filepath.Join(folder, "kept")) })
		if saved != (sent > 0) || err != nil {
			t.Errorf("%d sent: saved %v, %v", sent, saved, err)
		}
		w.Close()
		if got, _ := os.ReadFile(path); (string(got) == "precious") != (sent == 0) {
			t.Errorf("%d sent: it holds %.20q at the end", sent, got)
		}
		if all, _ := filepath.Glob(path + "?*"); all != nil {
			t.Errorf("%d sent: it leaves %v", sent, all)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(folder, "kept")); string(got) != "precious" {
		t.Errorf("kept is %q", got)
	}
	w, err := Open(spec, "m")
	if err != nil {
		t.Fatal(err)
	}
	take(t, w, 0, 1)
	before, _ := os.ReadFile(path)
	if _, err := w.Save(func(string) error { return os.ErrPermission }); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Errorf("what could not be kept was overwritten: %.40q", after)
	}
}

// A full disk is said once: by the request that can't be saved, or at the end.
func TestSavingToAFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	for _, requests := range []int{2, 500} { // few fit into the buffer
		spec := synthetic(200, 4)
		spec.SaveTo = "/dev/full"
		w, err := Open(spec, "m")
		if err != nil {
			t.Fatal(err)
		}
		next, release, err := w.Source(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var told []error
		for i := range requests {
			if _, err := next(i); err != nil {
				told = append(told, err)
				break
			}
		}
		release()
		if _, err := w.Save(keepNothing); err != nil {
			told = append(told, err)
		}
		w.Close()
		var wrong *SpecError
		if len(told) != 1 || !errors.As(told[0], &wrong) || wrong.Field != "SaveTo" ||
			!errors.Is(told[0], syscall.ENOSPC) {
			t.Errorf("%d requests: %v", requests, told)
		}
	}
}

func TestLearnMakesPromptsExact(t *testing.T) {
	qwen := openQwen(t)
	server := &fakeServer{count: qwen.Encode, shape: "vllm", usage: true}
	spec := synthetic(300, 4)
	w := mustOpen(t, spec)
	if warning, err := w.Learn(t.Context(), server.post); warning != "" || err != nil {
		t.Fatal(warning, err)
	}
	for _, r := range take(t, w, 0, 10) {
		if n := qwen.Count(bodyText(t, r.Body)); n != 300 {
			t.Errorf("a prompt has %d tokens", n)
		}
	}
	stage := &loadgen.Measured{Records: []loadgen.Record{
		{AskedPrompt: 300, PromptTokens: 309}, {AskedPrompt: 300, PromptTokens: 309},
		{AskedPrompt: 300, PromptTokens: 303},
	}}
	text, err := json.Marshal(w.Summary([]*loadgen.Measured{stage}))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"tokenizer":"auto","prompt_seed":0,"learned":{"method":"tokenize","words":%d,`+
		`"tokens_per_word":1,"template_tokens":-1,"checked_prompts":2,"length_error":0},`+
		`"prompts_by_usage":{"requests":3,"exact":2,"template_tokens":9,"error":0.02}}`, len(w.words.Words))
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	var read Summary
	if err := json.Unmarshal(text, &read); err != nil ||
		!reflect.DeepEqual(read, w.Summary([]*loadgen.Measured{stage})) {
		t.Errorf("read back as %+v, %v", read, err)
	}
	warnings := w.Warnings([]*loadgen.Measured{stage})
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "1 of 3 prompts were not as long as asked") {
		t.Error(warnings)
	}

	spec.Tokenizer, spec.Seed = "none", 7
	plain := mustOpen(t, spec)
	if warning, err := plain.Learn(t.Context(), nil); warning != "" || err != nil {
		t.Error("who asked for no tokenizer asks no server:", warning, err)
	}
	text, err = json.Marshal(plain.Summary([]*loadgen.Measured{stage}))
	if err != nil || string(text) != `{"tokenizer":"none",`+
		`"prompt_seed":7}` {
		t.Errorf("%s", text)
	}
}

func TestLearnWarns(t *testing.T) {
	w := mustOpen(t, synthetic(300, 4))
	warning, err := w.Learn(t.Context(), (&fakeServer{status: 404}).post)
	want := "the endpoint does not say how it counts tokens, so prompts have the asked length by o200k_base only: " +
		"POST /v1/chat/completions: status 404, where 200 and usage.prompt_tokens were expected: " +
		`{"error":"as told"}`
	if warning != want || err != nil {
		t.Errorf("%s, %v", warning, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := w.Learn(ctx, (&fakeServer{status: 404}).post); err != stop {
		t.Error(err)
	}
}

// Stages of one long prompt each hold little, while they run and afterwards, also for who keeps their sources.
func TestStagesOfOneRequestHoldLittle(t *testing.T) {
	const stages, most = 26, 50 << 20 // of 200 MB that the whole program may take
	server := newReceived(t)
	client, err := loadgen.NewClient(loadgen.Target{URL: server.server.URL + ChatCompletions.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	w, err := Open(synthetic(4000, 2), "")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	runner := &loadgen.Runner{Client: client}
	var kept []loadgen.Source
	var results []*loadgen.Measured
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapInuse)
	}
	before := heap() // tokenizers of other tests
	for i := range stages {
		next, release, err := w.Source(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		stage := loadgen.Stage{
			Load: loadgen.Load{Kind: loadgen.Concurrent, Streams: 1}, MaxRequests: 1, KeepDetails: true, KeepTexts: 1,
		}
		m, err := runner.Run(t.Context(), stage, loadgen.Hooks{Source: next})
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Records) != 1 || m.Records[0].Status != loadgen.Completed {
			t.Fatalf("%+v", m.Records)
		}
		if used := heap() - before; used > most {
			t.Fatalf("%d MiB are in use in stage %d", used>>20, i)
		}
		w.Sent(len(m.Records))
		release()
		kept, results = append(kept, next), append(results, m)
	}
	used := heap() - before
	if used > most {
		t.Errorf("%d MiB are in use after %d stages", used>>20, stages)
	}
	t.Logf("%d MiB after %d stages", used>>20, stages)
	runtime.KeepAlive(kept)
	runtime.KeepAlive(results)
}
