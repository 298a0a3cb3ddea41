package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
)

// What a verdict promises, and what the server's own record is compared with. The audit's limits (audit/audit.go) on
// send delay are a quarter of the TTFT and 5 ms for invalid; half as much again is left for what is not measured alike:
// the server sees when a request arrived and can't see when it was due, only where a steady schedule would have put it.
const (
	validTTFTShare   = 0.05 // of the median TTFT that a valid client may be wrong by …
	validTTFTFloor   = 1.0  // … in ms at least
	invalidLateShare = 1.5 * 0.25
	invalidLateFloor = 1.5 * 5 // ms
	invalidReached   = 0.95    // of the load asked for
)

// wrongVerdict says what is wrong with the audit's verdict on a run; "" if nothing is.
//
// Rows that disturb the client, or leave it in peace, have the only right verdicts listed. For the others it depends on
// the machine whether the client can offer the load, so that no verdict can be asked for. What can be asked is that it
// is true, by the server's own record and whatever the client says: what the audit calls valid must be what the server
// did, and a load that did not reach the server as it was asked for must be called invalid.
func (r *row) wrongVerdict(res *runResult) string {
	if r.Verdicts != nil && !slices.Contains(r.Verdicts, res.Verdict) {
		if res.Others > 0.5 && (slices.Equal(r.Verdicts, fit) || res.Verdict == audit.Suspect) {
			// Others had what the client needed, so it was unfit indeed; or the server, beside which it was less so.
			return ""
		}
		return fmt.Sprintf("%s, and %v would be right: %s", res.Verdict, r.Verdicts, strings.Join(res.Reasons, "; "))
	}
	off := math.Abs(res.TTFT[0] - res.TrueTTFT[0])
	if res.Verdict == audit.Valid && off > max(validTTFTFloor, validTTFTShare*res.TrueTTFT[0]) {
		return fmt.Sprintf("valid, and the median TTFT is wrong by %.2f ms", off)
	}
	if r.steady() == 0 || res.Verdict == audit.Invalid {
		return ""
	}
	asked := math.Floor(r.Rate * r.Seconds)
	if reached := float64(res.Reached) / asked; reached < invalidReached {
		return fmt.Sprintf("%s, and %.1f %% of the requests reached the server", res.Verdict, 100*reached)
	}
	if late, limit := res.Late[1], max(invalidLateFloor, invalidLateShare*res.TrueTTFT[0]); late > limit {
		return fmt.Sprintf("%s, and 1 %% of the requests reached the server %.1f ms late or more, "+
			"beside a limit of %.1f ms", res.Verdict, late, limit)
	}
	return ""
}

// lateArrivals compares when requests arrived, in ns, with a schedule of evenly spaced ones, and gives the median and
// the 99th percentile of how late they were, in ms. The schedule begins where the request that was least late would
// have been on time; what all were late by alike is not seen.
func lateArrivals(arrivals []int64, rate float64) [2]float64 {
	if len(arrivals) == 0 || rate <= 0 {
		return [2]float64{}
	}
	arrivals = slices.Sorted(slices.Values(arrivals))
	late := make([]float64, len(arrivals))
	least := math.Inf(1)
	for i, at := range arrivals {
		late[i] = float64(at) - float64(i)*float64(time.Second)/rate
		least = min(least, late[i])
	}
	for i := range late {
		late[i] = (late[i] - least) / 1e6
	}
	return twoPercentiles(late)
}

func twoPercentiles(values []float64) [2]float64 {
	return [2]float64{percentile(values, 0.5), percentile(values, 0.99)}
}

// percentile sorts its argument.
func percentile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}
