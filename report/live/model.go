package live

import (
	"math"
	"slices"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// second is how often what costs more than a look at a counter is made anew.
const second = time.Second

// rateOver is over how long rates of now are taken.
const rateOver = 5 * time.Second

// longest is how many seconds of a stage are kept for its panes.
const longest = 600

// Model gathers what is known of a run as it goes. It is safe for concurrent use. Nothing of it is on the path of a
// token: a request tells it once, when it has ended.
type Model struct {
	mu          sync.Mutex
	head        Head
	began       time.Time
	searching   bool
	searchBegan time.Time
	finished    []report.Stage
	soFar       string
	scrape      *enginemetrics.Scrape

	run   loadgen.Running // the stage under way; nil between two
	index int
	stage Running // as it was a moment ago: what is made anew once a second
	made  time.Duration
	looks []loadgen.Progress // one a second, the last few seconds

	ttft, empty *hdr.Histogram // for the audit

	ending sync.Mutex // guards recent alone, so that no request waits while the others are summed up
	recent recent
}

// NewModel begins a run.
func NewModel(h Head, now time.Time) *Model {
	return &Model{head: h, began: now, ttft: hdr.New(1000, int64(time.Hour), 2), empty: hdr.New(1, 2, 1)}
}

// Begin takes note of a stage that has begun; −1 is the index of a sweep's probe.
func (m *Model) Begin(index int, run loadgen.Running) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run, m.index, m.scrape = run, index, nil
	m.ending.Lock()
	m.recent.follow(run)
	m.ending.Unlock()
	m.made, m.looks = 0, nil
	stage := run.Stage()
	m.stage = Running{
		Index: index, Name: stage.Load.String(), Load: stage.Load, Limit: stage.MaxDuration,
		MaxRequests: stage.MaxRequests, Client: audit.Valid, Waiting: num.Absent(), KVUsage: num.Absent(),
	}
	m.stage.SentRate, m.stage.DoneRate, m.stage.TokenRate = math.NaN(), math.NaN(), math.NaN()
	none := lookAt(nil, 0)
	m.stage.TTFT, m.stage.TPOT, m.stage.SendDelay = none.ttft, none.tpot, none.delay
	m.stage.TTFTNow, m.stage.TPOTNow = none.ttft, none.tpot
	if index < 0 { // its limits are those of each of its steps
		m.stage.Limit, m.stage.MaxRequests = 0, 0
	}
}

// Observe is for loadgen.Hooks.
func (m *Model) Observe(e loadgen.Event) {
	if !e.Ended {
		return
	}
	m.ending.Lock()
	defer m.ending.Unlock()
	m.recent.follow(e.Run) // a stage's first requests may end before Begin
	m.recent.add(e.Record, e.Detail)
}

// End takes in a stage that has ended.
func (m *Model) End(s report.Stage) {
	s.Measured = nil // a soak's records are not to be held twice as long
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run = nil
	m.ending.Lock()
	m.recent = recent{}
	m.ending.Unlock()
	m.finished = append(m.finished, s)
	if s.Reason == loadgen.StopWorkerLost && !m.searching {
		m.again(len(m.finished) - 1)
	}
	if !m.searching {
		r := report.Result{Asked: report.Asked{Objectives: m.head.Objectives}, Stages: m.finished}
		m.soFar = r.SoFar()
	}
}

// again expects a stage that has ended once more: it is repeated.
func (m *Model) again(i int) {
	h := &m.head
	h.Stages++
	if i < len(h.Lengths) {
		h.Lengths = slices.Insert(slices.Clone(h.Lengths), i, h.Lengths[i])
	}
	if i < len(h.Rates) {
		h.Rates = slices.Insert(slices.Clone(h.Rates), i, h.Rates[i])
	}
}

// Engine takes in what the engine said of itself.
func (m *Model) Engine(s enginemetrics.Scrape) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scrape = &s
}

// Planned takes in the rates of the stages to come, req/s.
func (m *Model) Planned(rates []float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.head.Rates = append(make([]float64, len(m.finished)), rates...)
}

