package live

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// record makes a request that was sent when it was due.
func record(due time.Duration, ttft, gap time.Duration, tokens int32) loadgen.Record {
	r := loadgen.Record{Scheduled: int64(due) + 1, Sent: int64(due) + 1, Status: loadgen.Completed, TokenEvents: tokens,
		OutputTokens: tokens}
	r.FirstToken = r.Sent + int64(ttft)
	r.LastToken = r.FirstToken + int64(gap)*int64(tokens-1)
	r.End = r.LastToken
	return r
}

func TestRecent(t *testing.T) {
	r := recent{errors: map[string]int{}}
	for i := range kept + 100 {
		rec := record(time.Duration(i)*time.Millisecond, 30*time.Millisecond, 5*time.Millisecond, 11)
		r.add(&rec, nil)
	}
	r.add(&loadgen.Record{}, nil) // never sent
	all := r.oldestFirst()
	if len(all) != kept || all[0].Scheduled != int64(100*time.Millisecond)+1 {
		t.Fatalf("%d requests, the first due at %d", len(all), all[0].Scheduled)
	}
	for i := range all[1:] {
		if all[i].End > all[i+1].End {
			t.Fatal("they are not in their order")
		}
	}
	last := all[kept-1].End
	if n := len(latest(all, last)); n < 4096 {
		t.Errorf("%d requests of the last seconds", n)
	}
	if n := len(latest(all, last+int64(10*time.Second))); n != fewest {
		t.Errorf("%d requests stand for a time in which none ended", n)
	}
	if n := len(latest(all, last+int64(time.Minute))); n != 0 {
		t.Errorf("%d requests that ended long ago", n)
	}
	l := lookAt(all, all[kept/2].Scheduled)
	if l.ttft.Count != kept/2 || l.ttft.P95 != 30 || l.tpot.P95 != 5 || l.delay.P99 != 0 {
		t.Errorf("%+v", l)
	}
	for i := range 30 {
		failed := loadgen.Record{Status: loadgen.Errored, Err: loadgen.ErrStatus}
		r.add(&failed, &loadgen.Detail{Error: fmt.Sprintf("HTTP %d", 500+i/2)})
		r.add(&failed, &loadgen.Detail{Error: "HTTP 503"})
	}
	if r.mostFrequent() != "HTTP 503" || len(r.errors) > mostText {
		t.Errorf("%v", r.errors)
	}
}

// A model that is told of a run shows it: the stage under way, the stages that ended, the time that is left.
func TestModel(t *testing.T) {
	objectives, err := slo.ParseObjectives("ttft:p95<250ms")
	if err != nil {
		t.Fatal(err)
	}
	m := NewModel(Head{
		Command: "sweep", Objectives: objectives, Stages: 3, Search: time.Minute,
		Lengths: []time.Duration{10 * time.Second, 20 * time.Second, 10 * time.Second},
	}, at)
	if s := m.State(at); s.Total != 100*time.Second || !s.AtMost || s.Running != nil || s.Next != 0 {
		t.Errorf("before the run: %+v", s)
	}
	run := begun(t)
	early := record(0, 30*time.Millisecond, 5*time.Millisecond, 11)
	early.Scheduled, early.Sent = run.Start(), run.Start()
	early.FirstToken, early.LastToken, early.End = early.FirstToken+run.Start(), early.LastToken+run.Start(),
		early.End+run.Start()
	m.Observe(loadgen.Event{Run: run, Record: &early, Ended: true}) // before the model is told of its stage
	m.Begin(0, run)
	m.Engine(enginemetrics.Scrape{Waiting: 3, KVUsage: math.NaN()})
	for i := range 19 {
		rec := record(time.Duration(i)*time.Millisecond, 30*time.Millisecond, 5*time.Millisecond, 11)
		rec.Scheduled += run.Start()
		rec.Sent, rec.FirstToken = rec.Sent+run.Start(), rec.FirstToken+run.Start()
		rec.LastToken, rec.End = rec.LastToken+run.Start(), rec.End+run.Start()
		m.Observe(loadgen.Event{Run: run, Record: &rec, Ended: true})
		m.Observe(loadgen.Event{Run: run, Record: &rec}) // its sending is not of interest
	}
	s := m.State(at.Add(4 * time.Second))
	r := s.Running
	if r == nil || r.TTFT.Count != 20 || r.TTFTNow.P95 != 30 || r.Waiting != 3 || !r.KVUsage.IsAbsent() ||
		r.Client != audit.Valid || !math.IsNaN(r.SentRate) || len(r.TTFTOverTime) != 1 {
		t.Errorf("in the first stage: %+v", r)
	}
	if left := s.Total - s.Elapsed; left < 95*time.Second || left > 100*time.Second {
		t.Errorf("%v left", left)
	}
	m.End(finished(constant(5), 30, 5, slo.Pass, audit.Valid))
	m.Planned([]float64{7, 9})
	s = m.State(at.Add(10 * time.Second))
	if s.Running != nil || s.Next != 7 || s.SoFar != "at least 5 req/s" || s.Total != 100*time.Second {
		t.Errorf("after the first stage: %+v", s)
	}
	m.Search(at.Add(40 * time.Second))
	m.Estimate("6.1 req/s (5.2 – 7.0)")
	m.Estimate("")
	m.End(finished(constant(6), 30, 5, slo.Pass, audit.Valid))
	s = m.State(at.Add(70 * time.Second))
	if s.SoFar != "6.1 req/s (5.2 – 7.0)" || s.Total != 100*time.Second || s.Next != 0 || !s.Searching {
		t.Errorf("in the search: %+v", s)
	}
	if s = m.State(at.Add(130 * time.Second)); s.Total != 130*time.Second {
		t.Errorf("a search that takes longer: %v", s.Total)
	}
	m.Begin(-1, run)
	if r := m.State(at).Running; r.Limit != 0 || r.MaxRequests != 0 {
		t.Errorf("a probe shows limits that are not its own: %+v", r)
	}
}

