package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
)

// crew is a leader with workers, in one process, and the simulated engine that they send to.
type crew struct {
	*Leader
	engine *llmsim.Server
	config WorkerConfig
	quit   []context.CancelFunc
	ends   []chan error
	said   []string
	mu     sync.Mutex
}

const body = `{"model":"llmsim","messages":[{"role":"user","content":"one two three"}],"max_tokens":4,"stream":true,` +
	`"stream_options":{"include_usage":true},"ignore_eos":true}`

// newCrew starts a leader and so many workers.
func newCrew(t *testing.T, workers int) *crew {
	t.Helper()
	config, err := llmsim.ParseSpec("fast")
	if err != nil {
		t.Fatal(err)
	}
	c := &crew{}
	if c.engine, err = llmsim.NewServer(config); err != nil {
		t.Fatal(err)
	}
	if err := c.engine.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.engine.Close() })
	c.Leader, err = NewLeader(Config{Listen: "127.0.0.1:0", Workers: workers, Version: "v1", Token: "secret",
		Note: func(text string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.said = append(c.said, text)
		}})
	if err != nil {
		t.Fatal(err)
	}
	c.config = WorkerConfig{
		Leader: c.Address(), Token: "secret", Version: "v1", Most: 1000, Patience: 10 * time.Second,
		Headers: []string{"Authorization"},
		Open: func(s Setup) (*loadgen.Client, error) {
			return loadgen.NewClient(loadgen.Target{URL: s.Targets[0] + s.Path})
		},
	}
	for range workers {
		c.add(t)
	}
	setup := Setup{Targets: []string{c.engine.URL()}, Path: "/v1/chat/completions", Headers: []string{"Authorization"}}
	if err := c.Open(t.Context(), setup, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		for i, end := range c.ends {
			select {
			case <-end:
			case <-time.After(5 * time.Second):
				t.Errorf("worker %d does not end", i)
			}
		}
	})
	return c
}

// add starts a worker.
func (c *crew) add(t *testing.T) {
	ctx, quit := context.WithCancel(context.Background())
	t.Cleanup(quit)
	config := c.config
	config.Name = fmt.Sprintf("w%d", len(c.ends))
	end := make(chan error, 1)
	c.quit, c.ends = append(c.quit, quit), append(c.ends, end)
	go func() { end <- Work(ctx, config) }()
}

// source gives requests, and knows which.
func source(asked *[]int) loadgen.Source {
	return func(i int) (loadgen.Request, error) {
		*asked = append(*asked, i)
		return loadgen.Request{Body: []byte(body), PromptTokens: int32(i), OutputTokens: 4}, nil
	}
}

// run runs a stage to its end.
func (c *crew) run(t *testing.T, s loadgen.Stage, h loadgen.Hooks) *loadgen.Measured {
	t.Helper()
	run, err := c.Start(t.Context(), s, h)
	if err != nil {
		t.Fatal(err)
	}
	return run.Wait()
}

