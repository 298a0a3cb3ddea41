// Command compare tests the statistics of openloop compare by simulation: how often its 95 % intervals hold the true
// change, how often it calls two runs of the same different, and how small a change it finds. Latencies come from
// series whose truth is known, correlated as those of a queue are.
package main

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report/compare"
)

// statistic is a figure of a sample.
type statistic struct {
	name string
	of   func(values []float64) compare.Sample
	true func(sorted []float64) float64
}

func quantile(q float64) statistic {
	return statistic{fmt.Sprintf("p%.4g", 100*q),
		func(v []float64) compare.Sample { return compare.NewQuantile(v, q) },
		func(sorted []float64) float64 { return num.Quantile(sorted, q) }}
}

func mean() statistic {
	return statistic{"mean", compare.NewMean, func(sorted []float64) float64 {
		sum := 0.0
		for _, v := range sorted {
			sum += v
		}
		return sum / float64(len(sorted))
	}}
}

// tally sums up pairs of runs of the same.
type tally struct {
	pairs, stated, covered, different, found int
	singleStated, single                     int
	tau                                      float64
	width                                    []float64
}

func main() {
	pairs := flag.Int("pairs", 1000, "")
	only := flag.String("only", "", "")
	ns := flag.String("n", "200,500,1000,2000", "")
	flag.Float64Var(&compare.VB, "vb", 10, "")
	flag.Float64Var(&compare.VS, "vs", 0, "")
	flag.Float64Var(&compare.VD, "vd", 1.5, "")
	flag.Parse()
	const truth = 1_000_000
	gap := 300
	for _, src := range sources() {
		if !strings.Contains(src.name, *only) {
			continue
		}
		long := slices.Sorted(slices.Values(src.make(truth, 99)))
		for _, n := range ints(*ns) {
			all := src.make(2**pairs*(n+gap), 7)
			var wg sync.WaitGroup
			stats := []statistic{quantile(0.5), quantile(0.95), mean()}
			tallies := make([]tally, len(stats))
			for k, st := range stats {
				wg.Go(func() {
					t := &tallies[k]
					want := st.true(long)
					for p := range *pairs {
						a := all[2*p*(n+gap):][:n]
						b := all[(2*p+1)*(n+gap):][:n]
						sa, sb := st.of(a), st.of(b)
						t.tau += float64(n) / sa.Effective / float64(*pairs)
						c := compare.NewChange(sa, sb, false)
						low, high := c.Interval(0.95)
						t.pairs++
						lo, hi := sa.Interval(0.95)
						if !math.IsInf(hi, 0) && lo > 0 {
							t.singleStated++
							if lo <= want && want <= hi {
								t.single++
							}
						}
						if !math.IsInf(low, 0) && !math.IsInf(high, 0) {
							t.stated++
							if low <= 0 && 0 <= high {
								t.covered++
							}
							t.width = append(t.width, (high-low)/2)
						}
						if low > 0 || high < 0 {
							t.different++
						}
						if low > -math.Log(1.1) && !(low > 0) || high < -math.Log(1.1) {
							t.found++
						}
					}
				})
			}
			wg.Wait()
			for k, st := range stats {
				t := &tallies[k]
				fmt.Printf("%-20s %5d %-5s tau %5.1f stated %4d cover %.1f  single %d %.1f  diff %.1f %% width %.3f\n",
					src.name, n, st.name, t.tau, t.stated, 100*float64(t.covered)/float64(max(1, t.stated)),
					t.singleStated, 100*float64(t.single)/float64(max(1, t.singleStated)),
					100*float64(t.different)/float64(t.pairs), num.Median(t.width))
			}
		}
	}
}

func ints(text string) (all []int) {
	for _, f := range strings.Split(text, ",") {
		n, _ := strconv.Atoi(f)
		all = append(all, n)
	}
	return all
}
