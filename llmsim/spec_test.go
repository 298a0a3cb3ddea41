package llmsim

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseSpec(t *testing.T) {
	c, err := ParseSpec(
		"l4-qwen2.5-0.5b?max_num_seqs=64&time_scale=0.1&seed=7&output=pareto:100:1.2&" +
			"fault=stall=2s@5&fault_every=10&model=a%2Fb&prefix_caching=true")
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxNumSeqs != 64 || c.TimeScale != 0.1 || c.Seed != 7 || c.Model != "a/b" || c.FaultEvery != 10 ||
		!c.PrefixCaching ||
		c.Output != (OutputLengths{LengthPareto, 100, 1.2}) ||
		c.Fault != (Fault{StallAt: 5, Stall: 2 * time.Second}) ||
		c.Base != 5430*time.Microsecond {
		t.Errorf("got %+v", c)
	}
	if _, err := ParseSpec("fast?kv_cache_tokens=5000"); err != nil {
		t.Errorf("a smaller cache alone: %v", err)
	}
}

func TestParseSpecSaysWhatIsWrong(t *testing.T) {
	for spec, words := range map[string][]string{
		"":                            {`there is no preset ""`, "presets are", "l4-qwen2.5-0.5b"},
		"l5":                          {`"l5"`, "presets are", "few-sequences"},
		"fast?seqs=4":                 {`no parameter "seqs"`, "parameters are", "max_num_seqs"},
		"fast?max_num_seqs=four":      {"max_num_seqs", `"four"`, "whole number"},
		"fast?max_num_seqs=0":         {"max_num_seqs", "must not be 0"},
		"fast?max_num_seqs=-4":        {"max_num_seqs is -4"},
		"fast?base=5":                 {"base", `"5"`, "duration"},
		"fast?base=-5ms":              {"base is -5ms"},
		"fast?seed=1&seed=2":          {"seed is given 2 times"},
		"fast?time_scale=0":           {"time_scale", "positive"},
		"fast?time_scale=NaN":         {"time_scale", "positive"},
		"fast?output=zipf:3":          {"output", `"zipf"`, "exponential"},
		"fast?output=pareto:10:0.9":   {"tail index 0.9"},
		"fast?fault=melt":             {"fault", `"melt"`, "stall=D@K"},
		"fast?max_model_len=99999999": {"max_model_len", "KV cache"},
		"fast?%zz=1":                  {"bad parameters"},
		"fast?kv_cache_tokens=3":      {"less than one block"},
		"fast?spells=20s":             {"spells", `"20s"`, "20s:2s-5s:0.5"},
		"fast?spells=20s:-2s-5s:0.5":  {"spells", "shortest spell", `""`},
		"fast?spells=20s:5s-2s:0.5":   {"spells", "5s to 2s"},
		"fast?spells=0s:2s-5s:0.5":    {"spells", "between them is 0s"},
		"fast?spells=20s:2s-5s:0":     {"spells", `"0"`, "speed in a spell"},
		"fast?spells=20s:2s-5s:1.5":   {"spells", "speed is 1.5", "between 0.01 and 1"},
		"fast?spells=20s:x-5s:0.5":    {"spells", `"x"`, "duration"},
		"fast?drift=-0.1":             {"drift", `"-0.1"`, "-0.1:6m"},
		"fast?drift=-0.1:0s":          {"drift", "horizon is 0s"},
		"fast?drift=2:6m":             {"drift", "change is 2"},
		"fast?drift=NaN:6m":           {"drift", `"NaN"`, "number"},
		"fast?wander=0.05:60":         {"wander", `"60"`, "duration"},
		"fast?wander=-0.05:60s":       {"wander", "deviation is -0.05"},
		"fast?wander=5%25:60s":        {"wander", `"5%"`, "number"},
		"fast?modes=0.6:30s:1":        {"modes", "0.6:30s"},
		"fast?modes=0.6:25h":          {"modes", "24h"},
		"fixed?modes=0.6:30s":         {"modes", "fixed timing"},
	} {
		_, err := ParseSpec(spec)
		var se *SpecError
		if !errors.As(err, &se) {
			t.Errorf("%q: error %v is no SpecError", spec, err)
			continue
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %q does not say %q", spec, err, w)
			}
		}
	}
}