// The records of several workers are those that one process would have left: every arrival, in order, with its own
// request, due when the schedule has it.
func TestOpenLoop(t *testing.T) {
	c := newCrew(t, 3)
	stage := loadgen.Stage{Load: loadgen.Load{Kind: loadgen.PoissonGaps, Rate: 200, Seed: 7}, MaxDuration: time.Second,
		KeepDetails: true, KeepTexts: 10, Grace: time.Second}
	var asked []int
	var mu sync.Mutex
	sent, ended := map[int]int{}, map[int]int{}
	m := c.run(t, stage, loadgen.Hooks{Source: source(&asked), Observe: func(e loadgen.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Ended {
			ended[e.Index]++
		} else {
			sent[e.Index]++
		}
	}})
	if m.Reason != loadgen.StopDuration || m.Err != nil || len(m.Workers) != 3 {
		t.Fatalf("ended by %s (%v), %d workers", m.Reason, m.Err, len(m.Workers))
	}
	if m.Stopped-m.Start != int64(time.Second) || m.Offered < 100 || m.Offered != len(m.Records) {
		t.Errorf("%d offered in %v, %d records", m.Offered, time.Duration(m.Stopped-m.Start), len(m.Records))
	}
	schedule := stage.Load.Schedule()
	texts := 0
	for i := range m.Records {
		if t.Failed() {
			return
		}
		r := &m.Records[i]
		offset, _ := schedule.At(i)
		if r.Scheduled != m.Start+int64(offset) || r.AskedPrompt != int32(i) {
			t.Fatalf("request %d is request %d, due %v instead of %v", i, r.AskedPrompt,
				time.Duration(r.Scheduled-m.Start), offset)
		}
		if r.Status != loadgen.Completed || r.Sent < r.Scheduled || r.FirstToken < r.Sent || r.End < r.LastToken {
			t.Errorf("request %d: %+v", i, *r)
		}
		if sent[i] != 1 || ended[i] != 1 {
			t.Errorf("request %d was told of %d times as it was sent, %d times as it ended", i, sent[i], ended[i])
		}
		if m.Details[i].Output != "" {
			texts++
		}
	}
	if texts < 10 || texts > 12 {
		t.Errorf("the texts of %d requests were kept, of 10", texts)
	}
	if n := m.TTFT.TotalCount(); n != int64(len(m.Records)) {
		t.Errorf("%d times to first token of %d requests", n, len(m.Records))
	}
	gaps := int64(0)
	for i := range m.Records {
		gaps += int64(m.Records[i].TokenEvents - 1)
	}
	if m.Gaps.TotalCount() != gaps {
		t.Errorf("%d gaps, %d in the records", m.Gaps.TotalCount(), gaps)
	}
	v := audit.Check(m)
	if len(v.Workers) != 3 {
		t.Fatalf("%d workers in the audit", len(v.Workers))
	}
	requests := 0
	for _, w := range v.Workers {
		requests += w.Requests
		if w.ClockOffset == 0 || w.ClockError <= 0 || w.ClockError > 20*time.Millisecond {
			t.Errorf("clock of %s: %v ± %v", w.Name, w.ClockOffset, w.ClockError)
		}
	}
	if requests != len(m.Records) {
		t.Errorf("the workers had %d requests, and the stage %d", requests, len(m.Records))
	}
	c.sameGaps(t, m)
}

// sameGaps compares when the engine read the requests with when they were due.
func (c *crew) sameGaps(t *testing.T, m *loadgen.Measured) {
	t.Helper()
	var read []int64
	for _, truth := range c.engine.Truth() {
		read = append(read, truth.Read)
	}
	if len(read) != len(m.Records) {
		t.Fatalf("the engine had %d requests, of %d", len(read), len(m.Records))
	}
	slices.Sort(read)
	var off []time.Duration
	for i := range read[1:] {
		due := m.Records[i+1].Scheduled - m.Records[i].Scheduled
		off = append(off, time.Duration(max(read[i+1]-read[i]-due, due-read[i+1]+read[i])))
	}
	slices.SortFunc(off, cmp.Compare)
	t.Logf("gaps differ by %v at the median, %v at the 99th percentile", off[len(off)/2], off[len(off)*99/100])
}

func TestClosedLoop(t *testing.T) {
	c := newCrew(t, 2)
	var asked []int
	m := c.run(t, loadgen.Stage{Load: loadgen.Load{Kind: loadgen.Concurrent, Streams: 5}, MaxRequests: 43},
		loadgen.Hooks{Source: source(&asked)})
	if m.Reason != loadgen.StopRequests || len(m.Records) != 43 || m.Offered != 43 {
		t.Errorf("ended by %s with %d of 43 requests, %d offered", m.Reason, len(m.Records), m.Offered)
	}
	if m.Client.PeakInFlight > 5 || m.Client.PeakInFlight < 3 {
		t.Errorf("%d in flight, of 5 streams", m.Client.PeakInFlight)
	}
	one := c.run(t, loadgen.Stage{Load: loadgen.Load{Kind: loadgen.Synchronous, Streams: 1}, MaxRequests: 5},
		loadgen.Hooks{Source: source(&asked)})
	if len(one.Records) != 5 || one.Client.PeakInFlight != 1 || len(one.Workers) != 1 {
		t.Errorf("one stream: %d requests, %d in flight, %d workers", len(one.Records), one.Client.PeakInFlight,
			len(one.Workers))
	}
}

// The saturation probe changes the number of streams as it goes, from fewer than there are workers.
func TestStreamsGrow(t *testing.T) {
	c := newCrew(t, 3)
	var asked []int
	run, err := c.Start(t.Context(), loadgen.Stage{Load: loadgen.Load{Kind: loadgen.Throughput, Streams: 2},
		MaxDuration: time.Minute}, loadgen.Hooks{Source: source(&asked)})
	if err != nil {
		t.Fatal(err)
	}
	run.SetStreams(30)
	deadline := time.Now().Add(10 * time.Second)
	for run.Progress().Firsts < 200 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	p := run.Progress()
	if total, over := run.LiveGaps([]int64{1000, int64(time.Hour)}); total < 100 || over[0] == 0 || over[1] != 0 {
		t.Errorf("%d gaps, over the bounds: %v", total, over)
	}
	run.Stop()
	m := run.Wait()
	if p.Firsts < 200 || m.Reason != loadgen.StopAsked || m.Client.PeakInFlight < 20 || m.Client.PeakInFlight > 30 {
		t.Errorf("%d first tokens; ended by %s with %d in flight", p.Firsts, m.Reason, m.Client.PeakInFlight)
	}
}

