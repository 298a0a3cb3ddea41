package maxrate

import (
	"math"
	"math/rand/v2"
	"testing"
)

// BenchmarkSolve is the estimate after a stage: of a search of a few minutes at 90 req/s, and of one of ten stages with
// 50,000 requests and two objectives.
func BenchmarkSolve(b *testing.B) {
	for _, c := range readReference(b).Searches[:2] {
		b.Run(c.Name, func(b *testing.B) {
			q, stages := c.question(), c.stagesOf()
			for b.Loop() {
				Solve(q, stages)
			}
		})
	}
	b.Run("50,000 requests", func(b *testing.B) {
		random := rand.New(rand.NewPCG(1, 1))
		q := question()
		q.Objectives = append(q.Objectives, Objective{Name: "tpot:p95", Metric: TPOT, Limit: 0.05})
		q.Objectives[0].Metric = TTFT
		var stages []Stage
		for i := range 10 {
			st := curveOf{math.Log(80), 15, 0.05}.stage(72+2*float64(i), 62, 70*float64(i), random)
			st.Gap = 0.01
			st.Series = append(st.Series, st.Series[0])
			stages = append(stages, st)
		}
		for b.Loop() {
			Solve(q, stages)
		}
	})
}
