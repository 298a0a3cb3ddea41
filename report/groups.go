package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report/estimate"
)

// Group is a part of a stage's requests: those of a class of a mix, or those sent to one of several targets.
type Group struct {
	Name     string   `json:"name"`
	Requests Requests `json:"requests"`
	// Sent and Done are requests per second, Output output tokens per second, as in Rates.
	Sent   float64 `json:"sent"`
	Done   float64 `json:"done"`
	Output float64 `json:"output_tokens"`
	// TTFT counts from the scheduled time. TTFT and TPOT are of the requests due after the warm-up, Latency, from sent
	// to the end, of those of them that completed.
	TTFT    Latency `json:"ttft"`
	TPOT    Latency `json:"tpot"`
	Latency Latency `json:"latency"`

	// Beside is how the median TTFT, from sent, differs from that of the first group; nil for the first, for classes,
	// and where there are too few requests to tell.
	Beside *Difference `json:"beside_first,omitempty"`
}

// Difference is a difference of two medians with its interval, in milliseconds.
type Difference struct {
	Value float64 `json:"ttft_p50_ms"`
	Lower float64 `json:"ttft_p50_lower_ms"`
	Upper float64 `json:"ttft_p50_upper_ms"`
}

// besideFirst says how the TTFT of groups differs from that of the first one. The requests of two targets alternate, so
// that both see the same load; what a burst does to both alike is not taken out, which makes the interval wider.
func besideFirst(groups []Group, ttft [][]float64, confidence float64) {
	const ms = 1e6
	if len(groups) == 0 {
		return
	}
	first := estimate.NewQuantile(ttft[0], 0.5)
	for k := 1; k < len(groups); k++ {
		other := estimate.NewQuantile(ttft[k], 0.5)
		if !first.Enough || !other.Enough || first.Value <= 0 {
			continue
		}
		change := estimate.NewChange(first, other, false)
		low, high := change.Interval(confidence)
		if math.IsInf(low, 0) || math.IsInf(high, 0) {
			continue
		}
		groups[k].Beside = &Difference{(other.Value - first.Value) / ms, first.Value * math.Expm1(low) / ms,
			first.Value * math.Expm1(high) / ms}
	}
}

// groupsOf sums up a stage's requests by group. from is the end of its warm-up; of says which group a request is in.
func groupsOf(
	m *loadgen.Measured, from int64, names []string, of func(*loadgen.Record) int,
) (groups []Group, ttft [][]float64) {
	type sums struct {
		records             []loadgen.Record
		ttft, tpot, latency []float64
		sent                []float64 // TTFT from sent, in the order in which the requests were due
	}
	all := make([]sums, len(names))
	for i := range m.Records {
		r := &m.Records[i]
		k := of(r)
		if k < 0 || k >= len(all) {
			continue
		}
		g := &all[k]
		g.records = append(g.records, *r)
		if r.Scheduled < from || r.Status == loadgen.Errored {
			continue
		}
		if d, ok := r.ScheduledTTFT(); ok {
			g.ttft = append(g.ttft, float64(d))
			g.sent = append(g.sent, float64(r.FirstToken-r.Sent))
		}
		if r.Status == loadgen.Completed {
			g.latency = append(g.latency, float64(r.End-r.Sent))
			if n := r.Tokens() - 1; n > 0 && r.FirstToken > 0 {
				g.tpot = append(g.tpot, float64(r.LastToken-r.FirstToken)/float64(n))
			}
		}
	}
	for k, name := range names {
		part := *m
		part.Records, part.Details = all[k].records, nil
		g := Group{
			Name: name, Requests: countRequests(&part), Sent: sentRate(&part), Done: completionRate(&part),
			TTFT: LatencyOf(all[k].ttft), TPOT: LatencyOf(all[k].tpot), Latency: LatencyOf(all[k].latency),
		}
		g.Output, _ = tokenRates(&part)
		groups, ttft = append(groups, g), append(ttft, all[k].sent)
	}
	return groups, ttft
}

// sentRate is how many requests were sent a second, while requests were sent.
func sentRate(m *loadgen.Measured) float64 {
	if m.Stopped <= m.Start {
		return 0
	}
	sent := 0
	for i := range m.Records {
		if at := m.Records[i].Sent; at > 0 && at <= m.Stopped {
			sent++
		}
	}
	return float64(sent) / (float64(m.Stopped-m.Start) / 1e9)
}

// group puts the requests of a stage in groups, by the classes and the targets that the run has.
func (s *Stage) group(classes, targets []string, confidence float64) {
	m := s.Measured
	from := m.Start + int64(s.Judgement.WarmUp)
	if len(classes) > 0 {
		s.Classes, _ = groupsOf(m, from, classes, func(r *loadgen.Record) int { return int(r.Class) - 1 })
	}
	if len(targets) > 1 {
		var ttft [][]float64
		s.Targets, ttft = groupsOf(m, from, targets, func(r *loadgen.Record) int { return int(r.Target) })
		besideFirst(s.Targets, ttft, confidence)
	}
}

