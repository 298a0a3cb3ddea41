package compare

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// made is a run of a queue: requests arrive at random and are served one after another, so that their latencies are
// correlated as a server's are.
type made struct {
	seed     uint64  // of what the server does
	arrivals int64   // the arrivals' seed
	slower   float64 // every time, over the usual one; 0: 1
	seconds  float64 // of each stage; 0: 300
	rates    []float64
	errors   int // every so many requests; 0: none
	change   func(*report.Result)
}

// capacity is the requests a second that the queue can serve.
const capacity = 20

func (m made) result() *report.Result {
	if m.rates == nil {
		m.rates = []float64{8, 12}
	}
	if m.seconds == 0 {
		m.seconds = 300
	}
	if m.slower == 0 {
		m.slower = 1
	}
	objectives, err := slo.ParseObjectives("ttft:p95<250ms tpot:p95<50ms errors<1%")
	if err != nil {
		panic(err)
	}
	r := &report.Result{
		Version: "test",
		Asked: report.Asked{
			Target: "http://localhost:8000", Model: "Qwen/Qwen2.5-7B-Instruct", Profile: "poisson",
			Workload: "kind=synthetic_text,prompt_tokens=256,output_tokens=128", Request: "chat_completions",
			Objectives: objectives, Confidence: 0.95, Seed: m.arrivals,
		},
		Engine: &enginemetrics.Info{Name: "vLLM", Version: "0.22.1", Config: map[string]string{
			"max_num_batched_tokens": "2048", "max_num_seqs": "256",
		}},
	}
	for i, rate := range m.rates {
		r.Stages = append(r.Stages, m.stage(rate, i))
	}
	if m.change != nil {
		m.change(r)
	}
	return r
}

func (m made) stage(rate float64, i int) report.Stage {
	random := rand.New(rand.NewPCG(m.seed, uint64(i)))
	load := loadgen.Load{Kind: loadgen.PoissonGaps, Rate: rate, Seed: m.arrivals + int64(i)}
	schedule := load.Schedule()
	var log []report.Request
	free := 0.0
	none := num.Absent()
	for k := 0; ; k++ {
		at, _ := schedule.At(k)
		due := at.Seconds()
		if due > m.seconds {
			break
		}
		start := max(free, due)
		free = start + (0.5+0.5*random.ExpFloat64())/capacity*m.slower
		ttft := (free - due)
		tpot := (0.010 + 0.001*random.NormFloat64()) * m.slower
		q := report.Request{
			Index: k, Scheduled: num.Value(due), Sent: num.Value(due), FirstToken: num.Value(due + ttft),
			LastToken: num.Value(due + ttft + 127*tpot), End: num.Value(due + ttft + 127*tpot), SendDelay: 0,
			TTFT: num.Value(ttft), ScheduledTTFT: num.Value(ttft), TPOT: num.Value(tpot), ITL: num.Value(tpot),
			Latency: num.Value(ttft + 127*tpot), PromptTokens: 256, CachedTokens: -1, OutputTokens: 128,
			AskedOutput: 128, Status: loadgen.Completed.String(),
		}
		if m.errors > 0 && k%m.errors == m.errors-1 {
			q.Status, q.TPOT, q.FirstToken, q.ScheduledTTFT, q.TTFT = loadgen.Errored.String(), none, none, none, none
			q.OutputTokens = 0
		}
		log = append(log, q)
	}
	s := report.Stage{
		Name: fmt.Sprintf("poisson@%.2f", rate), Load: load,
		Sending:   time.Duration(m.seconds * 1e9),
		Judgement: slo.StageJudgement{WarmUp: 10 * time.Second, At: time.Duration(m.seconds * 1e9)},
		Client:    audit.Verdict{Level: audit.Valid, Measurements: audit.Measurements{CPULimit: 4, Stamps: "kernel"}},
		ITL:       report.Latency{Count: 127 * len(log), P99: num.Value(12.3 * m.slower)},
	}
	s.Judgement.Growth.PValue = 1
	for j := range log {
		if log[j].Status == loadgen.Completed.String() {
			s.Requests.Completed++
		} else {
			s.Requests.Errored++
		}
		if log[j].Scheduled >= 10 {
			s.Judgement.Requests++
		}
	}
	s.SetLog(log)
	return s
}

// searched gives a result the answer of a search.
func searched(estimate, lower, upper float64) func(*report.Result) {
	return func(r *report.Result) {
		r.Search = &sweep.Answer{
			Finding: sweep.Interval, Estimate: num.Value(estimate), Lower: num.Value(lower), Upper: num.Value(upper),
			Confidence: 0.95, Arrivals: "poisson", Client: audit.Valid, Limiting: "ttft:p95",
		}
	}
}

// both does several changes.
func both(changes ...func(*report.Result)) func(*report.Result) {
	return func(r *report.Result) {
		for _, c := range changes {
			c(r)
		}
	}
}
