package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/live"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/tokens"
)

// defaultGC is the GOGC that the command runs its load with: Go's own.
const defaultGC = 100

// clientOptions are what the flags ask of the client's process.
type clientOptions struct {
	GC      int    // its GOGC
	Apart   bool   // on a processor of its own
	Profile string // file for its processor profile; "" for none
	Trace   string // file for its execution trace; "" for none
	Screen  bool   // draw the command's screen while it sends
	Workers int    // processes that send while this one leads; 0: it sends itself
}

// clientArgs are the arguments of the client's process: the load, the options, and the server's base URL.
type clientArgs struct {
	row
	clientOptions
	URL string
}

// clientMeasured is what the client's process says at its end. Pairs are the median and the 99th percentile.
type clientMeasured struct {
	FirstSent time.Time
	Offered   int
	Sent      int
	Completed int
	Errored   int
	Tokens    int
	TTFT      [2]float64 // ms
	ITL       float64    // ms, mean
	SendDelay [2]float64 // µs
	Started   [2]float64 // µs, of it: until the request's goroutine ran
	Connect   [2]float64 // µs, of the requests that opened a connection
	NewConns  int
	Delay     [2]float64 // µs from the kernel's receipt of a token to the client's reading it
	CPU       float64    // s; of workers, all of them
	LeaderCPU float64    // s, of their leader
	Elapsed   float64    // s
	GCs       int

	// Of a run of two minutes at least: resident memory after the first minute and at the end, and the send delay in
	// µs.
	MinuteMB, EndMB         float64
	FirstMinute, LastMinute [2]float64

	Verdict audit.Level
	Reasons []string

	ReportSeconds float64 // from the end of the stage to the files
	ReportMB      float64

	Stamps   string
	FirstErr string `json:",omitempty"`
}

