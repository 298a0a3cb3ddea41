package tokens

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const mooncake = `{"timestamp": 1000, "input_length": 1100, "output_length": 500, "hash_ids": [46, 47, 48]}
{"timestamp": 1500.5, "input_length": 1024, "output_length": 0, "hash_ids": [46, 47]}

{"timestamp": 1000, "input_length": 700, "output_length": 8, "hash_ids": [46]}
{"timestamp": 4000, "input_length": 3, "output_length": 8}
{"timestamp": 5000, "input_length": 5, "output_length": 8, "hash_ids": [46, 99, 100]}
`

func TestMooncakeTrace(t *testing.T) {
	o200k := open(t, "o200k_base")
	for _, name := range []string{"trace.jsonl", "trace.jsonl.gz"} {
		trace, err := readTrace(TraceSpec{File: write(t, name, mooncake), Speed: 2, BlockTokens: 512})
		if err != nil {
			t.Fatal(err)
		}
		s := traceSynth(t)
		if offsets := trace.offsets(); !slices.Equal(offsets,
			[]time.Duration{0, 0, 250*time.Millisecond + 250*time.Microsecond, 1500 * time.Millisecond,
				2 * time.Second}) {
			t.Error(offsets)
		}
		items := all(t, trace.source(s, TraceSpec{}))
		if len(items) != 5 {
			t.Fatal(len(items))
		}
		for i, want := range [][2]int{{1100, 500}, {700, 8}, {1024, 1}, {3, 8}, {5, 8}} {
			it := items[i]
			if it.PromptTokens != want[0] || it.OutputTokens != want[1] || it.Index != i {
				t.Errorf("request %d: item of %d and %d tokens, want %v", i, it.PromptTokens, it.OutputTokens, want)
			}
			if got := o200k.Count(it.PromptText); got != want[0] {
				t.Errorf("prompt %d has %d tokens, want %d", i, got, want[0])
			}
		}
		shared := func(a, b int) int {
			x, y := strings.Fields(items[a].PromptText), strings.Fields(items[b].PromptText)
			n := 0
			for n < min(len(x), len(y)) && x[n] == y[n] {
				n++
			}
			return n
		}
		for _, c := range [][3]int{{0, 1, 512}, {0, 2, 1024}, {1, 2, 512}, {0, 3, 0}, {0, 4, 5}} {
			if got := shared(c[0], c[1]); got != c[2] {
				t.Errorf("prompts %d and %d share %d tokens, want %d", c[0], c[1], got, c[2])
			}
		}
		// Its items are pure functions of the index, too.
		if it, _ := trace.source(s, TraceSpec{})(2); it.PromptText != items[2].PromptText {
			t.Error("the text depends on the order")
		}
	}
	small, err := readTrace(TraceSpec{File: write(t, "t.jsonl", mooncake), Requests: 2})
	if err != nil {
		t.Fatal(err)
	}
	small.form.block = 16
	first, _ := small.source(traceSynth(t), TraceSpec{})(0)
	// The second of the file: the requests are chosen before they are sorted.
	second, _ := small.source(traceSynth(t), TraceSpec{})(1)
	a, b := strings.Fields(first.PromptText), strings.Fields(second.PromptText)
	if len(small.requests) != 2 || len(a) != 1100 || !slices.Equal(a[:32], b[:32]) || a[32] == b[32] {
		t.Error(len(small.requests), len(a), a[30:34], b[30:34])
	}
}

