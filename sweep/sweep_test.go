package sweep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/internal/memnet"
	"github.com/openloop/openloop/internal/race"
	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// bench is a simulated engine in virtual time with a plan to load it.
type bench struct {
	client *loadgen.Client
	*Plan
	config llmsim.Config
	server *llmsim.Server
	net    *memnet.Listener
}

// inBubble runs f in virtual time against the engine of a spec.
func inBubble(t *testing.T, spec string, prompt, output int, f func(t *testing.T, b *bench)) {
	t.Helper()
	config, err := llmsim.ParseSpec(spec)
	if err != nil {
		t.Fatal(err)
	}
	config.VirtualTime = true
	synth, err := tokens.NewSynth(tokens.SynthConfig{Prompt: tokens.Length{Mean: prompt},
		Output: tokens.Length{Mean: output}, Seed: 42})
	if err != nil {
		t.Fatal(err)
	}
	body, err := tokens.NewBody(tokens.BodyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	// Prompts are made once: what they say matters to nobody here.
	requests := make([]loadgen.Request, 64)
	for i := range requests {
		it := synth.Item(i)
		requests[i] = loadgen.Request{Body: body.Bytes(it), PromptTokens: int32(prompt), OutputTokens: int32(output)}
	}
	synctest.Test(t, func(t *testing.T) {
		server, err := llmsim.NewServer(config)
		if err != nil {
			t.Fatal(err)
		}
		wire := memnet.Listen()
		go server.Serve(wire)
		client, err := loadgen.NewClient(loadgen.Target{URL: "http://llmsim/v1/chat/completions", Dial: wire.Dial})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{config: config, server: server, net: wire, client: client, Plan: &Plan{
			Start: OnThisMachine(&loadgen.Runner{Client: client, VirtualTime: true}),
			Stage: loadgen.Stage{MaxDuration: 30 * time.Second, KeepDetails: true},
			Source: func(context.Context, int) (loadgen.Source, func(), error) {
				return func(i int) (loadgen.Request, error) { return requests[i%len(requests)], nil }, func() {}, nil
			},
			Pause: time.Second / 2,
		}}
		f(t, b)
		client.Close()
		wire.Close()
		server.Close()
		synctest.Wait()
	})
}

const templateTokens = 8 // what the simulated engine adds to a prompt

// manyTokens are the engines that make millions of tokens until a sweep of usual requests is done.
var manyTokens = []string{"fast", "wide", "l4-qwen2.5-0.5b", "prefill-bound"}

func TestSaturationIsNearCapacity(t *testing.T) {
	for _, c := range []struct {
		spec           string
		prompt, output int
	}{
		{"l4-qwen2.5-0.5b", 256, 128},
		{"l4-qwen2.5-0.5b", 256, 16},
		{"l4-qwen2.5-0.5b", 256, 1024},
		{"l4-qwen2.5-0.5b?max_num_seqs=64", 64, 256},
		{"few-sequences", 256, 128},
		{"few-sequences", 32, 1024},
		{"slow", 256, 128},
		{"slow", 256, 16},
		{"wide", 256, 128},
		{"fast", 256, 128},
		{"prefill-bound", 256, 128},
	} {
		t.Run(fmt.Sprintf("%s/%d-%d", c.spec, c.prompt, c.output), func(t *testing.T) {
			t.Parallel()
			if race.Enabled && slices.Contains(manyTokens, c.spec) && c.output > 16 {
				t.Skip("its millions of tokens take minutes under the race detector; other cases run the same code")
			}
			inBubble(t, c.spec, c.prompt, c.output, func(t *testing.T, b *bench) {
				start := time.Now()
				r, err := b.Sweep(t.Context(), spec.Sweep{Size: 2})
				if err != nil {
					t.Fatal(err)
				}
				want := b.config.Capacity(c.prompt+templateTokens, c.output)
				var steps strings.Builder
				for _, s := range r.Probe.Steps {
					fmt.Fprintf(&steps, " %d:%.3g", s.Streams, s.Rate)
				}
				t.Logf("capacity %.4g, found %.4g (%+.1f %%); probe %.4g with %d streams, in all %v;%s", want,
					r.SaturationRate,
					100*(r.SaturationRate/want-1), r.Probe.Rate, r.Probe.Streams, time.Since(start).Round(time.Second),
					steps.String())
				if ratio := r.SaturationRate / want; ratio < 0.9 || ratio > 1.1 {
					t.Errorf("saturation found at %.4g req/s, the capacity is %.4g", r.SaturationRate, want)
				}
			})
		})
	}
}

func TestSweepRises(t *testing.T) {
	inBubble(t, "few-sequences", 64, 32, func(t *testing.T, b *bench) {
		b.Stage.MaxDuration = 10 * time.Second
		r, err := b.Sweep(t.Context(), spec.Sweep{Size: 6, Arrival: loadgen.Arrival{Kind: loadgen.PoissonArrival},
			Seed: 7})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Stages) != 6 {
			t.Fatalf("%d stages, want 6", len(r.Stages))
		}
		last := r.SynchronousRate
		for _, l := range r.Stages[2:] {
			if l.Load.Kind != loadgen.PoissonGaps || l.Load.Seed != 7 {
				t.Errorf("stage %s, seed %d", l.Load, l.Load.Seed)
			}
			if l.Load.Rate <= last {
				t.Errorf("rate %v after %v does not rise", l.Load.Rate, last)
			}
			last = l.Load.Rate
		}
		if last != r.SaturationRate {
			t.Errorf("the last rate is %v, the saturation %v", last, r.SaturationRate)
		}
	})
}

