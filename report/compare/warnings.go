package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/estimate"
)

// From these differences on the reader is told.
const (
	hitsDiffer       = 0.01 // shares of the prompt tokens that came out of the prefix cache
	tokensDiffer     = 0.02 // mean tokens of a request, as a share …
	tokensSeen       = 1e-3 // … and the p-value at which that is not chance
	unfinishedDiffer = 0.01 // shares of the requests that were in flight at the end
	warmUpDiffer     = 0.2  // the warm-up's shares of the stage
	growthSeen       = 0.01 // p-value of a growing backlog
)

// warn says what may stand between two runs beside what was changed.
func (c *Comparison) warn(groups []group) {
	base := c.results[0]
	for k := 1; k < len(c.results); k++ {
		r, name := c.results[k], c.Runs[k]
		add := func(format string, args ...any) {
			text := fmt.Sprintf(format, args...)
			if len(c.results) > 2 {
				text = name + ": " + text
			}
			if !slices.Contains(c.Warnings, text) {
				c.Warnings = append(c.Warnings, text)
			}
		}
		if a, b := coresOf(base), coresOf(r); a > 0 && b > 0 && a != b {
			add("the clients had %s and %s processors: what they add to a latency may differ", num.Exact(num.Round(a)),
				num.Exact(num.Round(b)))
		}
		if base.Asked.Model != r.Asked.Model {
			add("the models differ, and so may what a token is: TPOT and tok/s are each in their own tokens")
		}
		collected := notes{}
		for _, g := range groups {
			if g.views[k] != nil {
				compareStages(&collected, g.title(), g.views[0], g.views[k])
			}
		}
		for _, n := range collected.order {
			add("%s: %s", strings.Join(collected.at[n], ", "), n)
		}
	}
}

// notes are texts about stages, each with the stages that it is about.
type notes struct {
	order []string
	at    map[string][]string
}

func (n *notes) add(stage, format string, args ...any) {
	if n.at == nil {
		n.at = map[string][]string{}
	}
	text := fmt.Sprintf(format, args...)
	if n.at[text] == nil {
		n.order = append(n.order, text)
	}
	n.at[text] = append(n.at[text], stage)
}

// compareStages notes what two stages differ in beside what is compared.
func compareStages(n *notes, title string, a, b *view) {
	if x, y := hits(a.stage), hits(b.stage); math.Abs(x-y) > hitsDiffer {
		n.add(title, "prefix-cache hits %s against %s of the prompt tokens: one was answered from the cache",
			percent(x), percent(y))
	}
	if x, y := a.stage.Client, b.stage.Client; faulty(x) || faulty(y) {
		text := fmt.Sprintf("client %s against %s", level(x), level(y))
		for _, v := range []audit.Verdict{x, y} {
			if faulty(v) && len(v.Reasons) > 0 {
				text += " (" + v.Reasons[0].Text + ")"
				break
			}
		}
		n.add(title, "%s", text)
	}
	if x, y := unfinished(a.stage), unfinished(b.stage); math.Abs(x-y) > unfinishedDiffer {
		n.add(title, "%s against %s of the requests were unfinished: the slow ones among them are in no latency",
			percent(x), percent(y))
	}
	if x, y := warmUp(a.stage), warmUp(b.stage); math.Abs(x-y) > warmUpDiffer {
		n.add(title, "%s against %s of the stage were left out as warm-up", percent(x), percent(y))
	}
	growing := [2]bool{grows(a.stage), grows(b.stage)}
	if growing[0] || growing[1] {
		which := map[[2]bool]string{
			{true, true}: "both", {true, false}: "the base", {false, true}: "the new run",
		}[growing]
		n.add(title, "the backlog grew in %s: its latencies are those of the stage's length, not of the rate", which)
	}
	for _, what := range []string{"prompts", "answers"} {
		x, y := estimate.NewMean(a.tokens(what == "answers")), estimate.NewMean(b.tokens(what == "answers"))
		if c := estimate.NewChange(x, y, false); c.P(math.Log1p(tokensDiffer)) < tokensSeen {
			n.add(title, "%s of %s against %s tokens on average: not the same work", what, num.Three(x.Value),
				num.Three(y.Value))
		}
	}
}

// hits is the share of the prompt tokens that came out of the prefix cache; NaN where the engine does not say.
func hits(s *report.Stage) float64 {
	if s.Engine == nil {
		return math.NaN()
	}
	return float64(s.Engine.HitShare)
}

func faulty(v audit.Verdict) bool { return v.Level == audit.Suspect || v.Level == audit.Invalid }

// level is the verdict on a client, for people.
func level(v audit.Verdict) string {
	if v.Level == "" {
		return "not known"
	}
	return string(v.Level)
}

// unfinished is the share of the requests that were in flight at the end.
func unfinished(s *report.Stage) float64 {
	q := s.Requests
	return float64(q.Unfinished) / float64(max(q.Completed+q.Errored+q.Unfinished, 1))
}

// warmUp is the share of a stage that was left out at its start.
func warmUp(s *report.Stage) float64 {
	if s.Sending <= 0 {
		return 0
	}
	return s.Judgement.WarmUp.Seconds() / s.Sending.Seconds()
}

// grows says whether the backlog of a stage grew.
func grows(s *report.Stage) bool {
	return s.Load.Kind.Open() && s.Judgement.At > 0 && s.Judgement.Growth.PValue < growthSeen
}

func percent(share float64) string { return valueText(share, "share") }