// A client that sends late is seen while the stage runs.
func TestClientLevel(t *testing.T) {
	m := NewModel(Head{}, at)
	run := begun(t)
	m.Begin(0, run)
	for i := range 200 {
		rec := record(time.Duration(i)*10*time.Millisecond, 20*time.Millisecond, time.Millisecond, 3)
		if i%10 == 0 {
			rec.Sent += int64(15 * time.Millisecond)
		}
		m.Observe(loadgen.Event{Run: run, Record: &rec, Ended: true})
	}
	if got := m.State(at).Running.Client; got != audit.Invalid {
		t.Errorf("it is %s", got)
	}
}

// begun is a stage under way, which ends with the test. Its requests wait.
func begun(t testing.TB) loadgen.Running {
	t.Helper()
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(over) })
	base, _, err := endpoint.ParseBase(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	e, err := endpoint.Open(endpoint.Config{Address: base})
	if err != nil {
		t.Fatal(err)
	}
	client, err := loadgen.NewClient(e.Target("/completions"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run, err := (&loadgen.Runner{Client: client}).Start(ctx, loadgen.Stage{
		Load: constant(5), MaxDuration: time.Hour, Grace: 0,
	}, loadgen.Hooks{Source: func(int) (loadgen.Request, error) {
		return loadgen.Request{Body: []byte(`{}`)}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		run.Wait()
		client.Close()
	})
	return run
}

// A request that ends does not wait while what is known of the others is summed up.
func TestObserveDoesNotWait(t *testing.T) {
	m := NewModel(Head{Command: "run", Stages: 1}, at)
	m.mu.Lock() // as State does
	defer m.mu.Unlock()
	told := make(chan struct{})
	go func() {
		rec := record(0, 30*time.Millisecond, 5*time.Millisecond, 128)
		m.Observe(loadgen.Event{Record: &rec, Ended: true})
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
}

// filled is a model whose stage under way has all the requests that are looked at.
func filled(b *testing.B) *Model {
	m := NewModel(Head{Command: "run", Stages: 1, Lengths: []time.Duration{time.Minute}}, at)
	m.Begin(0, begun(b))
	for i := range kept {
		rec := record(time.Duration(i)*time.Millisecond, 30*time.Millisecond, 5*time.Millisecond, 128)
		m.recent.add(&rec, nil)
	}
	return m
}

// BenchmarkFrame is a frame of the screen, which is drawn four times a second.
func BenchmarkFrame(b *testing.B) {
	m := filled(b)
	for b.Loop() {
		Screen(m.State(at), 159, 49)
	}
}

// BenchmarkLook is what is made anew once a second beside that.
func BenchmarkLook(b *testing.B) {
	m := filled(b)
	p := loadgen.Progress{Elapsed: time.Minute, Sent: kept}
	for b.Loop() {
		p.Elapsed += time.Second
		m.look(p)
	}
}

// BenchmarkObserve is what a request costs once, when it has ended.
func BenchmarkObserve(b *testing.B) {
	m := filled(b)
	rec := record(0, 30*time.Millisecond, 5*time.Millisecond, 128)
	e := loadgen.Event{Run: m.run, Record: &rec, Ended: true}
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(e)
	}
}

// A stage that lost a worker is run again: there is one more than was planned, and the rates after it stay theirs.
func TestStageIsRepeated(t *testing.T) {
	m := NewModel(Head{Stages: 3, Rates: []float64{1, 2, 3}, Lengths: []time.Duration{10e9, 20e9, 30e9}}, at)
	m.End(report.Stage{Reason: loadgen.StopDuration})
	m.End(report.Stage{Reason: loadgen.StopWorkerLost})
	s := m.State(at)
	if s.Stages != 4 || s.Next != 2 || s.Total != 50*time.Second {
		t.Errorf("%d stages, the next at %v/s, %v in all", s.Stages, s.Next, s.Total)
	}
	m.End(report.Stage{Reason: loadgen.StopDuration})
	if s := m.State(at); s.Stages != 4 || s.Next != 3 {
		t.Errorf("%d stages, the next at %v/s", s.Stages, s.Next)
	}
}