func TestPresetsAreValid(t *testing.T) {
	for _, name := range Presets() {
		c, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.normalized(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.Name != name {
			t.Errorf("%s is called %q", name, c.Name)
		}
	}
}

// The owner of a study needs engines from half a request a second to two hundred.
func TestPresetsSpanTheRange(t *testing.T) {
	low, high := math.Inf(1), 0.0
	for _, name := range Presets() {
		c, _ := Preset(name)
		if rate := c.Capacity(264, 128); !c.Fixed {
			low, high = math.Min(low, rate), math.Max(high, rate)
		}
	}
	if low > 0.55 || high < 200 {
		t.Errorf("capacities reach from %.2f to %.0f req/s", low, high)
	}
}

func TestTimeScale(t *testing.T) {
	c, err := ParseSpec("l4-qwen2.5-0.5b?time_scale=0.1")
	if err != nil {
		t.Fatal(err)
	}
	once, err := c.normalized()
	if err != nil {
		t.Fatal(err)
	}
	if once.Base != 543*time.Microsecond || once.TimeScale != 1 {
		t.Errorf("base %v at scale %v", once.Base, once.TimeScale)
	}
	full, _ := Preset("l4-qwen2.5-0.5b")
	if got, want := c.Capacity(264, 128), 10*full.Capacity(264, 128); math.Abs(got/want-1) > 1e-9 {
		t.Errorf("ten times as fast serves %v, not %v", got, want)
	}
}

func TestZeroConfigWorks(t *testing.T) {
	e, err := NewEngine(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Submit(&Sequence{Prompt: 5, Output: 2}); err != nil {
		t.Fatal(err)
	}
	if st := e.Step(); len(st.Tokens) != 1 || st.Duration != 0 {
		t.Errorf("first step %+v", st)
	}
}

func TestOutputLengths(t *testing.T) {
	const n = 200_000
	for text, want := range map[string]struct{ mean, within float64 }{
		"fixed:64":         {64, 0},
		"exponential:128":  {128.5, 0.01}, // rounding up adds half a token
		"lognormal:128:1":  {128.5, 0.02},
		"pareto:128:3":     {128.5, 0.02},
		"lognormal:50:0.5": {50.5, 0.01},
	} {
		o, err := ParseOutputLengths(text)
		if err != nil {
			t.Fatal(err)
		}
		if o.String() != text {
			t.Errorf("%q reads back as %q", text, o)
		}
		sum := 0.0
		for i := range uint64(n) {
			tokens, stopped := o.Draw(1, i, 1_000_000)
			if tokens < 1 || !stopped {
				t.Fatalf("%s: drew %d, stopped %v", text, tokens, stopped)
			}
			sum += float64(tokens)
		}
		if mean := sum / n; math.Abs(mean/want.mean-1) > want.within {
			t.Errorf("%s: mean %.2f, want %.2f", text, mean, want.mean)
		}
		a, _ := o.Draw(1, 3, 1000)
		if b, _ := o.Draw(1, 3, 1000); a != b {
			t.Errorf("%s: the same request is %d tokens long, and %d", text, a, b)
		}
	}
	o := OutputLengths{Kind: LengthFixed, Mean: 100}
	if tokens, stopped := o.Draw(1, 1, 50); tokens != 50 || stopped {
		t.Errorf("cut off at 50: %d tokens, stopped %v", tokens, stopped)
	}
	if tokens, stopped := (OutputLengths{}).Draw(1, 1, 50); tokens != 50 || stopped {
		t.Errorf("max: %d tokens, stopped %v", tokens, stopped)
	}
}

func TestParseFault(t *testing.T) {
	for text, want := range map[string]Fault{
		"":                          {},
		"none":                      {},
		"status=503":                {Status: 503},
		"status=429,retry-after=2s": {Status: 429, RetryAfter: 2 * time.Second},
		"stall=2s@5":                {Stall: 2 * time.Second, StallAt: 5},
		" cut@7 , garbage@3":        {CutAt: 7, GarbageAt: 3},
		"error@4,slow-headers=1s":   {ErrorAt: 4, SlowHeaders: time.Second},
	} {
		got, err := ParseFault(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, word := range map[string]string{
		"status=200": "400 to 599", "status": "status=503", "status=503@2": "status=503",
		"stall=2s": "stall=2s@5", "stall=x@5": `"x"`,
		"stall=2s@0": `"0"`, "cut": "cut@7", "cut=3@7": "cut@7", "melt@3": "known are",
		"retry-after=1s": "needs a status", "error@": `""`, ",": "unknown",
		"slow-headers=-1s": "positive",
	} {
		if f, err := ParseFault(text); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %+v, error %v does not say %s", text, f, err, word)
		}
	}
}

func TestApproxTokens(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "hello there": 2, "Hello, world!": 4, "a b\tc\nd": 4, "internationalisation": 3, "12": 2, "naïve": 1,
	} {
		if got := approxTokens(text); got != want {
			t.Errorf("%q: %d tokens, want %d", text, got, want)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add("l4-qwen2.5-0.5b?max_num_seqs=64&time_scale=0.1")
	f.Add("fixed?ttft=1ms&itl=1us&fault=cut@3&output=pareto:2")
	f.Add("slow?kv_cache_tokens=17&block_size=16&max_model_len=16")
	f.Add("slow?spells=20s:2s-5s:0.5&drift=-0.1:6m&wander=0.05:60s&modes=0.6:30s")
	f.Fuzz(func(t *testing.T, spec string) {
		c, err := ParseSpec(spec)
		if err != nil {
			var se *SpecError
			if !errors.As(err, &se) {
				t.Fatalf("error %v is no SpecError", err)
			}
			return
		}
		e, err := NewEngine(c)
		if err != nil {
			t.Fatalf("a good spec makes no engine: %v", err)
		}
		if err := e.Submit(&Sequence{Prompt: 3, Output: 2}); err == nil {
			for range 10 {
				e.Step()
			}
		}
		again, err := ParseSpec("fast?" + c.Speed.String())
		if err != nil || again.Speed != c.Speed {
			t.Fatalf("speed %q reads back as %q, %v", c.Speed, again.Speed, err)
		}
		speed, err := NewSpeed(c.Speed, c.Seed)
		if err != nil {
			t.Fatalf("a good spec makes no speed: %v", err)
		}
		for at := time.Duration(0); at < 100*time.Second; at += 7 * time.Second {
			if v := speed.At(at); !(v >= lowestSpeed && v < 1e5) {
				t.Fatalf("speed %v at %v", v, at)
			}
		}
		if rate := c.Capacity(100, 10); math.IsNaN(rate) || rate <= 0 {
			t.Fatalf("capacity %v", rate)
		}
	})
}

func FuzzParseFault(f *testing.F) {
	f.Add("status=429,retry-after=2s,stall=2s@5,cut@7,garbage@3,error@4,slow-headers=1s")
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := ParseFault(text)
		if err != nil {
			return
		}
		again, err := ParseFault(fault.String())
		if err != nil || !reflect.DeepEqual(again, fault) {
			t.Fatalf("%q reads as %+v, written %q, read again as %+v, %v", text, fault, fault, again, err)
		}
	})
}
