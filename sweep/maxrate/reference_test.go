package maxrate

import (
	"compress/gzip"
	"encoding/json"
	"math"
	"os"
	"testing"
)

// The reference is another implementation of the method, in Python, by which it was worked out and validated. testdata
// has what it made of some stages; cases.py says how.
type reference struct {
	Curves   []curveCase  `json:"curves"`
	Searches []searchCase `json:"searches"`
	Unit     struct {
		Arrivals []float64 `json:"u"`
		Uniform  []float64 `json:"uw"`
		Regular  []float64 `json:"uw_regular"` // Uniform for regular arrivals
	} `json:"unit"`
}

type curveCase struct {
	Name                       string
	K, Phi, Nu, Pi, Sat, Ratio float64
	SL0, TH0                   float64
	Poisson, Place             bool
	TwinSlope                  *float64 `json:"twin_slope"`
	SlopePriorSD               float64  `json:"slope_prior_sd"`
	Summaries                  [][]any
	Want                       referenceFit
}

type referenceFit struct {
	Phi, Nu, Slope, X2, Infl  float64
	J                         int
	Clusters, Ratio, NEff     float64
	Used                      string
	Q025, Q16, Q50, Q84, Q975 float64
	First                     float64 `json:"first_cell"`
	Last                      float64 `json:"last_cell"`
	Twin                      *struct {
		A, B, C       float64
		LogLik        float64
		TwinSlope     float64 `json:"twin_slope"`
		Mu, XS, Tried []float64
	}
	Final struct {
		Phi, Nu, Clusters, Ratio float64
		SlopeIn                  float64 `json:"slope_in"`
		Summaries                [][]any
	}
}

type searchCase struct {
	Name         string
	K, Knee, Sat float64
	Poisson      bool
	Objectives   []struct {
		Pi float64
	}
	Legs []struct {
		Rate, At, From, Stay float64
		Growing              bool
		Arrivals, Tokens     []float64
		Objectives           []struct {
			Index       []int32
			Miss, Value []float64
		}
	}
	Want map[string]struct {
		Lo, Est, Hi float64
		Limiting    int
		Objectives  []referenceFit
	}
}