func TestWorkerLost(t *testing.T) {
	c := newCrew(t, 3)
	var asked []int
	stage := loadgen.Stage{Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: 100}, MaxDuration: 3 * time.Second}
	run, err := c.Start(t.Context(), stage, loadgen.Hooks{Source: source(&asked)})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	c.quit[1]()
	m := run.Wait()
	if m.Reason != loadgen.StopWorkerLost || !strings.Contains(m.Err.Error(), "it was stopped") {
		t.Errorf("ended by %s: %v", m.Reason, m.Err)
	}
	v := audit.Check(m)
	lost := ""
	for _, w := range v.Workers {
		lost += w.Lost
	}
	if v.Level != audit.Invalid || lost != "it was stopped" {
		t.Errorf("the client is %s, lost: %q", v.Level, lost)
	}
	again := c.run(t, stage, loadgen.Hooks{Source: source(&asked)})
	if again.Reason != loadgen.StopDuration || len(again.Workers) != 2 || len(again.Records) < 290 {
		t.Errorf("again: ended by %s with %d workers, %d requests", again.Reason, len(again.Workers),
			len(again.Records))
	}
	if notes := strings.Join(c.Notes(), "\n"); !strings.Contains(notes, "was lost: it was stopped") {
		t.Errorf("notes: %s", notes)
	}
}

func TestStops(t *testing.T) {
	c := newCrew(t, 2)
	var asked []int
	stage := loadgen.Stage{Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: 50}, MaxDuration: time.Minute}
	ctx, cancel := context.WithCancel(t.Context())
	run, err := c.Start(ctx, stage, loadgen.Hooks{Source: source(&asked)})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	cancel()
	if m := run.Wait(); m.Reason != loadgen.StopInterrupted || len(m.Records) == 0 {
		t.Errorf("interrupted: ended by %s with %d requests", m.Reason, len(m.Records))
	}
	empty := errors.New("there is no more")
	m := c.run(t, stage, loadgen.Hooks{Source: func(i int) (loadgen.Request, error) {
		if i >= 20 {
			return loadgen.Request{}, empty
		}
		return loadgen.Request{Body: []byte(body)}, nil
	}})
	if m.Reason != loadgen.StopSource || !errors.Is(m.Err, empty) {
		t.Errorf("without requests: ended by %s: %v", m.Reason, m.Err)
	}
	stage.MaxErrors = 5
	m = c.run(t, stage, loadgen.Hooks{Source: func(int) (loadgen.Request, error) {
		return loadgen.Request{Body: []byte("{")}, nil
	}})
	if m.Reason != loadgen.StopErrors || len(m.Records) > 20 {
		t.Errorf("with errors: ended by %s after %d requests", m.Reason, len(m.Records))
	}
}