func TestSweepOfOneSequence(t *testing.T) {
	inBubble(t, "few-sequences?max_num_seqs=1", 64, 32, func(t *testing.T, b *bench) {
		b.Stage.MaxDuration = 10 * time.Second
		r, err := b.Sweep(t.Context(), spec.Sweep{Size: 5})
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(r.Rates); i++ {
			if r.Rates[i] <= r.Rates[i-1] {
				t.Errorf("rates %v do not rise", r.Rates)
			}
		}
		if len(r.Warnings) == 0 {
			t.Error("no warning that one stream is all that the server sustains")
		}
	})
}

// A server that dies in the middle leaves the stages that were measured.
func TestSweepKeepsWhatWasMeasured(t *testing.T) {
	inBubble(t, "few-sequences", 64, 32, func(t *testing.T, b *bench) {
		b.Stage.MaxDuration = 10 * time.Second
		b.StageEnded = func(i int, _ *Stage) {
			if i == 2 {
				b.net.Close()
				b.server.Close()
			}
		}
		r, err := b.Sweep(t.Context(), spec.Sweep{Size: 8})
		if !errors.Is(err, ErrServerGone) && !errors.Is(err, ErrNothingSucceeded) {
			t.Errorf("error %v, want that the server is gone", err)
		}
		if len(r.Stages) != 4 {
			t.Errorf("%d stages kept, want the 3 measured ones and the one that failed", len(r.Stages))
		}
	})
}

func TestSweepStopsWhenInterrupted(t *testing.T) {
	inBubble(t, "few-sequences", 64, 32, func(t *testing.T, b *bench) {
		why := errors.New("Ctrl-C")
		ctx, cancel := context.WithCancelCause(t.Context())
		b.StageStarted = func(i int, _ loadgen.Load, _ loadgen.Running) {
			if i == 1 {
				time.AfterFunc(3*time.Second, func() { cancel(why) })
			}
		}
		r, err := b.Sweep(ctx, spec.Sweep{Size: 8})
		if !errors.Is(err, why) {
			t.Errorf("error %v, want the cause of the interruption", err)
		}
		if len(r.Stages) != 2 || r.Stages[1].Reason != loadgen.StopInterrupted {
			t.Fatalf("%d stages", len(r.Stages))
		}
		if got := time.Duration(r.Stages[1].Stopped - r.Stages[1].Start); got != 3*time.Second {
			t.Errorf("the stage ran %v, want 3s", got)
		}
	})
}

func TestStageWithoutSuccessStops(t *testing.T) {
	inBubble(t, "few-sequences", 64, 32, func(t *testing.T, b *bench) {
		b.Source = func(context.Context, int) (loadgen.Source, func(), error) {
			return func(int) (loadgen.Request, error) { return loadgen.Request{Body: []byte("{")}, nil }, func() {}, nil
		}
		b.Stage.MaxDuration = 5 * time.Second
		r, err := b.Run(t.Context(), []loadgen.Load{{Kind: loadgen.ConstantGap, Rate: 2},
			{Kind: loadgen.ConstantGap, Rate: 4}})
		if !errors.Is(err, ErrNothingSucceeded) || !strings.Contains(err.Error(), "HTTP 400") {
			t.Errorf("error %v, want that nothing succeeded, with an example", err)
		}
		if len(r.Stages) != 1 {
			t.Errorf("%d stages, want 1", len(r.Stages))
		}
	})
}

func TestSourceErrorEndsTheRun(t *testing.T) {
	inBubble(t, "few-sequences", 64, 32, func(t *testing.T, b *bench) {
		b.Source = func(context.Context, int) (loadgen.Source, func(), error) {
			return func(i int) (loadgen.Request, error) { return loadgen.Request{}, io.EOF }, func() {}, nil
		}
		if _, err := b.Run(t.Context(), []loadgen.Load{{Kind: loadgen.ConstantGap, Rate: 2}}); !errors.Is(err, io.EOF) {
			t.Errorf("error %v, want the source's", err)
		}
	})
}
