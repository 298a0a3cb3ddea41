package tokens

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/openloop/openloop/tokens/tokenizer"
	"github.com/openloop/openloop/tokens/tokenizer/tokenizertest"
)

func TestPromptsHaveTheirLengthExactly(t *testing.T) {
	o200k := open(t, "o200k_base")
	for _, n := range []int{1, 2, 3, 32, 256, 1500} {
		s, err := NewSynth(SynthConfig{Prompt: Length{Mean: n},
			Prefixes: []PrefixBucket{{Count: 2, Tokens: 16}, {Tokens: 0}}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			it := s.Item(i)
			if it.PromptTokens != n || o200k.Count(it.PromptText) != n {
				t.Errorf("prompt %d of %d tokens has %d", i, n, o200k.Count(it.PromptText))
			}
			if got := o200k.Count(it.PrefixText + it.PromptText); got != it.InputTokens() {
				t.Errorf("prefix and prompt %d of %d tokens have %d", i, it.InputTokens(), got)
			}
		}
	}
}

// opened holds tokenizers that all tests share: reading one takes long.
var opened sync.Map

func open(t testing.TB, name string) tokenizer.Tokenizer {
	t.Helper()
	read, _ := opened.LoadOrStore(name, sync.OnceValues(func() (tokenizer.Tokenizer,
		error) {
		return tokenizer.Open(name)
	}))
	found, err := read.(func() (tokenizer.Tokenizer, error))()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// openQwen opens the tokenizer of Qwen2.5, by which many of the embedded words are more than one token.
func openQwen(t testing.TB) tokenizer.Tokenizer {
	t.Helper()
	read, _ := opened.LoadOrStore("qwen2.5", sync.OnceValues(func() (tokenizer.Tokenizer, error) {
		path := filepath.Join(t.TempDir(), "tokenizer.json")
		if err := os.WriteFile(path, tokenizertest.JSON(t, "qwen2.5", "qwen2.5"), 0o600); err != nil {
			return nil, err
		}
		return tokenizer.Open(path)
	}))
	found, err := read.(func() (tokenizer.Tokenizer, error))()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPromptsFitATokenizer(t *testing.T) {
	qwen := openQwen(t)
	words, err := tokenizer.Fit(qwen)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 32, 256, 1500} {
		s, err := NewSynth(SynthConfig{Prompt: Length{Mean: n}, Words: words, Prefixes: []PrefixBucket{{Tokens: 7}}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			it := s.Item(i)
			if got := qwen.Count(it.PromptText); got != n {
				t.Errorf("prompt %d has %d tokens, want %d", i, got, n)
			}
			if got := qwen.Count(it.PrefixText + it.PromptText); got != n+7 {
				t.Errorf("prefix and prompt %d have %d tokens, want %d", i, got, n+7)
			}
		}
	}
}

func TestPromptsAreUniqueFromTheirStart(t *testing.T) {
	s, err := NewSynth(SynthConfig{Prompt: Length{Mean: 3}, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	firsts, starts := map[string]int{}, map[string]bool{}
	for i := range 10_000 {
		words := strings.Fields(s.Item(i).PromptText)
		if before, seen := firsts[words[0]]; seen && i-before < 2048 {
			t.Fatalf("prompts %d and %d start with %q", before, i, words[0])
		}
		firsts[words[0]] = i
		starts[words[0]+" "+words[1]] = true
	}
	if len(starts) != 10_000 {
		t.Errorf("10,000 prompts have %d different first two words", len(starts))
	}
	// Beyond 2048² prompts the third word tells them apart.
	first, second := s.Item(5), s.Item(5+2048*2048)
	a, b := strings.Fields(first.PromptText), strings.Fields(second.PromptText)
	if a[0] != b[0] || a[1] != b[1] || a[2] == b[2] {
		t.Errorf("%q and %q", a, b)
	}
}

func TestItemsDependOnSeedAndIndexAlone(t *testing.T) {
	cfg := SynthConfig{Prompt: Length{Mean: 32, Stdev: 8}, Output: Length{Mean: 16, Min: 4, Max: 40}, Seed: 42,
		Prefixes: []PrefixBucket{{Weight: 75, Count: 2, Tokens: 16}, {Weight: 25, Tokens: 32}}}
	one, _ := NewSynth(cfg)
	two, _ := NewSynth(cfg)
	want := make([]Item, 200)
	for i := range want {
		want[i] = one.Item(i)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := len(want) - 1; i >= 0; i-- {
				if j := (i + w*50) % len(want); !reflect.DeepEqual(two.Item(j), want[j]) {
					t.Errorf("item %d differs", j)
				}
			}
		})
	}
	wg.Wait()
	// The texts of a seed are part of what openloop promises: change them only knowingly.
	if got := fmt.Sprint(want[0].PromptTokens, want[0].OutputTokens,
		strings.Fields(want[0].PromptText)[:6]); got != goldenItem {
		t.Errorf("item 0 of seed 42 is %s, was %s", got, goldenItem)
	}
	cfg.Seed = 43
	other, _ := NewSynth(cfg)
	if other.Item(0).PromptText == want[0].PromptText {
		t.Error("another seed gives the same text")
	}
}

const goldenItem = "29 17 [sphere growth require committee raise mother]"

func TestLengths(t *testing.T) {
	for _, c := range []struct {
		l              Length
		low, high      int
		mean, stdev    float64
		withinM, withS float64
	}{
		{Length{Mean: 256}, 256, 256, 256, 0, 0, 0},
		{Length{Mean: 256, Stdev: 20}, 156, 356, 256, 20, 1, 1},
		{Length{Mean: 10, Stdev: 20}, 1, 110, 15.2, 14.3, 1, 1}, // cut off at 1
		{Length{Mean: 256, Min: 100, Max: 200}, 100, 200, 150, 29.2, 1, 1},
		{Length{Mean: 100, Stdev: 50, Min: 90, Max: 110}, 90, 110, 100, 9.3, 0.5, 0.5},
		{Length{Mean: 256, Max: 300}, 256, 300, 278, 13, 1, 1},
		{Length{Mean: 256, Min: 7, Max: 7}, 7, 7, 7, 0, 0, 0},
	} {
		s, err := NewSynth(SynthConfig{Prompt: Length{Mean: 1}, Output: c.l, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		var sum, squares float64
		const n = 20_000
		for i := range n {
			x := float64(s.Item(i).OutputTokens)
			if x < float64(c.low) || x > float64(c.high) {
				t.Fatalf("%+v gives %v", c.l, x)
			}
			sum, squares = sum+x, squares+x*x
		}
		mean := sum / n
		stdev := math.Sqrt(squares/n - mean*mean)
		if math.Abs(mean-c.mean) > c.withinM || math.Abs(stdev-c.stdev) > c.withS {
			t.Errorf("%+v: mean %.2f stdev %.2f, want %.2f and %.2f", c.l, mean, stdev, c.mean, c.stdev)
		}
	}
}

func TestPrefixShares(t *testing.T) {
	s, err := NewSynth(SynthConfig{Prompt: Length{Mean: 4},
		Prefixes: []PrefixBucket{{Weight: 75, Count: 2, Tokens: 16}, {Weight: 25, Count: 1, Tokens: 8}}})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for i := range 20_000 {
		counts[s.Item(i).PrefixText]++
	}
	if len(counts) != 3 {
		t.Fatalf("%d prefixes", len(counts))
	}
	for prefix, n := range counts {
		want := 7500
		if len(strings.Fields(prefix)) == 8 {
			want = 5000
		}
		if math.Abs(float64(n-want)) > 300 {
			t.Errorf("the prefix of %d tokens was used %d times, want about %d", len(strings.Fields(prefix)), n, want)
		}
	}
}

func TestSynthRefuses(t *testing.T) {
	for _, c := range []struct {
		cfg  SynthConfig
		want string
	}{
		{SynthConfig{}, "synthetic prompts need a length: a mean of at least 1 token"},
		{SynthConfig{Prompt: Length{Mean: -1}}, "negative"},
		{SynthConfig{Prompt: Length{Mean: 1 << 40}}, "above 16777216"},
		{SynthConfig{Prompt: Length{Mean: 10, Min: 20, Max: 15}}, "above the greatest"},
		{SynthConfig{Prompt: Length{Mean: 10}, Output: Length{Mean: 10, Max: 5}}, "above the greatest 5"},
		{SynthConfig{Prompt: Length{Mean: 10}, Prefixes: []PrefixBucket{{Tokens: -1}}}, "prefix bucket 0"},
		{SynthConfig{Prompt: Length{Mean: 10}, Prefixes: []PrefixBucket{{Count: 1e6, Tokens: 1e6}}}, "too much"},
		{SynthConfig{Prompt: Length{Mean: 10}, Words: tokenizer.Vocabulary{Ruler: "x", Words: []string{"a"}}},
			"only 1 of the known words"},
	} {
		if _, err := NewSynth(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
}

func BenchmarkPrompt256(b *testing.B) {
	s, err := NewSynth(SynthConfig{Prompt: Length{Mean: 256}, Output: Length{Mean: 128}})
	if err != nil {
		b.Fatal(err)
	}
	body, err := NewBody(BodyConfig{Model: "m"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if it := s.Item(i); len(body.Bytes(it)) == 0 {
			b.Fatal("empty")
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "prompts/s")
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		s, err := NewSynth(SynthConfig{Prompt: Length{Mean: 256}})
		if err != nil {
			b.Fatal(err)
		}
		s.Item(0)
	}
}
