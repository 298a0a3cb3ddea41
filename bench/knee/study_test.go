package knee

import (
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

var (
	study    = flag.Bool("study", false, "run the whole study: all engines, the real client")
	perfect  = flag.Bool("perfect", false, "run it with a perfect client: minutes, for work on the estimator")
	realTime = flag.Bool("realtime", false, "search engines over TCP in real time")
	only     = flag.String("only", "", "study only the engines with one of these in their name, separated by +")
	seeds    = flag.Int("seeds", 40, "searches an engine and budget")
	budgets  = flag.String("budgets", "2m,3m,6m", "budgets of the searches, separated by commas")
	probe    = flag.Float64("probe", 1, "with -perfect: the probe's saturation rate, over the true one")
	verbose  = flag.Bool("verbose", false, "print every search")
	outFile  = flag.String("out", "", "write the tables to this file too")
)

// bruteForce is the requests a rate that the true rate of an engine rests on.
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

// chosen are the engines of -only.
func chosen() []engine {
	var engines []engine
	for _, e := range all() {
		for _, part := range strings.Split(*only, "+") {
			if strings.Contains(e.name, part) {
				engines = append(engines, e)
				break
			}
		}
	}
	return engines
}

// tally sums up searches.
type tally struct {
	searches, answered         int
	stated, covered            int // with an interval or one end of it; of them, those that hold the true rate
	lowAbove, highBelow, sided int // the lower end is above it; the upper end below; both ends are there
	precise                    int // ended at the precision
	widths, errors, took       []float64
}

func (t *tally) add(a *sweep.Answer, knee float64) {
	t.searches++
	low, high := float64(a.Lower), float64(a.Upper)
	if a.Lower.IsAbsent() {
		low = 0
	}
	if a.Upper.IsAbsent() {
		high = math.Inf(1)
	}
	t.answered += count(a.Finding != sweep.Unknown)
	if a.Finding == sweep.Interval || a.Finding == sweep.AtLeast || a.Finding == sweep.None {
		t.stated++
		t.covered += count(low <= knee && knee <= high)
		t.lowAbove += count(low > knee)
		t.highBelow += count(high < knee)
		if low > 0 && !math.IsInf(high, 1) {
			t.sided++
			t.widths = append(t.widths, math.Sqrt(high/low)-1)
		}
	}
	t.precise += count(a.Ended == sweep.EndPrecision)
	if a.Finding == sweep.Interval || a.Finding == sweep.Near {
		t.errors = append(t.errors, math.Log(float64(a.Estimate)/knee))
	}
	t.took = append(t.took, a.Took.Seconds())
}

// merge adds the searches of another tally.
func (t *tally) merge(o *tally) {
	t.searches, t.answered = t.searches+o.searches, t.answered+o.answered
	t.stated, t.covered, t.sided = t.stated+o.stated, t.covered+o.covered, t.sided+o.sided
	t.lowAbove, t.highBelow, t.precise = t.lowAbove+o.lowAbove, t.highBelow+o.highBelow, t.precise+o.precise
	t.widths, t.errors, t.took = append(t.widths, o.widths...), append(t.errors, o.errors...), append(t.took, o.took...)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// percent writes a share; "–" where there is none.
func percent(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf("%.3g %%", 100*v)
}

// cells are the columns of a tally.
func (t *tally) cells() string {
	squares := 0.0
	for _, e := range t.errors {
		squares += e * e
	}
	return fmt.Sprintf(" %d/%d | %d/%d | %d | %d | %s | %s | %.0f s |", t.sided, t.searches, t.covered, t.stated,
		t.lowAbove, t.highBelow, percent(median(t.widths)), percent(math.Sqrt(squares/float64(len(t.errors)))),
		median(t.took))
}

// TestKneeStudy compares what the search states with the true rate. Without -study or -perfect it does so for two
// engines, quickly.
func TestKneeStudy(t *testing.T) {
	engines, n, limits := chosen(), *seeds, strings.Split(*budgets, ",")
	if !*study && !*perfect {
		engines, n, limits = engines[:2], 2, []string{"2m"}
	}
	var times []time.Duration
	for _, text := range limits {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, d)
	}
	began := time.Now()
	found := make([][]tally, len(engines))
	forAll(t, engines, func(t *testing.T, i int, e engine) {
		knee, err := e.trueKnee(bruteForce, 7)
		if err != nil {
			t.Fatal(err)
		}
		found[i] = make([]tally, len(times))
		for b, budget := range times {
			for seed := range n {
				search := e.over(budget).search
				if *perfect {
					search = e.over(budget).simulated
				}
				a := search(t, shuffled(1, 1000*i+seed), budget)
				found[i][b].add(a, knee)
				if *verbose {
					report(e, budget, knee, a)
				}
			}
		}
	})
	if t.Failed() {
		return
	}
	text := table(engines, times, found) + fmt.Sprintf("\n%d processors, %v.\n", runtime.GOMAXPROCS(0),
		time.Since(began).Round(time.Second))
	fmt.Print(text)
	if *outFile != "" {
		if err := os.WriteFile(*outFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check(t, engines, found)
}

// What the study asserts, of the intervals that were stated.
const (
	leastCovered       = 0.94 // over all
	leastCoveredEngine = 0.88 // of each engine, where there are enough to tell
	mostLowAbove       = 0.03
	enough             = 40
)

func check(t *testing.T, engines []engine, found [][]tally) {
	var all tally
	for i, e := range engines {
		var one tally
		for b := range found[i] {
			one.merge(&found[i][b])
		}
		all.merge(&one)
		if one.stated >= enough && float64(one.covered) < leastCoveredEngine*float64(one.stated) {
			t.Errorf("%s: %d of %d intervals hold the true rate", e.name, one.covered, one.stated)
		}
	}
	if all.answered < all.searches {
		t.Errorf("%d of %d searches have no answer", all.searches-all.answered, all.searches)
	}
	if all.stated >= enough && (float64(all.covered) < leastCovered*float64(all.stated) ||
		float64(all.lowAbove) > mostLowAbove*float64(all.stated)) {
		t.Errorf("of %d intervals %d hold the true rate, %d have their lower end above it", all.stated, all.covered,
			all.lowAbove)
	}
}

// report prints one search.
func report(e engine, budget time.Duration, knee float64, a *sweep.Answer) {
	fmt.Printf("%s, %v, truly %.4g: %s: %s\n", e.name, budget, knee, a.Headline(), a.Why)
	for _, trial := range a.Trials {
		fmt.Printf("    %-8s %-9s %.4g  %d requests, %v %v\n", trial.Role, trial.Outcome, trial.Rate, trial.Requests,
			trial.At.Round(time.Second), trial.Reasons)
	}
	for _, o := range a.Objectives {
		fmt.Printf("    %+v\n", o)
	}
}

// table writes the study in Markdown: a row an engine and budget.
func table(engines []engine, times []time.Duration, found [][]tally) string {
	var b strings.Builder
	b.WriteString("| engine | true rate, req/s | budget | with both ends | hold the true rate | lower end above it | " +
		"upper end below | half width, median | error of the estimate, rms | took, median |\n" +
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	totals := make([]tally, len(times))
	var all tally
	for i, e := range engines {
		knee, _ := e.trueKnee(bruteForce, 7)
		for k, budget := range times {
			fmt.Fprintf(&b, "| %s | %.4g | %v |%s\n", e.name, knee, budget, found[i][k].cells())
			totals[k].merge(&found[i][k])
		}
	}
	for k, budget := range times {
		fmt.Fprintf(&b, "| **all** | | **%v** |%s\n", budget, totals[k].cells())
		all.merge(&totals[k])
	}
	fmt.Fprintf(&b, "| **all** | | |%s\n\n", all.cells())
	fmt.Fprintf(&b, "%d searches, an answer in %d. Of %d intervals, one-sided ones too, %s hold the true rate; in %s "+
		"the lower end is above it. %s of the searches ended at the precision of 5 %%.\n", all.searches,
		all.answered, all.stated, percent(float64(all.covered)/float64(all.stated)),
		percent(float64(all.lowAbove)/float64(all.stated)), percent(float64(all.precise)/float64(all.searches)))
	return b.String()
}

// TestRealTime searches engines over TCP.
func TestRealTime(t *testing.T) {
	if !*realTime {
		t.Skip("only with -realtime: it takes minutes")
	}
	for _, e := range chosen() {
		t.Run(e.name, func(t *testing.T) { e.overTCP(t, 7*time.Minute) })
	}
}

// overTCP searches one engine in real time.
func (e engine) overTCP(t *testing.T, budget time.Duration) {
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
	plan, _ := e.plan(t, loadgen.Target{URL: server.URL() + "/v1/chat/completions"}, false)
	for seed := range *seeds {
		result, err := plan.Sweep(t.Context(), spec.Sweep{Size: 2})
		if err != nil {
			t.Fatal(err)
		}
		a, err := plan.Search(t.Context(), result, e.asked(int64(seed)+1, budget))
		if err != nil {
			t.Fatal(err)
		}
		report(e, budget, knee, a)
		var one tally
		if one.add(a, knee); one.covered < one.stated {
			t.Errorf("%s: the interval does not hold the true rate of %.4g", e.name, knee)
		}
	}
}
