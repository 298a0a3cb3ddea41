package compare

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
)

// How far two rates may lie apart to be compared: sameRate without a word, nearRate with one.
const (
	sameRate = 0.02
	nearRate = 0.05
)

// group is the stages of several runs at one load, the base's first; nil for a run that has none.
type group struct {
	views []*view
	near  bool // the rates differ by more than sameRate
}

// match finds the stages that the base has in common with other runs, by rate.
func match(results []*report.Result) []group {
	var groups []group
	for _, s := range stagesOf(results[0]) {
		g := group{views: make([]*view, len(results))}
		g.views[0] = newView(s)
		groups = append(groups, g)
	}
	for k := 1; k < len(results); k++ {
		matchRun(groups, k, results[k])
	}
	groups = slices.DeleteFunc(groups, func(g group) bool {
		return !slices.ContainsFunc(g.views[1:], func(v *view) bool { return v != nil })
	})
	slices.SortStableFunc(groups, func(a, b group) int {
		x, y := a.views[0].stage.Load, b.views[0].stage.Load
		return cmp.Or(cmp.Compare(x.Rate, y.Rate), cmp.Compare(x.Streams, y.Streams))
	})
	return groups
}

// fewestOfSearch is how many requests a stage of a search must have had to be compared: shorter ones were to find out
// where to look.
const fewestOfSearch = 200

// stagesOf are the stages of a run that may be compared. A search runs many at nearly one rate: of those the longest
// stands for all, and those that were too fast are left out.
func stagesOf(r *report.Result) []*report.Stage {
	var all []*report.Stage
	for i := range r.Stages {
		s := &r.Stages[i]
		if !comparable(s) {
			continue
		}
		if !s.Search {
			all = append(all, s)
			continue
		}
		if s.Judgement.Requests < fewestOfSearch || grows(s) {
			continue
		}
		like := slices.IndexFunc(all, func(o *report.Stage) bool { return distance(o.Load, s.Load) <= sameRate })
		switch {
		case like < 0:
			all = append(all, s)
		case all[like].Search && all[like].Judgement.Requests < s.Judgement.Requests:
			all[like] = s
		}
	}
	return all
}

// comparable says whether a stage is a load that another run may have as well: an open loop at one rate, one stream, or
// a number of streams that was asked for.
func comparable(s *report.Stage) bool {
	l := s.Load
	switch {
	case l.Profile != nil:
		return false
	case l.Kind.Open():
		return l.Rate > 0
	}
	return l.Kind == loadgen.Synchronous || l.Kind == loadgen.Concurrent && !s.Probe
}

// matchRun gives the groups the stages of a run, the nearest rates first, each once.
func matchRun(groups []group, k int, r *report.Result) {
	type pair struct {
		group, stage int
		distance     float64
	}
	var pairs []pair
	stages := stagesOf(r)
	for i := range groups {
		for j, s := range stages {
			base := groups[i].views[0].stage
			most := nearRate
			if base.Search || s.Search {
				most = sameRate
			}
			if d := distance(base.Load, s.Load); d <= most {
				pairs = append(pairs, pair{i, j, d})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return cmp.Compare(a.distance, b.distance) })
	taken := map[int]bool{}
	for _, p := range pairs {
		if taken[p.stage] || groups[p.group].views[k] != nil {
			continue
		}
		taken[p.stage] = true
		groups[p.group].views[k] = newView(stages[p.stage])
		groups[p.group].near = groups[p.group].near || p.distance > sameRate
	}
}

// distance is by how much two loads differ, as a share; infinite where they can't be compared.
func distance(a, b loadgen.Load) float64 {
	switch {
	case a.Kind != b.Kind:
		return math.Inf(1)
	case !a.Kind.Open():
		if a.Streams == b.Streams {
			return 0
		}
		return math.Inf(1)
	case a.Arrivals().String() != b.Arrivals().String():
		return math.Inf(1)
	}
	return math.Abs(b.Rate/a.Rate - 1)
}

// ratesOf lists the rates of a run, for people.
func ratesOf(r *report.Result) string {
	var all []string
	for _, s := range stagesOf(r) {
		if s.Load.Kind.Open() {
			all = append(all, num.Rate(s.Load.Rate))
		}
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ", ") + " " + r.RateUnit()
}

// title names a group.
func (g *group) title() string {
	switch l := g.views[0].stage.Load; {
	case l.Kind.Open():
		return num.Rate(l.Rate) + " " + g.views[0].stage.RateUnit()
	case l.Kind == loadgen.Synchronous:
		return "one stream"
	default:
		return num.Thousands(l.Streams) + " streams"
	}
}
