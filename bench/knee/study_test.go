package knee

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gonum.org/v1/gonum/mathext"

	"github.com/openloop/openloop/internal/memnet"
	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

// body is a request of an exact prompt length by llmsim's count: words of one token, and what the chat template adds.
func (e engine) body() loadgen.Request {
	words := strings.TrimSpace(strings.Repeat("word ", e.prompt-llmsim.DefaultTemplateTokens))
	text := fmt.Sprintf(`{"model":"llmsim","stream":true,"stream_options":{"include_usage":true},`+
		`"max_tokens":%d,"messages":[{"role":"user","content":"%s"}]}`, e.limit, words)
	return loadgen.Request{Body: []byte(text), PromptTokens: int32(e.prompt), OutputTokens: int32(e.limit)}
}

// plan is a plan against a server of the engine; dial reaches it.
func (e engine) plan(t *testing.T, target loadgen.Target, virtual bool) *sweep.Plan {
	client, err := loadgen.NewClient(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	objectives, err := slo.ParseObjectives(e.objectives)
	if err != nil {
		t.Fatal(err)
	}
	request := e.body()
	return &sweep.Plan{
		Runner:     &loadgen.Runner{Client: client, VirtualTime: virtual},
		Stage:      loadgen.Stage{MaxDuration: max(10*time.Second, e.timeFor(200))},
		Objectives: objectives,
		Source: func(context.Context, int) (loadgen.Source, func(), error) {
			return func(int) (loadgen.Request, error) { return request, nil }, func() {}, nil
		},
		Pause: time.Second,
	}
}

// timeFor is how long the engine at capacity takes for so many requests.
func (e engine) timeFor(requests int) time.Duration {
	return time.Duration(float64(requests) / e.capacity() * float64(time.Second))
}

// search runs probes and search against a server of the engine in virtual time, the wire in memory. With a rate given
// there are no probes, and the search is one stage at that rate.
func (e engine) search(t *testing.T, seed int64, requestsPerStage int, rate float64) (answer *sweep.Answer) {
	synctest.Test(t, func(t *testing.T) {
		config := e.config
		config.VirtualTime = true
		config.Seed = uint64(seed)
		config.TruthLimit = -1
		server, err := llmsim.NewServer(config)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		wire := memnet.Listen()
		go server.Serve(wire)
		plan := e.plan(t, loadgen.Target{URL: "http://llmsim/v1/chat/completions", Dial: wire.Dial}, true)
		// A search begins at 0.75 of the saturation rate.
		result, stages := &sweep.Result{SaturationRate: rate / 0.75}, 1
		if rate == 0 {
			stages = 0 // the default
			if result, err = plan.Sweep(t.Context(), spec.Sweep{Size: 2}); err != nil {
				t.Fatalf("%s: %v", e.name, err)
			}
		}
		answer, err = plan.Search(t.Context(), result, sweep.SearchConfig{Search: spec.Search{
			Arrival: e.arrival(), Seed: seed, MaxPerStage: e.timeFor(requestsPerStage), MaxStages: stages,
		}})
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		plan.Runner.Client.Close()
		wire.Close()
	})
	return answer
}

func (e engine) arrival() loadgen.Arrival {
	if e.arrivals == loadgen.ConstantGap {
		return loadgen.Arrival{Kind: loadgen.ConstantArrival}
	}
	return loadgen.Arrival{Kind: loadgen.PoissonArrival}
}

var (
	study      = flag.Bool("study", false, "run the whole study: all engines, brute force, minutes")
	realTime   = flag.Bool("realtime", false, "search three engines over TCP in real time: a quarter of an hour")
	seeds      = flag.Int("seeds", 5, "searches an engine")
	stageSeeds = flag.Int("stages", 17, "stages an engine, above the knee and below")
	perStage   = flag.Int("requests", 8000, "longest stage, in requests at the engine's capacity")
	outFile    = flag.String("out", "", "write the tables to this file too")
)

// bruteForce is the requests a rate that the true knee rests on.
const bruteForce = 220_000 // of which the first tenth is left out

// forAll runs f for every engine, as many at once as there are processors.
func forAll(t *testing.T, engines []engine, f func(t *testing.T, i int, e engine)) {
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i, e := range engines {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			t.Run(e.name, func(t *testing.T) { f(t, i, e) })
		})
	}
	all.Wait()
}

// row is one engine's line of the study.
type row struct {
	knee                     float64
	held, precise            int
	worst                    float64 // distance of the knee from the widened bracket, as a share
	width, low, high         []float64
	stages                   []float64
	passAbove, failBelow     int
	decidedAbove, decidedLow int
	n                        int
}