func readReference(t testing.TB) reference {
	t.Helper()
	f, err := os.Open("testdata/cases.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var r reference
	if err := json.NewDecoder(z).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// summariesOf reads [x, n, k, kind, value, slowest, growing, weight].
func summariesOf(rows [][]any) []summary {
	var all []summary
	for _, r := range rows {
		f := func(i int) float64 { return r[i].(float64) }
		s := summary{x: f(0), n: f(1), k: f(2), slowest: f(5), growing: r[6].(bool), weight: f(7)}
		switch r[3] {
		case "s":
			s.shift = f(4)
		case "a":
			s.offset = f(4)
		}
		all = append(all, s)
	}
	return all
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// checkQuantiles compares the rates below which so much of the weight lies.
func (w *referenceFit) checkQuantiles(t *testing.T, p *posterior) {
	t.Helper()
	for _, q := range []struct{ q, want float64 }{
		{0.025, w.Q025}, {0.16, w.Q16}, {0.5, w.Q50}, {0.84, w.Q84}, {0.975, w.Q975},
	} {
		near(t, "ln rate at a quantile", p.quantile(q.q), q.want, 1e-3)
	}
}

// Constants of the reference. Here they are larger, and a virtual queue is believed less.
const (
	referenceWander = 0.015
	referenceStall  = 1.5
)

// referenceShapes are those of the reference: it has no floors.
func referenceShapes(limit float64) []shape {
	return steeps(limit, lowestSlope, highestSlope, slopeStep)
}

func TestCurveAgainstReference(t *testing.T) {
	for _, c := range readReference(t).Curves {
		t.Run(c.Name, func(t *testing.T) {
			e := estimator{Question: Question{Requests: 1}, clustering: c.K, stall: referenceStall}
			set := settings{
				limit: c.Pi, saturation: c.Sat, slopeMean: math.NaN(), slopeSD: c.SlopePriorSD,
				slope: c.SL0, estimate: c.TH0, left: c.Ratio, prior: e.prior, wander: referenceWander,
				shapes: referenceShapes(c.Pi),
			}
			if c.TwinSlope != nil {
				set.slopeMean, set.slopeSD = math.Log(*c.TwinSlope), 0.35
			}
			p := curve(summariesOf(c.Summaries), dispersion{phi: c.Phi, dof: c.Nu}, set)
			tolerance := 1e-3
			if c.Place {
				p, tolerance = p.placed(c.Sat), 1e-2 // the reference's slope is under that prior too
			}
			near(t, "slope", p.slope, c.Want.Slope, tolerance)
			near(t, "degrees of freedom", p.dof, c.Want.Nu, 1e-3)
			near(t, "chi²", p.chi, c.Want.X2, 1e-3)
			near(t, "inflation", p.inflation, c.Want.Infl, 1e-3)
			c.Want.checkQuantiles(t, &p)
		})
	}
}

// stagesOf makes the reference's stages.
func (c *searchCase) stagesOf() []Stage {
	var all []Stage
	for _, l := range c.Legs {
		st := Stage{Rate: l.Rate, Length: l.At, From: l.From, Residence: l.Stay, Growing: l.Growing}
		st.Arrivals, st.Tokens = l.Arrivals, l.Tokens
		for _, o := range l.Objectives {
			st.Series = append(st.Series, Series{Index: o.Index, Miss: o.Miss})
		}
		all = append(all, st)
	}
	return all
}

func TestSearchesAgainstReference(t *testing.T) {
	r := readReference(t)
	for _, c := range r.Searches {
		t.Run(c.Name, func(t *testing.T) {
			q := c.question()
			stages := c.stagesOf()
			for k := range q.Objectives { // the slowest requests' clustering is an input here
				at := 0
				for i := range stages {
					if n, _ := stages[i].Series[k].counts(); n >= fewestRequests {
						row := c.Want["plain"].Objectives[k].Final.Summaries[at]
						stages[i].Series[k].Slowest = row[5].(float64)
						at++
					}
				}
			}
			e := newEstimator(q, stages)
			e.clustering, e.twinError, e.wander, e.stall, e.apart = c.K, 0, referenceWander, referenceStall, 0
			e.overInFull, e.shapes = false, referenceShapes
			if c.Poisson {
				e.unitArrivals, e.unitUniform = r.Unit.Arrivals, r.Unit.Uniform
			} else {
				e.unitUniform = r.Unit.Regular
			}
			for k := range q.Objectives {
				c.checkSummaries(t, e, k)
				got, want := e.share(k), c.Want["best"].Objectives[k]
				used := map[Correction]string{NoCorrection: "plain", RealisedRate: "rate", VirtualQueue: "twin"}
				if used[got.correction] != want.Used {
					t.Fatalf("corrected by %s, want %s (left %v, want %v)", got.correction, want.Used, got.left,
						want.Ratio)
				}
				near(t, "left", got.left, want.Ratio, 2e-3)
				near(t, "clusters", got.clusters, want.Clusters, 1e-3)
				near(t, "slope", got.slope, want.Slope, 2e-3)
				want.checkQuantiles(t, &got.posterior)
			}
		})
	}
}

// question is what the reference was asked.
func (c *searchCase) question() Question {
	q := Question{Saturation: c.Sat, Arrivals: Regular, Confidence: 0.95}
	if c.Poisson {
		q.Arrivals, q.Variation = Poisson, 1
	}
	for _, o := range c.Objectives {
		q.Objectives = append(q.Objectives, Objective{Limit: o.Pi})
	}
	return q
}

// checkSummaries compares what is made of each stage by each correction.
func (c *searchCase) checkSummaries(t *testing.T, e *estimator, k int) {
	for name, variant := range c.Want {
		want := variant.Objectives[k]
		l := luck{correction: NoCorrection}
		switch name {
		case "best":
			continue
		case "rate":
			l = e.realisedRate(k)
		case "twin":
			q := e.fitTwin(k, queue)
			if (q == nil) != (want.Twin == nil) {
				t.Errorf("a queue: %v, want %v", q, want.Twin)
			}
			if q == nil {
				continue
			}
			l = e.byTwin(k, q)
			near(t, "capacity", q.capacity, want.Twin.C, 2e-3)
			near(t, "a", q.a, want.Twin.A, 5e-3)
			near(t, "b", q.b, want.Twin.B, 5e-3)
			for i := range want.Twin.Mu {
				near(t, "long run", q.longRun[i], want.Twin.Mu[i], 1e-3)
			}
		}
		all, d := e.summaries(k, l, want.Final.SlopeIn)
		near(t, name+" dispersion", d.phi, want.Final.Phi, 2e-3)
		near(t, name+" degrees of freedom", d.dof, want.Final.Nu, 1e-3)
		near(t, name+" left", d.left, want.Final.Ratio, 2e-3)
		near(t, name+" clusters", d.clusters, want.Final.Clusters, 1e-3)
		for i, s := range summariesOf(want.Final.Summaries) {
			g := all[i]
			near(t, name+" x", g.x, s.x, 1e-9)
			near(t, name+" n", g.n, s.n, 0)
			near(t, name+" k", g.k, s.k, 0)
			near(t, name+" shift", g.shift, s.shift, 1e-4)
			near(t, name+" offset", g.offset, s.offset, 5e-3)
			near(t, name+" weight", g.weight, s.weight, 1e-6)
		}
	}
}