func TestRefused(t *testing.T) {
	c := newCrew(t, 1)
	for name, change := range map[string]func(*WorkerConfig){
		"version":     func(w *WorkerConfig) { w.Version = "v2" },
		"token":       func(w *WorkerConfig) { w.Token = "other" },
		"its headers": func(w *WorkerConfig) { w.Headers = nil },
	} {
		config := c.config
		config.Name = name
		change(&config)
		if err := Work(t.Context(), config); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if notes := strings.Join(c.Notes(), "\n"); !strings.Contains(notes, "it is openloop v2, and the leader is v1") ||
		!strings.Contains(notes, "no Authorization header") {
		t.Errorf("notes: %s", notes)
	}
	config := c.config
	config.Leader, config.Patience = "127.0.0.1:1", 500*time.Millisecond
	if err := Work(t.Context(), config); !errors.Is(err, ErrNoLeader) {
		t.Errorf("no leader: %v", err)
	}
}

func TestMissingWorkers(t *testing.T) {
	l, err := NewLeader(Config{Listen: "127.0.0.1:0", Workers: 2, Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = l.Open(t.Context(), Setup{}, 300*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "0 of 2 workers joined") {
		t.Error(err)
	}
	if _, err := NewLeader(Config{Listen: l.Address(), Workers: 2}); err == nil {
		t.Error("two leaders listen at one address")
	}
}

// A session is sent by one worker, from its first turn to its last.
func TestSessionsOfWorkers(t *testing.T) {
	c := newCrew(t, 2)
	session := &loadgen.Session{}
	for range 3 {
		head, tail, _ := strings.Cut(body, `{"role":"user","content":"one two three"}`)
		session.Turns = append(session.Turns, loadgen.Turn{
			Think: 20 * time.Millisecond, Head: []byte(head), Tail: []byte(tail), PromptTokens: -1, OutputTokens: 4,
			Messages: []byte(`{"role":"user","content":"one two three"}`),
		})
	}
	m := c.run(t, loadgen.Stage{Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: 20}, MaxRequests: 10},
		loadgen.Hooks{Source: func(int) (loadgen.Request, error) { return session.Request(), nil }})
	want := loadgen.Sessions{Started: 10, Done: 10}
	if m.Sessions != want || len(m.Records) != 30 || m.Offered != 10 {
		t.Fatalf("%+v, %d records, %d offered", m.Sessions, len(m.Records), m.Offered)
	}
	turns := map[int32]int16{}
	for i := range m.Records {
		r := &m.Records[i]
		if i > 0 && r.Scheduled < m.Records[i-1].Scheduled || r.Turn != turns[r.Session] {
			t.Errorf("request %d is turn %d of session %d", i, r.Turn, r.Session)
		}
		turns[r.Session]++
		if due := m.Start + int64(r.Session)*50e6; r.Began != due {
			t.Errorf("session %d began at %d instead of %d", r.Session, r.Began, due)
		}
	}
	if len(turns) != 10 {
		t.Errorf("%d sessions", len(turns))
	}
}

// The cap on requests in flight is one of all workers, also when one of them is lost.
func TestCapIsDealtOut(t *testing.T) {
	c := newCrew(t, 2)
	c.setup.MaxConcurrency = 8
	var asked []int
	stage := loadgen.Stage{Load: loadgen.Load{Kind: loadgen.Throughput, Streams: 30}, MaxDuration: time.Second}
	if m := c.run(t, stage, loadgen.Hooks{Source: source(&asked)}); m.Client.PeakInFlight != 8 {
		t.Errorf("two workers had %d requests in flight, of 8", m.Client.PeakInFlight)
	}
	c.quit[0]()
	for len(c.able()) == 2 {
		time.Sleep(10 * time.Millisecond)
	}
	m := c.run(t, stage, loadgen.Hooks{Source: source(&asked)})
	if m.Client.PeakInFlight != 8 || len(m.Workers) != 1 {
		t.Errorf("%d worker had %d requests in flight, of 8", len(m.Workers), m.Client.PeakInFlight)
	}
}

// A worker that is lost when the stage was told to end already was lost all the same.
func TestLostAtTheEnd(t *testing.T) {
	c := newCrew(t, 2)
	var asked []int
	load := loadgen.Load{Kind: loadgen.ConstantGap, Rate: 50}
	run, err := c.Start(t.Context(), loadgen.Stage{Load: load, MaxDuration: time.Minute},
		loadgen.Hooks{Source: source(&asked)})
	if err != nil {
		t.Fatal(err)
	}
	s := run.(*stage)
	s.mu.Lock()
	s.reason = loadgen.StopAsked // the order is on its way
	s.mu.Unlock()
	c.giveUp(c.members[0], "it died")
	if m := run.Wait(); m.Reason != loadgen.StopWorkerLost || m.Err == nil {
		t.Errorf("ended by %s: %v", m.Reason, m.Err)
	}
}

// What a worker did not get to is of the class and the target that it would have been.
func TestUnsentHaveTheirTarget(t *testing.T) {
	asked := loadgen.Stage{Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: 10}}
	requests := newSupply(func(i int) (loadgen.Request, error) {
		return loadgen.Request{Class: uint8(i%2 + 1), Target: uint8(i % 3)}, nil
	}, asked, 2)
	for range 3 {
		requests.take(1, 1) // arrivals 1, 3 and 5
	}
	s := &stage{asked: asked, requests: requests, parts: []*part{{requests: []request{
		{index: 1, record: loadgen.Record{Class: 2, Target: 1, Sent: 1}},
		{index: 5, record: loadgen.Record{Class: 2, Target: 2, Sent: 1}},
	}}}}
	m := &loadgen.Measured{Stage: asked}
	s.gather(m)
	if len(m.Records) != 6 {
		t.Fatalf("%d records", len(m.Records))
	}
	for i, r := range m.Records {
		if int(r.Class) != i%2+1 || int(r.Target) != i%3 || (r.Sent > 0) != (i == 1 || i == 5) {
			t.Errorf("arrival %d: %+v", i, r)
		}
	}
}
