// Command compare tests the statistics of openloop compare by simulation: how often its 95 % intervals hold the true
// change, how often it calls two runs of the same different, and how small a change it finds. The latencies are of
// series whose truth is known, correlated as those of a queue are.
package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report/compare"
	"github.com/openloop/openloop/report/estimate"
)

// statistic is a figure of a sample.
type statistic struct {
	name string
	of   func(values []float64) estimate.Sample
	true func(sorted []float64) float64
	// rough is the figure alone, for the bootstrap.
	rough func(values []float64) float64
}

func quantile(q float64) statistic {
	return statistic{
		fmt.Sprintf("p%.4g", 100*q),
		func(v []float64) estimate.Sample { return estimate.NewQuantile(v, q) },
		func(sorted []float64) float64 { return num.Quantile(sorted, q) },
		func(v []float64) float64 { return num.Select(v, num.Rank(q, len(v))) },
	}
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func statistics() []statistic {
	return []statistic{quantile(0.5), quantile(0.95), {"mean", estimate.NewMean, mean, mean}}
}

// study is what is simulated.
type study struct {
	pairs     int
	sizes     []int
	only      string
	bootstrap int // resamples; 0: none
}

// row is what came of the pairs of one source at one size, by one statistic.
type row struct {
	source, statistic  string
	n                  int
	tau                float64 // mean autocorrelation time, in requests
	pairs, tested      int     // tested: the sample was long enough
	covered            int     // intervals that hold the true change, of all pairs: what has no end holds it there
	different          int     // pairs of the same called different, as openloop compare does
	found              int     // pairs of which one is 10 % slower called different, in the right direction
	single             int     // intervals of the first figure that hold the true one
	bootstrapped, boot int     // pairs with a bootstrap interval; of them, those that hold the true change
	width              []float64
}

// slower is the change that is to be found.
const slower = 1.1

// run simulates a source at one size.
func (s *study) run(src source, n int, seed uint64) []row {
	const gap = 300 // requests between two runs that are cut from one series
	a, b := src.make(s.pairs*(n+gap), seed)
	noise := math.Log1p(compare.DefaultNoise)
	stats := statistics()
	rows := make([]row, len(stats))
	var all sync.WaitGroup
	requests := indices(n)
	for k, st := range stats {
		all.Go(func() {
			r := &rows[k]
			*r = row{source: src.name, statistic: st.name, n: n, pairs: s.pairs}
			truth := src.truth(st)
			for i := range s.pairs {
				base, to := a[i*(n+gap):][:n], b[i*(n+gap):][:n]
				x, y := st.of(base), st.of(to)
				if src.paired {
					x, y = x.WithIndices(requests), y.WithIndices(requests)
				}
				r.tau += float64(n) / x.Effective / float64(s.pairs)
				c := estimate.NewChange(x, y, src.paired)
				low, high := c.Interval(0.95)
				r.covered += count(low <= 0 && 0 <= high)
				r.different += count(low > noise || high < -noise) // P(noise) < 0.05 says the same
				if x.Enough && y.Enough {
					r.tested++
					r.width = append(r.width, (high-low)/2)
				}
				alone, upper := x.Interval(0.95)
				r.single += count(alone <= truth && truth <= upper)
				slow := make([]float64, n)
				for j, v := range to {
					slow[j] = v * slower
				}
				z := st.of(slow)
				if src.paired {
					z = z.WithIndices(requests)
				}
				shifted := estimate.NewChange(x, z, src.paired)
				low, _ = shifted.Interval(0.95)
				r.found += count(low > noise)
				const bootstrapPairs = 200
				if s.bootstrap > 0 && i < bootstrapPairs {
					low, high := blockBootstrap(base, to, st.rough, s.bootstrap, uint64(i))
					r.bootstrapped++
					r.boot += count(low <= 0 && 0 <= high)
				}
			}
		})
	}
	all.Wait()
	return rows
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// all simulates everything and hands on the rows as they come.
func (s *study) all(each func([]row)) {
	for i, src := range sources() {
		if !strings.Contains(src.name, s.only) {
			continue
		}
		for _, n := range s.sizes {
			each(s.run(src, n, uint64(100*i+1)))
		}
	}
}

// share is a part of the pairs in percent.
func (r *row) share(part int) float64 { return 100 * float64(part) / float64(r.pairs) }

func (r *row) String() string {
	boot := "–"
	if r.bootstrapped > 0 {
		boot = fmt.Sprintf("%.1f", 100*float64(r.boot)/float64(r.bootstrapped))
	}
	width := "–"
	if len(r.width) > 0 {
		width = "±∞"
		if w := num.Median(r.width); !math.IsInf(w, 0) {
			width = fmt.Sprintf("±%.1f", 100*math.Expm1(w))
		}
	}
	return fmt.Sprintf("| %s | %d | %s | %.1f | %.0f | %.1f | %.1f | %s | %.1f | %.1f | %s |", r.source, r.n,
		r.statistic, r.tau, r.share(r.tested), r.share(r.covered), r.share(r.single), boot, r.share(r.different),
		r.share(r.found), width)
}

const head = `| source | n | figure | τ | tested, % | change covered, % | figure covered, % | block bootstrap, % ` +
	`| A/A differs, % | +10 % found, % | median interval, % |
|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|
`

func main() {
	s := study{}
	flag.IntVar(&s.pairs, "pairs", 1000, "pairs of runs a row")
	sizes := flag.String("n", "200,500,1000,2000", "requests of a run")
	flag.StringVar(&s.only, "only", "", "only the sources with this in their name")
	flag.IntVar(&s.bootstrap, "bootstrap", 0, "resamples of the block bootstrap beside it, in 200 pairs; 0: none")
	out := flag.String("out", "", "file for the table")
	flag.Parse()
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 {
			fmt.Fprintf(os.Stderr, "compare: %q is not a number of requests\n", text)
			os.Exit(2)
		}
		s.sizes = append(s.sizes, n)
	}
	if err := write(&s, *out); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// write runs the study, and writes its table to stdout and to a file.
func write(s *study, out string) error {
	began := time.Now()
	to := io.Writer(os.Stdout)
	var text strings.Builder
	if out != "" {
		to = io.MultiWriter(os.Stdout, &text)
	}
	fmt.Fprintf(to, "# The statistics of openloop compare, simulated\n\n    make compare-study\n\n"+
		"%d pairs of runs a row; both are of the same, so that the true change is 0. docs/compare.md explains the "+
		"columns.\n\n%s", s.pairs, head)
	s.all(func(rows []row) {
		for i := range rows {
			fmt.Fprintln(to, rows[i].String())
		}
	})
	fmt.Fprintf(os.Stderr, "%v\n", time.Since(began).Round(time.Second))
	if out == "" {
		return nil
	}
	return os.WriteFile(out, []byte(text.String()), 0o644)
}