// traceSynth makes the texts of a trace.
func traceSynth(t testing.TB) *Synth {
	t.Helper()
	s, err := NewSynth(SynthConfig{Prompt: Length{Mean: 1}, Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAzureTrace(t *testing.T) {
	for name, file := range map[string]string{
		"2023.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:" +
			"15:50.9951690,396,109\n",
		"2024.csv.gz": "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2024-05-10 00:00:00.009930+00:00,374,44\r\n" +
			"2024-05-10 01:00:04.324509+01:00,396,109\r\n",
	} {
		trace, err := readTrace(TraceSpec{File: write(t, name, file)})
		if err != nil {
			t.Fatal(err)
		}
		if got := trace.offsets(); !slices.Equal(got, []time.Duration{0, 4314579 * time.Microsecond}) {
			t.Error(name, got)
		}
		items := all(t, trace.source(traceSynth(t), TraceSpec{}))
		if len(items) != 2 || words(items[1].PromptText) != 396 || items[1].OutputTokens != 109 ||
			strings.Fields(items[0].PromptText)[0] == strings.Fields(items[1].PromptText)[0] {
			t.Errorf("%s: %+v", name, items)
		}
	}
}

func TestBadTraces(t *testing.T) {
	const good = `{"timestamp":1,"input_length":1,"output_length":1}` + "\n"
	for _, c := range []struct{ name, file, want string }{
		{"t.jsonl", good + `{"timestamp":1,"input_length":0,"output_length":1}`,
			"" /* left out */},
		{"t.jsonl", `{"timestamp":1,"input_length":0,"output_length":1}`, "none of its 1 requests has any input"},
		{"t.jsonl", good + `{"timestamp":1,"input_length":-1,"output_length":1}`,
			"t.jsonl:2: input_length: it is -1; want a whole number from 0"},
		{"t.jsonl", good + `{"timestamp":1,"input_length":99999999999,"output_length":1}`, "t.jsonl:2: input_length"},
		{"t.jsonl", good + `{"timestamp":1,"input_length":1}`, "t.jsonl:2: output_length is missing"},
		{"t.jsonl", good + `{"timestamp":"soon","input_length":1,"output_length":1}`, "t.jsonl:2: timestamp"},
		{"t.jsonl", good + `{"timestamp":1e300,"input_length":1,"output_length":1}`, "t.jsonl:2: timestamp"},
		{"t.jsonl", good + `{"timestamp":1,"input_length":1,"output_length":1,"hash_ids":[1.5]}`,
			"t.jsonl:2: hash_ids"},
		{"t.jsonl", `{"prompt":"x"}`, "t.jsonl:1: want timestamp, input_length and output_length (Mooncake, "},
		{"t.jsonl", good + "{", "t.jsonl:2:"},
		{"t.jsonl", "", "it holds no requests"},
		{"t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n", "it holds no requests"},
		{"t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n", `t.csv:2: TIMESTAMP: it is "yesterday"`},
		{"t.csv", "TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,1\n", "t.csv:2: GeneratedTokens is missing"},
		{"t.xml", "", "not a kind of data that is read"},
	} {
		_, err := readTrace(TraceSpec{File: write(t, c.name, c.file)})
		if c.want == "" && err == nil {
			continue
		}
		if err == nil || c.want == "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.file, err, c.want)
		}
	}
	later := strings.Replace(good, "1", "2", 1)
	slow := TraceSpec{File: write(t, "t.jsonl", good+later), Speed: 1e-300}
	if _, err := readTrace(slow); err == nil || !strings.Contains(err.Error(), "lasts more than a hundred years") {
		t.Error(err)
	}
	if _, err := readTrace(TraceSpec{File: "none.jsonl"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := readTrace(TraceSpec{File: "none.jsonl", Speed: -1}); err == nil ||
		!strings.Contains(err.Error(), "speed -1") {
		t.Error(err)
	}
}

func FuzzTrace(f *testing.F) {
	f.Add([]byte(mooncake))
	f.Add([]byte(`{"TIMESTAMP":"x"}{"timestamp":-1e12,"input_length":2,"output_length":1,"hash_ids":[-1,` +
		`9223372036854775807]}`))
	f.Add([]byte(`{"timestamp":0.5,"input_length":33,"output_length":1,"hash_ids":[1,2,3],"chat_id":1,` +
		`"parent_chat_id":0}{"timestamp":1.5,"input_length":17,"output_length":0,"hash_ids":[1,4]}`))
	f.Add([]byte(`{"Timestamp":5,"Request tokens":3,"Response tokens":0}{"Timestamp":1,"Request tokens":0,` +
		`"Response tokens":1}`))
	f.Add([]byte(`{"timestamp":5,"input_length":3,"output_length":1,"session_id":"a","turn":2}{"delay":7.5,` +
		`"input_length":3,"output_length":0,"session_id":"a"}{"timestamp":1,"latency_ms":3,"input_length":3,` +
		`"output_length":1,"session_id":"a","turn":1}`))
	for _, name := range []string{"weka.jsonl", "otel.json", "messages.jsonl"} {
		data, err := os.ReadFile(filepath.Join("testdata", "traces", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"spans":[{"span_id":"a","parent_span_id":"a","name":"chat","start_time":"2026-01-01 00:00:00"}]}`))
	f.Add([]byte(`{"id":"x","block_size":1,"requests":[{"t":5,"type":"subagent","requests":[{"t":0,"type":"n","in":3,` +
		`"hash_ids":[-1],"think_time":3}]},{"t":1,"type":"s","api_time":9,"out":2}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "t.jsonl")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		sessions := TraceSpec{File: path, Sessions: &SessionSpec{Recorded: true}, Speed: 0.5}
		if talks, err := readTrace(sessions); err == nil {
			first := talks.requests[0].offset
			for _, q := range talks.requests {
				for k, turn := range q.turns {
					for _, need := range turn.needs {
						if int(need) > k || need < 0 && len(turn.needs) > 1 {
							t.Fatalf("turn %d needs %v", k+1, turn.needs)
						}
					}
					if turn.think < 0 || turn.after < 0 || turn.think > 0 && turn.after > 0 || q.offset < first {
						t.Fatalf("%+v", q)
					}
				}
			}
			talks.notes(sessions)
			least := true // of everything in it
			talks.each(func(q *traceRequest) { least = least && q.input < 10_000 })
			if least && len(talks.requests[0].turns) < 10 {
				it, err := talks.source(traceSynth(t), sessions)(0)
				if err != nil {
					t.Fatal(err)
				}
				body, err := NewBody(BodyConfig{Model: "m"})
				if err != nil {
					t.Fatal(err)
				}
				for k, turn := range body.session(it).Turns {
					sent := slices.Concat(turn.Head, turn.Messages, turn.Tail)
					if !json.Valid(sent) {
						t.Fatalf("turn %d is %s", k, sent)
					}
				}
			}
		}
		trace, err := readTrace(TraceSpec{File: path})
		if err != nil {
			return
		}
		if notes := trace.notes(TraceSpec{File: path}); len(notes) == 0 || !strings.Contains(notes[0], "request") {
			t.Fatal(notes)
		}
		if n := trace.peak(); n < 1 || n > len(trace.requests) {
			t.Fatal("at most", n)
		}
		trace.form.block = 3
		source := trace.source(traceSynth(t), TraceSpec{})
		if offsets := trace.offsets(); !slices.IsSorted(offsets) || offsets[0] != 0 {
			t.Fatal(offsets)
		}
		for i := range min(len(trace.requests), 10) {
			in, out := trace.requests[i].input, trace.requests[i].output
			if in > 10_000 {
				continue
			}
			it, err := source(i)
			if len(trace.requests[i].messages) > 0 {
				if err != nil || !json.Valid(it.Messages) || it.PromptTokens != 0 {
					t.Fatalf("%+v, %v", it, err)
				}
				continue
			}
			if err != nil || words(it.PromptText) != in || it.OutputTokens != out || out < 1 {
				t.Fatalf("%d words for %d tokens, %v", words(it.PromptText), in, err)
			}
		}
		if _, err := source(len(trace.requests)); err != io.EOF {
			t.Fatal(err)
		}
	})
}

func FuzzAzureTime(f *testing.F) {
	f.Add("2023-11-16 18:15:46.6805900")
	f.Add("2024-05-10 00:00:00.009930+00:00")
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := azureTime(s); err == nil && time.Unix(0, int64(at)).UTC().Year() < 1899 {
			t.Fatal(s, at)
		}
		realNumber(json.RawMessage(s))
	})
}

func BenchmarkTracePrompt(b *testing.B) { // of 8,192 tokens in 16 blocks
	path := write(b, "t.jsonl", `{"timestamp":0,"input_length":8192,"output_length":1,"hash_ids":[1,2,3,4,5,6,7,8,`+
		`9,10,11,12,13,14,15,16]}`)
	trace, err := readTrace(TraceSpec{File: path})
	if err != nil {
		b.Fatal(err)
	}
	source := trace.source(traceSynth(b), TraceSpec{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := source(0); err != nil {
			b.Fatal(err)
		}
	}
}