// GroupHead are the columns of GroupRow. Times are in ms.
func GroupHead() []string {
	return []string{"done/s", "TTFT p50", "p95", "TPOT p50", "p95", "tok/s", "errors"}
}

// GroupRow is a group for people.
func GroupRow(g *Group) []string {
	ms := func(v num.Value) string {
		if v.IsAbsent() {
			return "–"
		}
		return num.Three(float64(v))
	}
	return []string{num.Three(g.Done), ms(g.TTFT.P50), ms(g.TTFT.P95), ms(g.TPOT.P50), ms(g.TPOT.P95),
		num.Amount(g.Output), num.Thousands(g.Requests.Errored)}
}

// GroupTable holds the groups of all stages; rows begin with the stage and the group.
type GroupTable struct {
	Of   string // "class" or "target"
	Rows [][]string
}

// mostGroupStages is of how many stages the groups stand on the screen; of more than that, those that say most.
const mostGroupStages = 4

func (r *Result) allStages() (all []int) {
	for i := range r.Stages {
		all = append(all, i)
	}
	return all
}

// groupStages are the stages whose groups stand on the screen: the first one, and those of open loops whose rates are
// nearest to the max rate.
func (r *Result) groupStages() []int {
	all := r.allStages()
	rate, ok := r.MaxRate()
	if len(all) <= mostGroupStages || !ok {
		return all
	}
	off := func(i int) float64 {
		if s := &r.Stages[i]; s.Load.Kind.Open() {
			return math.Abs(s.Load.Rate - rate)
		}
		return math.Inf(1)
	}
	nearest := slices.Clone(all[1:])
	slices.SortStableFunc(nearest, func(a, b int) int { return cmp.Compare(off(a), off(b)) })
	nearest = append(nearest[:mostGroupStages-1], 0)
	slices.Sort(nearest)
	return nearest
}

// GroupTables are the tables of classes and of targets of some stages, as far as the run has them.
func (r *Result) GroupTables(stages []int) (tables []GroupTable) {
	for _, t := range []struct {
		of     string
		groups func(*Stage) []Group
	}{{"class", func(s *Stage) []Group { return s.Classes }}, {"target", func(s *Stage) []Group { return s.Targets }}} {
		table := GroupTable{Of: t.of}
		for _, i := range stages {
			name := r.Stages[i].Name
			groups := t.groups(&r.Stages[i])
			for k := range groups {
				table.Rows = append(table.Rows, append([]string{name, groups[k].Name}, GroupRow(&groups[k])...))
				name = ""
			}
		}
		if len(table.Rows) > 0 {
			tables = append(tables, table)
		}
	}
	return tables
}

// TargetDifferences says how the targets of a stage differ from the first one, at a confidence, for people.
func (s *Stage) TargetDifferences(confidence float64) (texts []string) {
	for k := range s.Targets {
		if d := s.Targets[k].Beside; d != nil {
			texts = append(texts, fmt.Sprintf("TTFT p50 of %s beside %s: %+.3g ms (%s %%: %+.3g … %+.3g)",
				s.Targets[k].Name, s.Targets[0].Name, d.Value, num.Exact(100*confidence), d.Lower, d.Upper))
		}
	}
	return texts
}

// targetDifferences are the TargetDifferences of some stages.
func (r *Result) targetDifferences(stages []int) (texts []string) {
	for _, i := range stages {
		for _, text := range r.Stages[i].TargetDifferences(r.Asked.Confidence) {
			texts = append(texts, r.Stages[i].Name+": "+text)
		}
	}
	return texts
}

// writeGroups writes the tables of classes and targets.
func (r *Result) writeGroups(b *strings.Builder, wide bool) {
	stages := r.groupStages()
	if wide {
		stages = r.allStages()
	}
	for _, t := range r.GroupTables(stages) {
		rows := [][]string{append([]string{"  stage", t.Of}, GroupHead()...)}
		for _, row := range t.Rows {
			rows = append(rows, append([]string{"  " + row[0]}, row[1:]...))
		}
		b.WriteByte('\n')
		writeTable(b, rows)
		fmt.Fprintf(b, "\n  requests of each %s; times in ms, TTFT from the scheduled time\n", t.Of)
		if n := len(r.Stages) - len(stages); n > 0 {
			fmt.Fprintf(b, "  and of %d further stages: --wide, and in the report\n", n)
		}
	}
	for _, text := range r.targetDifferences(stages) {
		wrap(b, "  ", "    ", text)
	}
}