// Search takes note that the search begins.
func (m *Model) Search(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.searching, m.searchBegan = true, now
}

// Estimate takes in what the search knows so far of the max rate, in a few words.
func (m *Model) Estimate(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if text != "" {
		m.soFar = text
	}
}

// State is the run at a moment.
func (m *Model) State(now time.Time) *State {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &State{
		Head: m.head, At: now, Elapsed: now.Sub(m.began), Finished: m.finished, Searching: m.searching, SoFar: m.soFar,
	}
	next := len(m.finished)
	if m.run != nil {
		s.Running = m.running()
		if m.index >= 0 {
			next = m.index + 1
		}
	}
	if !m.searching && next < len(m.head.Rates) {
		s.Next = m.head.Rates[next]
	}
	s.Total, s.AtMost = m.total(now, s.Running)
	return s
}

// total is about how long the run takes in all.
func (m *Model) total(now time.Time, r *Running) (total time.Duration, atMost bool) {
	elapsed := now.Sub(m.began)
	if m.head.Endless || len(m.head.Lengths) < m.head.Stages {
		return 0, false
	}
	if m.searching {
		return max(elapsed, m.searchBegan.Sub(m.began)+m.head.Search), true
	}
	left := m.head.Search
	for i := len(m.finished); i < len(m.head.Lengths); i++ {
		length := m.head.Lengths[i]
		if r != nil && r.Index == i {
			length = max(length-r.Elapsed, 0)
		}
		left += length
	}
	return elapsed + left, m.head.Search > 0
}

// running is the stage under way. Counters are of this moment, latencies are up to a second old.
func (m *Model) running() *Running {
	p := m.run.Progress()
	s := &m.stage
	s.Progress, s.Elapsed = p, p.Elapsed
	if len(m.looks) == 0 || p.Elapsed-m.made >= second {
		m.made = p.Elapsed
		m.look(p)
	}
	if e := m.scrape; e != nil {
		s.Waiting, s.KVUsage = num.Value(e.Waiting), num.Value(e.KVUsage)
	}
	r := *s
	return &r
}

// look makes anew what is made once a second.
func (m *Model) look(p loadgen.Progress) {
	s := &m.stage
	m.looks = append(m.looks, p)
	for len(m.looks) > 2 && p.Elapsed-m.looks[1].Elapsed >= rateOver {
		m.looks = m.looks[1:]
	}
	if d := (p.Elapsed - m.looks[0].Elapsed).Seconds(); d > 0 {
		s.SentRate = float64(p.Sent-m.looks[0].Sent) / d
		s.DoneRate = float64(p.Completed-m.looks[0].Completed) / d
		s.TokenRate = float64(p.Tokens-m.looks[0].Tokens) / d
	}
	m.ending.Lock()
	records, errorText := m.recent.oldestFirst(), m.recent.mostFrequent()
	m.ending.Unlock()
	start := m.run.Start()
	all, now := lookAt(records, start+int64(m.run.Stage().Warmup)), lookAt(latest(records, start+int64(p.Elapsed)), 0)
	s.TTFT, s.TPOT, s.SendDelay = all.ttft, all.tpot, all.delay
	s.TTFTNow, s.TPOTNow = now.ttft, now.tpot
	s.ErrorText = errorText
	s.Client = clientLevel(m.run, records, m.ttft, m.empty)
	ttft, tpot := statistics(m.head.Objectives)
	s.InFlightOverTime = append(tail(s.InFlightOverTime), float64(p.InFlight))
	s.TTFTOverTime = append(tail(s.TTFTOverTime), valueOf(now.ttft, ttft))
	s.TPOTOverTime = append(tail(s.TPOTOverTime), valueOf(now.tpot, tpot))
}

// tail makes room for one more in what is kept over time. What was handed out before is not written to again.
func tail(values []float64) []float64 {
	kept := values[max(0, len(values)-longest+1):]
	return kept[:len(kept):len(kept)]
}

func valueOf(l report.Latency, c column) float64 {
	if l.Count == 0 {
		return math.NaN()
	}
	return float64(l.At(c.statistic))
}