// TestKneeStudy compares what the search states with the true knee. Without -study it does so for one engine, quickly.
func TestKneeStudy(t *testing.T) {
	engines, seeds, requests, stages, brute := grid(), *seeds, *perStage, *stageSeeds, bruteForce
	if !*study {
		engines, seeds, requests, stages, brute = engines[6:7], 1, 1000, 2, 20_000
	}
	rows := make([]row, len(engines))
	began := time.Now()
	forAll(t, engines, func(t *testing.T, i int, e engine) {
		r := &rows[i]
		var err error
		if r.knee, err = e.trueKnee(brute, 7); err != nil {
			t.Fatal(err)
		}
		for seed := range seeds {
			k := e.search(t, shuffled(1, 1000*i+seed), requests, 0)
			r.add(k)
			t.Logf("%s", k.Headline())
		}
		for stage := range stages {
			r.n++
			above := e.search(t, shuffled(2, 1000*i+stage), requests, 1.1*r.knee)
			below := e.search(t, shuffled(3, 1000*i+stage), requests, 0.9*r.knee)
			r.passAbove += count(above.PassRate > 0)
			r.decidedAbove += count(above.PassRate > 0 || above.FailRate > 0)
			r.failBelow += count(below.FailRate > 0)
			r.decidedLow += count(below.PassRate > 0 || below.FailRate > 0)
		}
	})
	if t.Failed() {
		return
	}
	text := table(engines, rows) + fmt.Sprintf("\n%d processors, %v.\n", runtime.GOMAXPROCS(0),
		time.Since(began).Round(time.Second))
	fmt.Print(text)
	if *outFile != "" {
		if err := os.WriteFile(*outFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range engines {
		if rows[i].worst > 0.1 {
			t.Errorf("%s: a bracket misses the knee by %.0f %%", e.name, 100*rows[i].worst)
		}
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// add takes in one search.
func (r *row) add(k *sweep.Answer) {
	lo, hi := k.PassRate, k.FailRate
	if hi == 0 {
		hi = math.Inf(1)
	}
	miss := max(0, lo/(1+k.Precision)/r.knee-1, 1-hi*(1+k.Precision)/r.knee)
	r.worst = max(r.worst, miss)
	r.held += count(miss == 0)
	r.precise += count(k.Ended == sweep.EndPrecision)
	r.low, r.high = append(r.low, lo/r.knee), append(r.high, hi/r.knee)
	r.width = append(r.width, hi/lo-1)
	r.stages = append(r.stages, float64(len(k.Trials)))
}

func middle(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}

// table writes the study in Markdown.
func table(engines []engine, rows []row) string {
	var b strings.Builder
	b.WriteString("| engine | true knee, req/s | bracket / knee, median | width, median | holds the knee | " +
		"worst miss | to 5 % | stages | passes at +10 % | fails at −10 % |\n" +
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	var total row
	searches := 0
	for i, e := range engines {
		r := &rows[i]
		n := len(r.width)
		fmt.Fprintf(&b, "| %s | %.3g | %.2f – %.2f | %.0f %% | %d/%d | %.1f %% | %d/%d | %.0f | %d/%d | %d/%d |\n",
			e.name, r.knee, middle(r.low), middle(r.high), 100*middle(r.width),
			r.held, n, 100*r.worst, r.precise, n, middle(r.stages), r.passAbove, r.n, r.failBelow, r.n)
		searches += n
		total.held += r.held
		total.precise += r.precise
		total.worst = max(total.worst, r.worst)
		total.n += r.n
		total.passAbove += r.passAbove
		total.failBelow += r.failBelow
		total.decidedAbove += r.decidedAbove
		total.decidedLow += r.decidedLow
	}
	fmt.Fprintf(&b, "| **all** | | | | **%d/%d** | **%.1f %%** | %d/%d | | **%d/%d** | **%d/%d** |\n\n", total.held,
		searches, 100*total.worst, total.precise, searches, total.passAbove, total.n, total.failBelow, total.n)
	fmt.Fprintf(&b,
		"Stages 10 %% above the knee: %d of %d pass, at 95 %% confidence at most %.1f %% would; %d were decided. "+
			"Stages 10 %% below: %d of %d fail, at most %.1f %%; %d were decided.\n",
		total.passAbove, total.n, 100*upper(total.passAbove,
			total.n), total.decidedAbove, total.failBelow, total.n, 100*upper(total.failBelow, total.n),
		total.decidedLow)
	return b.String()
}

// upper is Clopper and Pearson's bound at 95 %.
func upper(k, n int) float64 {
	if k >= n {
		return 1
	}
	return mathext.InvRegIncBeta(float64(k+1), float64(n-k), 0.95)
}

// TestRealTime searches three engines over TCP.
func TestRealTime(t *testing.T) {
	if !*realTime {
		t.Skip("only with -realtime: it takes a quarter of an hour")
	}
	for _, i := range []int{0, 13, 20} {
		e := grid()[i]
		t.Run(e.name, e.overTCP)
	}
}

// overTCP searches one engine in real time.
func (e engine) overTCP(t *testing.T) {
	knee, err := e.trueKnee(bruteForce, 7)
	if err != nil {
		t.Fatal(err)
	}
	config := e.config
	config.TruthLimit = -1
	server, err := llmsim.NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	plan := e.plan(t, loadgen.Target{URL: server.URL() + "/v1/chat/completions"}, false)
	began := time.Now()
	result, err := plan.Sweep(t.Context(), spec.Sweep{Size: 2})
	if err != nil {
		t.Fatal(err)
	}
	k, err := plan.Search(t.Context(), result, sweep.SearchConfig{
		Search: spec.Search{Arrival: e.arrival(), Seed: 1, MaxPerStage: min(e.timeFor(*perStage), time.Minute)},
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s: true knee %.3g; %s; %v\n", e.name, knee, k.Headline(), time.Since(began).Round(time.Second))
	for _, tr := range k.Trials {
		fmt.Printf("    %-12s %-12s %.4g  %d requests, %v %v\n", tr.Role, tr.Outcome, tr.Rate, tr.Requests,
			tr.At.Round(time.Second), tr.Reasons)
	}
	r := row{knee: knee}
	if r.add(k); r.worst > 0 {
		t.Errorf("%s: the bracket misses the knee by %.1f %%", e.name, 100*r.worst)
	}
}