// send is the client's process.
func send(arg string) error {
	var a clientArgs
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err
	}
	debug.SetGCPercent(a.GC)
	client, err := loadgen.NewClient(loadgen.Target{URL: a.URL + "/v1/chat/completions"})
	if err != nil {
		return err
	}
	body := requestBody(a.Output)
	hooks := loadgen.Hooks{Source: func(int) (loadgen.Request, error) {
		return loadgen.Request{Body: body, PromptTokens: 256, OutputTokens: int32(a.Output)}, nil
	}}
	if a.Turns > 0 {
		session := sessionOf(string(body), a.Turns, a.Think)
		random := rand.New(rand.NewPCG(1, 2))
		hooks.Source = func(int) (loadgen.Request, error) {
			if !a.Poisson {
				return session.Request(), nil
			}
			s := &loadgen.Session{Turns: slices.Clone(session.Turns)}
			for i := range s.Turns {
				s.Turns[i].Think = time.Duration(random.ExpFloat64() * float64(a.Think))
			}
			return s.Request(), nil
		}
	}
	stage := loadgen.Stage{
		MaxDuration: time.Duration(a.Seconds * float64(time.Second)),
		Grace:       time.Minute, // every stream is followed to its end: a lost one would show
		KeepDetails: true,
	}
	if a.Streams > 0 {
		stage.Load = loadgen.Load{Kind: loadgen.Concurrent, Streams: a.Streams, RampUp: time.Second}
	} else {
		stage.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: a.Rate}
		if a.Poisson {
			stage.Load = loadgen.Load{Kind: loadgen.PoissonGaps, Rate: a.Rate, Seed: 1}
		}
	}
	runner := &loadgen.Runner{Client: client, MaxConcurrency: 20_000}
	if a.Report > 0 {
		stage.MaxDuration, stage.MaxRequests = 0, a.Report
	}
	if a.Busy > 0 {
		runtime.GOMAXPROCS(1)
		for range a.Busy {
			go func() {
				for start := time.Now(); time.Since(start) < time.Hour; { // nothing but work
				}
			}()
		}
	}
	if a.Stall > 0 {
		runner.Sleep = stallOnce(stage.MaxDuration/2, a.Stall)
	}
	if a.Profile != "" {
		f, err := os.Create(a.Profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if a.Trace != "" {
		f, err := os.Create(a.Trace)
		if err != nil {
			return err
		}
		if err := trace.Start(f); err != nil {
			return err
		}
		defer trace.Stop()
	}
	minute, end := make(chan float64, 1), make(chan float64, 1)
	time.AfterFunc(time.Minute, func() { minute <- residentMB() })
	time.AfterFunc(stage.MaxDuration-100*time.Millisecond, func() { end <- residentMB() })
	var m clientMeasured
	var left *loadgen.Measured
	if a.Workers > 0 {
		left, m.LeaderCPU, err = sendByWorkers(a.Workers, a.URL, stage, hooks)
	} else {
		left, err = sendStage(runner, stage, hooks, a.Screen)
	}
	if err != nil {
		return err
	}
	verdict := audit.Check(left)
	if a.Report > 0 {
		if m.ReportSeconds, m.ReportMB, err = writeReport(left, verdict); err != nil {
			return err
		}
	}
	m.add(left)
	m.Verdict = verdict.Level
	for _, r := range verdict.Reasons {
		m.Reasons = append(m.Reasons, r.Text)
	}
	if stage.MaxDuration > 0 {
		m.EndMB = <-end
	}
	select {
	case m.MinuteMB = <-minute:
	default: // the run was shorter
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// drawEvery is how often the command draws its screen.
const drawEvery = 250 * time.Millisecond

// sendStage runs the stage, and where it is asked to, draws the command's screen on stderr meanwhile.
func sendStage(
	runner *loadgen.Runner, stage loadgen.Stage, hooks loadgen.Hooks, screen bool,
) (*loadgen.Measured, error) {
	if !screen {
		return runner.Run(context.Background(), stage, hooks)
	}
	objectives, err := slo.ParseObjectives("ttft:p95<250ms tpot:p95<50ms errors<1%")
	if err != nil {
		return nil, err
	}
	model := live.NewModel(live.Head{
		Command: "run", Target: "http://llmsim", Model: "llmsim", Objectives: objectives, Stages: 1,
		Lengths: []time.Duration{stage.MaxDuration}, Rates: []float64{stage.Load.Rate},
	}, time.Now())
	hooks.Observe = model.Observe
	run, err := runner.Start(context.Background(), stage, hooks)
	if err != nil {
		return nil, err
	}
	model.Begin(0, run)
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		select {
		case <-run.Done():
			fmt.Fprintln(os.Stderr)
			return run.Wait(), nil
		case <-tick.C:
		}
		var frame strings.Builder
		lines := live.Screen(model.State(time.Now()), 119, 39)
		for _, line := range lines {
			frame.WriteString(report.Paint(line) + "\x1b[K\n")
		}
		fmt.Fprintf(&frame, "\x1b[%dA", len(lines))
		fmt.Fprint(os.Stderr, frame.String())
	}
}

// residentMB is the process's resident memory; 0 where it can't be read.
func residentMB() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident float64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * float64(os.Getpagesize()) / (1 << 20)
}

func requestBody(output int) []byte {
	return fmt.Appendf(nil, `{"model":"llmsim","messages":[{"role":"user","content":%q}],"max_completion_tokens":%d,`+
		`"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`,
		strings.Repeat("word ", 256), output)
}

// sessionOf is a session of turns that all have the message of a body.
func sessionOf(body string, turns int, think time.Duration) *loadgen.Session {
	head, rest, _ := strings.Cut(body, `"messages":[`)
	message, tail, _ := strings.Cut(rest, `]`)
	s := &loadgen.Session{}
	for range turns {
		s.Turns = append(s.Turns, loadgen.Turn{
			Think: think, Head: []byte(head + `"messages":[`), Tail: []byte("]" + tail), Messages: []byte(message),
			PromptTokens: -1, Answer: []byte(`{"role":"assistant","content":"yes"}`),
		})
	}
	return s
}

// add takes in what was measured of the stage.
func (m *clientMeasured) add(stage *loadgen.Measured) {
	c := &stage.Client
	m.Offered, m.CPU, m.GCs, m.Stamps = stage.Offered, c.CPU.Seconds(), c.GCs, string(c.Stamps)
	m.Elapsed = time.Duration(stage.End - stage.Start).Seconds()
	m.Delay[0] = float64(stage.ClientDelay.ValueAtQuantile(50)) / 1e3
	m.Delay[1] = float64(stage.ClientDelay.ValueAtQuantile(99)) / 1e3
	var ttft, delays, started, connect, first, last []float64
	var span, gaps float64
	for i := range stage.Records {
		r := &stage.Records[i]
		m.Tokens += int(r.TokenEvents)
		if r.Sent == 0 {
			continue
		}
		if m.Sent++; m.Sent == 1 {
			m.FirstSent = stage.Wall(r.Sent)
		}
		delays = append(delays, float64(r.SendDelay())/1e3)
		if r.Scheduled < stage.Start+int64(time.Minute) {
			first = append(first, float64(r.SendDelay())/1e3)
		}
		if r.Scheduled > stage.Stopped-int64(time.Minute) {
			last = append(last, float64(r.SendDelay())/1e3)
		}
		started = append(started, float64(r.Started-r.Scheduled)/1e3)
		if r.Flags&loadgen.NewConnection != 0 {
			m.NewConns++
			connect = append(connect, float64(r.Connecting)/1e3)
		}
		if d, ok := r.TTFT(); ok {
			ttft = append(ttft, float64(d)/1e6)
		}
		switch r.Status {
		case loadgen.Completed:
			m.Completed++
			span += float64(r.LastToken-r.FirstToken) / 1e6
			gaps += float64(r.TokenEvents - 1)
		default:
			if m.Errored++; m.Errored == 1 {
				m.FirstErr = stage.Details[i].Error
			}
		}
	}
	m.TTFT, m.SendDelay = twoPercentiles(ttft), twoPercentiles(delays)
	m.Started, m.Connect = twoPercentiles(started), twoPercentiles(connect)
	m.ITL, m.FirstMinute, m.LastMinute = span/gaps, twoPercentiles(first), twoPercentiles(last)
}

// stallOnce is a pacer that oversleeps once, after so much time.
func stallOnce(after, by time.Duration) func(time.Duration) {
	start, stalled := time.Now(), false
	return func(d time.Duration) {
		if !stalled && time.Since(start) > after {
			stalled = true
			d += by
		}
		time.Sleep(d)
	}
}

// writeReport writes what the command writes of a stage, and takes the time.
func writeReport(stage *loadgen.Measured, verdict audit.Verdict) (seconds, megabytes float64, err error) {
	dir, err := os.MkdirTemp("", "openloop-bench-truth")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	debug.SetGCPercent(50) // as the command does after its load
	start := time.Now()
	asked := spec.Spec{
		Endpoint: endpoint.Config{Target: "http://llmsim"}, Workload: tokens.Spec{Synthetic: &tokens.SyntheticSpec{}},
		Plan: spec.Plan{Profile: string(stage.Stage.Load.Kind), Stages: []loadgen.Load{stage.Stage.Load}},
	}
	exporter := guidellm.NewExporter(guidellm.ExportConfig{Args: guidellm.ArgsOf(asked), Spec: asked, Model: "llmsim"})
	made := &sweep.Result{Stages: []*sweep.Stage{{Load: stage.Stage.Load, Measured: stage, Audit: verdict}}}
	r := exporter.Export(report.New(asked, report.Run{Model: "llmsim", Measured: made}))
	outputs, err := guidellm.ParseOutputs([]string{"json", "csv"})
	if err != nil {
		return 0, 0, err
	}
	for _, o := range outputs {
		name := filepath.Join(dir, o.File)
		if err := guidellm.WriteFile(name, o.Format, r); err != nil {
			return 0, 0, err
		}
		info, err := os.Stat(name)
		if err != nil {
			return 0, 0, err
		}
		megabytes += float64(info.Size()) / 1e6
	}
	return time.Since(start).Seconds(), megabytes, nil
}
