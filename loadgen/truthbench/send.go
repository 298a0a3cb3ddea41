package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// defaultGC is the GOGC that the command uses.
const defaultGC = 400

// job is what the client's process is asked to do.
type job struct {
	row
	URL     string
	GC      int
	Apart   bool
	Profile string
	Trace   string
}

// measured is what the client says. Times are ms, delays and lateness µs, each as median and 99th percentile.
type measured struct {
	FirstSent time.Time
	Offered   int
	Sent      int
	Completed int
	Errored   int
	Tokens    int
	TTFT      [2]float64
	ITL       float64
	Lateness  [2]float64
	Started   [2]float64 // of it: until the request's goroutine ran
	Connect   [2]float64 // of the requests that opened a connection
	NewConns  int
	Delay     [2]float64
	CPU       float64 // s
	Elapsed   float64 // s
	GCs       int

	// Of a run of two minutes at least: resident memory after the first minute and at the end, and the send lateness.
	MinuteMB, EndMB         float64
	FirstMinute, LastMinute [2]float64

	Stamps   string
	FirstErr string `json:",omitempty"`
}

// send is the client's process.
func send(arg string) error {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		return err
	}
	debug.SetGCPercent(j.GC)
	client, err := loadgen.NewClient(loadgen.Target{URL: j.URL + "/v1/chat/completions"})
	if err != nil {
		return err
	}
	body := requestBody(j.Output)
	stage := loadgen.Stage{
		Source: func(int) (loadgen.Request, error) {
			return loadgen.Request{Body: body, PromptTokens: 256, OutputTokens: int32(j.Output)}, nil
		},
		MaxDuration: time.Duration(j.Seconds * float64(time.Second)),
		Grace:       time.Minute, // every stream is followed to its end: a lost one would show
		KeepDetails: true,
	}
	if j.Streams > 0 {
		stage.Streams = j.Streams
		stage.RampUp = time.Second
	} else {
		stage.Schedule = loadgen.Constant{Rate: j.Rate}
	}
	if j.Profile != "" {
		f, err := os.Create(j.Profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if j.Trace != "" {
		f, err := os.Create(j.Trace)
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
	leg, err := (&loadgen.Runner{Client: client, MaxConcurrency: 20_000}).Run(context.Background(), stage)
	if err != nil {
		return err
	}
	m := summarize(leg)
	m.EndMB = <-end
	select {
	case m.MinuteMB = <-minute:
	default: // the run was shorter
	}
	return json.NewEncoder(os.Stdout).Encode(m)
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
	return fmt.Appendf(nil, `{"model":"llmsim","messages":[{"role":"user","content":%q}],"max_completion_tokens":%d,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`,
		strings.Repeat("word ", 256), output)
}

func summarize(leg *loadgen.Leg) measured {
	m := measured{
		Offered: leg.Offered, CPU: leg.Client.CPU.Seconds(), GCs: leg.Client.GCs, Stamps: string(leg.Client.Stamps),
		Elapsed: time.Duration(leg.End - leg.Start).Seconds(),
		Delay:   [2]float64{float64(leg.ClientDelay.ValueAtQuantile(50)) / 1e3, float64(leg.ClientDelay.ValueAtQuantile(99)) / 1e3},
	}
	var ttft, lateness, started, connect, first, last []float64
	var span, gaps float64
	for i := range leg.Records {
		r := &leg.Records[i]
		m.Tokens += int(r.TokenEvents)
		if r.Sent == 0 {
			continue
		}
		if m.Sent++; m.Sent == 1 {
			m.FirstSent = leg.Wall(r.Sent)
		}
		lateness = append(lateness, float64(r.Lateness())/1e3)
		if r.Scheduled < leg.Start+int64(time.Minute) {
			first = append(first, float64(r.Lateness())/1e3)
		}
		if r.Scheduled > leg.Stopped-int64(time.Minute) {
			last = append(last, float64(r.Lateness())/1e3)
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
				m.FirstErr = leg.Details[i].Error
			}
		}
	}
	m.TTFT, m.Lateness, m.Started, m.Connect = twoPercentiles(ttft), twoPercentiles(lateness), twoPercentiles(started), twoPercentiles(connect)
	m.ITL, m.FirstMinute, m.LastMinute = span/gaps, twoPercentiles(first), twoPercentiles(last)
	return m
}
