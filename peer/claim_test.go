package peer

import (
	"bytes"
	"compress/gzip"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openloop/openloop/internal/num"
)

func testFile(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The samples are parts of reports that the tools wrote; the values are those that stand in them.
func TestReadClaims(t *testing.T) {
	none := num.Absent()
	for _, c := range []struct {
		file, tool, name, arrivals string
		asked, rate                num.Value
		sent, completed, errored   num.Value
		ttft50, ttft99             num.Value
		itl, itl99                 num.Value
		prompt, output             num.Value
		window                     bool
	}{
		{
			"vllm.json", "vllm bench serve", "poisson@20", "poisson", 20, 19.646, 120, 120, 0,
			32.789, 99.262, 4.2795, 22.137, 72.075, 16, false,
		},
		{
			"vllm-bench.json", "vllm-bench", "all at once", "", none, 41.5, 3, 2, 1,
			31, none, none, none, 65, 16, false,
		},
		{
			"aiperf.json", "AIPerf 0.13.0", "poisson@20", "poisson", 20, 19.501, 119, 119, 0,
			35.489, 270.74, 3.8386, 13.462, 64, 21.538, false,
		},
		{
			"aiperf.jsonl", "AIPerf", "profiling", "", none, 19.257, 5, 5, 0,
			32.134, 45.992, 4.9633, 7.366, 64, 21.2, true,
		},
		{
			"guidellm1.json", "GuideLLM 0.5.0", "poisson@20", "poisson", 20, 24.93, 302, 301, 0,
			84.98, 962.2, 5.294, 37.9, 72, 16, true,
		},
		{
			"guidellm2.json", "GuideLLM 0.8.1", "constant@20", "constant", 20, 19.833, 240, 238, 0,
			31.265, 75.346, 4.9342, 6.0567, 72, 16, true,
		},
	} {
		claim, err := Read(testFile(t, c.file))
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if claim.Tool != c.tool || len(claim.Stages) != 1 {
			t.Errorf("%s: %d stages of %q, want one of %q", c.file, len(claim.Stages), claim.Tool, c.tool)
			continue
		}
		s := claim.Stages[0]
		if s.Name != c.name || s.Arrivals != c.arrivals || s.Began.IsZero() == c.window {
			t.Errorf("%s: stage %q, arrivals %q, from %v to %v", c.file, s.Name, s.Arrivals, s.Began, s.Ended)
		}
		for _, v := range []struct {
			name      string
			got, want num.Value
		}{
			{"asked", s.Asked, c.asked}, {"rate", s.Rate, c.rate}, {"sent", s.Sent, c.sent},
			{"completed", s.Completed, c.completed}, {"errored", s.Errored, c.errored},
			{"TTFT p50", s.TTFT50, c.ttft50}, {"TTFT p99", s.TTFT99, c.ttft99},
			{"ITL", s.ITLMean, c.itl}, {"ITL p99", s.ITL99, c.itl99},
			{"prompt", s.PromptTokens, c.prompt}, {"output", s.OutputTokens, c.output},
		} {
			if v.got.IsAbsent() != v.want.IsAbsent() || math.Abs(float64(v.got-v.want)) > 2e-3*float64(v.want) {
				t.Errorf("%s: %s is %v, want %v", c.file, v.name, v.got, v.want)
			}
		}
	}
}

func TestReadPackedAndUnknown(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(testFile(t, "guidellm1.json")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := Read(packed.Bytes()); err != nil || len(c.Stages) != 1 {
		t.Errorf("a packed report: %v", err)
	}
	for _, text := range []string{`{}`, `{"stages":[]}`, `{"request_throughput":{}}`, `{"request_throughput":3}`} {
		if _, err := Read([]byte(text)); !errors.Is(err, errUnknown) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", "hello", `{"benchmarks":`, "\x1f\x8b"} {
		if _, err := Read([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestQuoteNaN(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":NaN,"b":-Infinity,"c":[Infinity]}`: `{"a":null,"b":null,"c":[null]}`,
		`{"NaN":"a \"NaN\" \\","b":NaN}`:         `{"NaN":"a \"NaN\" \\","b":null}`,
		`{"a":1}`:                                `{"a":1}`,
	} {
		if got := string(quoteNaN([]byte(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// checkClaim holds what must be so of every report that is read.
func checkClaim(t *testing.T, c *Claim) {
	for _, s := range c.Stages {
		if s.Ended.Before(s.Began) && !s.Ended.IsZero() && c.format == formatRecords {
			t.Errorf("a stage ends at %v, before it begins at %v", s.Ended, s.Began)
		}
		// Whatever stands in a report, it can be compared and shown.
		a := Audit{Stages: []Stage{{Name: s.Name, Claim: &s, Lines: stageLines(&s, see(nil, map[string]bool{}))}}}
		for _, format := range Formats() {
			var b strings.Builder
			if err := a.Write(&b, format); err != nil {
				t.Errorf("%s: %v", format, err)
			}
			if format != "json" && strings.ContainsAny(b.String(), "\x1b\x00") {
				t.Errorf("%s shows a control character: %q", format, b.String())
			}
		}
	}
}

func fuzzReader(f *testing.F, read func([]byte) (*Claim, error), samples ...string) {
	for _, name := range samples {
		f.Add(testFile(f, name))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := read(text); err == nil {
			checkClaim(t, c)
		} else if c != nil {
			t.Errorf("a claim beside the error %v", err)
		}
	})
}

func FuzzVLLM(f *testing.F)          { fuzzReader(f, readVLLM, "vllm.json", "vllm-bench.json") }
func FuzzAIPerf(f *testing.F)        { fuzzReader(f, readAIPerf, "aiperf.json") }
func FuzzAIPerfRecords(f *testing.F) { fuzzReader(f, readAIPerfRecords, "aiperf.jsonl") }
func FuzzGuideLLM(f *testing.F)      { fuzzReader(f, readGuideLLM, "guidellm1.json", "guidellm2.json") }

func FuzzRead(f *testing.F) {
	fuzzReader(f, Read, "vllm.json", "aiperf.json", "aiperf.jsonl", "guidellm1.json")
}
