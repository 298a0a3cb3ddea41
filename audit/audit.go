// Package audit says whether the client of a stage can be believed: whether it offered the load that it was asked for,
// and added nothing to the times that it took. It is a pure function of what was measured.
package audit

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Level says how far the client of a stage can be believed.
type Level string

// The levels.
const (
	Valid   Level = "valid"   // nothing speaks against what was measured
	Suspect Level = "suspect" // the client may have added to them, by no more than the reasons say
	Invalid Level = "invalid" // what was measured is the client's, not the server's
)

// Verdict is whether a stage's client can be believed, with the reasons and the measurements behind them.
type Verdict struct {
	Level        Level        `json:"level"`
	Reasons      []Reason     `json:"reasons"` // empty where the client is valid
	Measurements Measurements `json:"measurements"`
	Workers      []Worker     `json:"workers,omitempty"` // where several processes sent the stage together
}

// Worker is the verdict on one of several processes that sent a stage together.
type Worker struct {
	Name        string        `json:"name"`
	Version     string        `json:"version"`
	ClockOffset time.Duration `json:"clock_offset_ns"` // its clock's distance from the leader's
	ClockError  time.Duration `json:"clock_error_ns"`  // what that is known to
	Lost        string        `json:"lost,omitempty"`  // why it did not send to the end of the stage
	Requests    int           `json:"requests"`        // that it was to send

	Level        Level        `json:"level"`
	Reasons      []Reason     `json:"reasons"` // those of its own
	Measurements Measurements `json:"measurements"`
}

// Reason is one check that did not come out well.
type Reason struct {
	Check string  `json:"check"` // which one: sent, send_delay, client_delay, cpu, …
	Level Level   `json:"level"`
	Value float64 `json:"value"` // times in seconds, all else as a share or a number
	Limit float64 `json:"limit"` // in the same unit
	Text  string  `json:"text"`  // the same in words
}

// Measurements are what the client can say about itself. Durations are in nanoseconds.
type Measurements struct {
	AskedRate float64 `json:"asked_rate"` // requests per second of the schedule; closed loops: as sent
	// Requests per second that were sent, or would have been if the server had taken the connection.
	SentRate  float64 `json:"sent_rate"`
	SentShare float64 `json:"sent_share"` // sent/asked

	// Sent − scheduled, without the time in which the server or the network kept a request waiting for a connection.
	SendDelayP50 time.Duration `json:"send_delay_p50_ns"`
	SendDelayP99 time.Duration `json:"send_delay_p99_ns"`
	SendDelayMax time.Duration `json:"send_delay_max_ns"`

	ClientDelayP50 time.Duration `json:"client_delay_p50_ns"` // user-space stamp − kernel stamp
	ClientDelayP99 time.Duration `json:"client_delay_p99_ns"`
	ClientDelayMax time.Duration `json:"client_delay_max_ns"`

	// Dispersion is variance/mean of the requests sent in equal windows: 1 for Poisson arrivals, near 0 for constant
	// ones. 0 too where there are too few windows to tell.
	Dispersion float64 `json:"index_of_dispersion"`
	// KSDistance is the Kolmogorov–Smirnov distance of the gaps between sends from the exponential distribution,
	// KSPlanned the same of the schedule; Poisson arrivals only.
	KSDistance float64 `json:"ks_distance,omitempty"`
	KSPlanned  float64 `json:"ks_distance_scheduled,omitempty"`

	CPU float64 `json:"cpu_cores"` // processors' worth of time that openloop used
	// Processors' worth of time that it may use: GOMAXPROCS, or less by its control groups.
	CPULimit float64 `json:"cpu_limit"`
	CPUShare float64 `json:"cpu_share"` // CPU/CPULimit
	// Periods of the control groups' limit in which openloop ran …
	CPUPeriods int `json:"cpu_periods"`
	// … and those in which it was stopped for having used it up.
	CPUThrottled int `json:"cpu_throttled_periods"`
	// For how long it was stopped in them, summed over processors.
	CPUStopped     time.Duration `json:"cpu_throttled_ns"`
	SchedP99       time.Duration `json:"sched_p99_ns"` // how long runnable goroutines waited for a processor
	GCPause        time.Duration `json:"gc_pause_ns"`  // sum of the stage's stop-the-world pauses
	DelayedByCap   int           `json:"delayed_by_cap"`
	SourceWaits    int           `json:"source_waits"`
	NewConnections int           `json:"new_connections"`
	Retries        int           `json:"retries"`
	Resets         int           `json:"resets"` // connections that ended before their response did
	// Requests that failed because this machine had no descriptor or port left.
	LocalFailures int `json:"local_failures"`
	// For how long openloop stood still, in all and at a time: stopped, or without a processor.
	Frozen       time.Duration `json:"frozen_ns"`
	FrozenMax    time.Duration `json:"frozen_max_ns"`
	Unsent       int           `json:"unsent"` // arrivals due before the end of the stage, and not sent
	PeakInFlight int           `json:"peak_in_flight"`
	FileLimit    int           `json:"file_descriptors"`      // that the process may have open; 0: not known
	FilesLeft    int           `json:"file_descriptors_left"` // at the end of the stage
	PortLimit    int           `json:"local_ports"`           // for connections to one server; 0: not known
	PortsLeft    int           `json:"local_ports_left"`      // at the end of the stage
	Stamps       string        `json:"stamps"`
	Pacer        string        `json:"pacer"`
}

// The limits of the audit, each with its reason. They stand here and nowhere else.
const (
	// A stage that sent less than it was to send was not the load it claims to be. 99 % is also what a stage needs to
	// pass its objectives; below 95 % the rate that was sent belongs to another point of the curve.
	SentSuspect = 0.99
	sentInvalid = 0.95

	// Delayed sends arrive in bunches that the schedule did not hold. A send delay that is small beside the TTFT cannot
	// matter to it: 5 % is within what two runs differ by, a quarter is not. Below the floors it does not matter to any
	// server.
	sendDelayShareSuspect = 0.05
	sendDelayShareInvalid = 0.25
	sendDelayFloorSuspect = time.Millisecond
	sendDelayFloorInvalid = 5 * time.Millisecond
	// Below 100 requests their 99th percentile is the latest of all: one transient stall of the machine is worth a
	// word, not a stage.
	delayedCount = 3

	// The kernel's stamps stay true while the client is slow to read; but a client this slow is short of processor
	// time, and its sends will be late too. At 250 ms a fast server's stream fills the receive buffer and is held back.
	delaySuspect = 5 * time.Millisecond
	delayInvalid = 250 * time.Millisecond

	// Without kernel stamps the wait for a processor is part of every token's time.
	schedSuspect = time.Millisecond
	schedInvalid = 20 * time.Millisecond

	// Above this share of its processors the client has no room for bursts.
	cpuSuspect = 0.90

	// A control group that has used up its period's time stands still for the rest of it, tens of milliseconds. More
	// than one period in a hundred shows in a 99th percentile.
	throttledSuspect = 0.01

	// A client that stands still sends nothing and reads nothing. The shares are those of sent: so much of a closed
	// loop's rate it may cost.
	frozenSuspect = 0.01
	frozenInvalid = 0.05

	// Requests that failed because this machine had no descriptor or port left are the client's errors; more than 1 %
	// is another load. Where there is no room for so many more connections, one burst more and some would have failed.
	localInvalid    = 0.01
	headroomSuspect = 50

	// Arrivals held back by the concurrency cap close the loop: any is worth a word, more than 1 % is another load.
	capInvalid = 0.01

	// Arrivals that waited for the request source: the prompts were not built fast enough.
	sourceSuspect = 0.001

	// Workers are as much one load as their clocks agree: a millisecond is also what the audit lets pass of a send's
	// delay.
	clockSuspect = time.Millisecond

	// The gaps between sends may differ from the scheduled ones by this Kolmogorov–Smirnov distance: 0.05 moves no
	// percentile of the gaps by more than five points.
	ksSuspect = 0.05
)

// Check gives the verdict on a stage.
func Check(l *loadgen.Measured) Verdict {
	v := Verdict{Level: Valid, Measurements: measure(l), Reasons: []Reason{}}
	if len(l.Workers) > 0 {
		v.checkWorkers(l)
	} else {
		v.check(l)
	}
	return v
}

// checkWorkers gives the verdict on a stage that several processes sent together: the worst of theirs. What is wrong
// with several of them is said once, of the worst.
func (v *Verdict) checkWorkers(l *loadgen.Measured) {
	worst, count := map[string]Reason{}, map[string]int{}
	var checks []string
	for i := range l.Workers {
		w := checkWorker(&l.Workers[i])
		v.Workers = append(v.Workers, w)
		for _, r := range w.Reasons {
			r.Text = fmt.Sprintf("worker %s: %s", w.Name, r.Text)
			before, known := worst[r.Check]
			if !known {
				checks = append(checks, r.Check)
			}
			if !known || r.Level == before.Level && r.Value > before.Value ||
				r.Level == Invalid && before.Level != Invalid {
				worst[r.Check] = r
			}
			count[r.Check]++
		}
	}
	for _, check := range checks {
		r, also := worst[check], ""
		if n := count[check]; n > 1 {
			also = fmt.Sprintf(" (%d of %d workers in all)", n, len(l.Workers))
		}
		v.add(check, r.Level, r.Value, r.Limit, "%s%s", r.Text, also)
	}
	v.checkGaps()
}

// checkWorker gives the verdict on one of several processes.
func checkWorker(w *loadgen.Worker) Worker {
	own, requests := Verdict{Level: Valid, Reasons: []Reason{}}, 0
	if w.Part != nil {
		own = Check(w.Part)
		requests = max(w.Part.Offered, len(w.Part.Records))
	}
	if w.Lost != "" {
		own.add("worker", Invalid, 0, 0, "it did not send to the end of the stage: %s", w.Lost)
	}
	if w.ClockError > clockSuspect {
		own.add("clock", Suspect, w.ClockError.Seconds(), clockSuspect.Seconds(),
			"its clock is known to ±%v only, so that it may have sent that much too early or too late",
			num.RoundDuration(w.ClockError))
	}
	return Worker{
		Name: w.Name, Version: w.Version, ClockOffset: w.ClockOffset, ClockError: w.ClockError, Lost: w.Lost,
		Requests: requests, Level: own.Level, Reasons: own.Reasons, Measurements: own.Measurements,
	}
}

// medianLatency is that of the requests that completed without a token, as embeddings do; 0 where there is none.
func medianLatency(l *loadgen.Measured) time.Duration {
	var all []float64
	for i := range l.Records {
		if d, ok := l.Records[i].Latency(); ok {
			all = append(all, float64(d))
		}
	}
	if len(all) == 0 {
		return 0
	}
	return time.Duration(num.Median(all))
}

// checkGaps doubts a client whose sends are another process than the schedule.
func (v *Verdict) checkGaps() {
	f := &v.Measurements
	if d := f.KSDistance - f.KSPlanned; d > ksSuspect {
		v.add("arrival_gaps", Suspect, d, ksSuspect,
			"the gaps between sends differ from the scheduled ones "+
				"(Kolmogorov–Smirnov distance %.3f, scheduled %.3f)", f.KSDistance, f.KSPlanned)
	}
}

// check gives the verdict on a stage that one process sent.
func (v *Verdict) check(l *loadgen.Measured) {
	f, c := &v.Measurements, &l.Client
	if l.Stage.Load.Kind.Open() {
		if f.SentShare < SentSuspect {
			v.add("sent", pick(f.SentShare < sentInvalid), f.SentShare, SentSuspect,
				"%.1f of %.1f req/s were sent (%.1f %%)", f.SentRate, f.AskedRate, 100*f.SentShare)
		}
		ttft, of := time.Duration(l.TTFT.ValueAtQuantile(50)), "TTFT"
		if ttft == 0 {
			ttft, of = medianLatency(l), "latency"
		}
		limit := max(sendDelayFloorInvalid, time.Duration(sendDelayShareInvalid*float64(ttft)))
		invalid := f.SendDelayP99 > limit && delayedSends(l, limit) >= delayedCount
		if invalid || f.SendDelayP99 > sendDelayFloorSuspect &&
			float64(f.SendDelayP99) > sendDelayShareSuspect*float64(ttft) {
			beside := "and no answer came"
			if ttft > 0 {
				beside = fmt.Sprintf("beside a median %s of %v", of, num.RoundDuration(ttft))
			}
			v.add("send_delay", pick(invalid), f.SendDelayP99.Seconds(),
				max(sendDelayFloorSuspect.Seconds(), sendDelayShareSuspect*ttft.Seconds()),
				"1 %% of the requests were sent %v late or more, %s", num.RoundDuration(f.SendDelayP99), beside)
		}
		if n := f.DelayedByCap; n > 0 {
			share := float64(n) / float64(max(1, len(l.Records)))
			v.add("concurrency_cap", pick(share > capInvalid), share, 0,
				"%d arrivals waited for the cap on requests in flight", n)
		}
		if share := float64(f.SourceWaits) / float64(max(1, len(l.Records))); share > sourceSuspect {
			v.add("request_source", Suspect, share, sourceSuspect, "%d arrivals waited for their request to be built",
				f.SourceWaits)
		}
		v.checkGaps()
	}
	if c.Stamps == loadgen.KernelStamps {
		if f.ClientDelayP99 > delaySuspect {
			v.add("client_delay", pick(f.ClientDelayP99 > delayInvalid), f.ClientDelayP99.Seconds(),
				delaySuspect.Seconds(),
				"1 %% of the tokens were read %v or more after the kernel had them",
				num.RoundDuration(f.ClientDelayP99))
		}
	} else if f.SchedP99 > schedSuspect {
		v.add("scheduling", pick(f.SchedP99 > schedInvalid), f.SchedP99.Seconds(), schedSuspect.Seconds(),
			"1 %% of the wake-ups waited %v or more for a processor, and the times are taken after them",
			num.RoundDuration(f.SchedP99))
	}
	if f.CPUShare > cpuSuspect {
		v.add("cpu", Suspect, f.CPUShare, cpuSuspect, "openloop used %.0f %% of the processor time it may use",
			100*f.CPUShare)
	}
	if share := float64(f.CPUThrottled) / float64(max(1, f.CPUPeriods)); share > throttledSuspect {
		v.add("cpu_limit", Suspect, share, throttledSuspect,
			"openloop was throttled in %d of %d periods, for %v summed over processors: it had used up its CPU limit "+
				"of %.3g processors", f.CPUThrottled, f.CPUPeriods, num.RoundDuration(f.CPUStopped), c.CPULimit)
	}
	if share := frozenShare(l); share > frozenSuspect {
		v.add("frozen", pick(share > frozenInvalid), share, frozenSuspect,
			"openloop stood still for %v of %v, at most %v at a time: it was stopped, or had no processor",
			num.RoundDuration(f.Frozen), num.RoundDuration(time.Duration(l.End-l.Start)),
			num.RoundDuration(f.FrozenMax))
	}
	if f.LocalFailures > 0 {
		share := float64(f.LocalFailures) / float64(max(1, len(l.Records)))
		v.add("local_failures", pick(share > localInvalid), share, 0,
			"%d requests failed because this machine had no file descriptor or local port left", f.LocalFailures)
	}
	v.headroom("file_descriptors", c.Files, "file descriptors (ulimit -n)")
	v.headroom("local_ports", c.Ports, "local ports (net.ipv4.ip_local_port_range)")
}

// headroom doubts a client that has nearly used something up.
func (v *Verdict) headroom(check string, h loadgen.Headroom, what string) {
	if h.Limit > 0 && h.Left < headroomSuspect {
		v.add(check, Suspect, float64(h.Left), headroomSuspect, "%d of %d %s were left", h.Left, h.Limit, what)
	}
}

// frozenShare is the share of a stage in which the client stood still.
func frozenShare(l *loadgen.Measured) float64 {
	if l.End <= l.Start {
		return 0
	}
	return float64(l.Client.Frozen) / float64(l.End-l.Start)
}

// delayedSends counts the requests of a stage that were sent later than a limit.
func delayedSends(l *loadgen.Measured, limit time.Duration) int {
	n := 0
	for i := range l.Records {
		if l.Records[i].OwnDelay() > limit {
			n++
		}
	}
	return n
}

func pick(invalid bool) Level {
	if invalid {
		return Invalid
	}
	return Suspect
}

func (v *Verdict) add(check string, level Level, value, limit float64, format string, args ...any) {
	v.Reasons = append(v.Reasons, Reason{check, level, value, limit, fmt.Sprintf(format, args...)})
	if level == Invalid || v.Level == Valid {
		v.Level = level
	}
}

// measure measures the client of a stage.
func measure(l *loadgen.Measured) Measurements {
	seconds := float64(l.Stopped-l.Start) / 1e9
	c := &l.Client
	f := Measurements{
		ClientDelayP50: time.Duration(l.ClientDelay.ValueAtQuantile(50)),
		ClientDelayP99: time.Duration(l.ClientDelay.ValueAtQuantile(99)),
		ClientDelayMax: time.Duration(l.ClientDelay.Max()),
		SchedP99:       c.SchedP99,
		GCPause:        c.GCPause,
		DelayedByCap:   c.DelayedByCap,
		SourceWaits:    c.SourceWaits,
		NewConnections: c.NewConnections,
		Retries:        c.Retries,
		PeakInFlight:   c.PeakInFlight,
		CPUPeriods:     c.CPUPeriods,
		CPUThrottled:   c.CPUThrottled,
		CPUStopped:     c.CPUStopped,
		LocalFailures:  c.LocalFailures,
		Frozen:         c.Frozen,
		FrozenMax:      c.FrozenMax,
		FileLimit:      c.Files.Limit,
		FilesLeft:      c.Files.Left,
		PortLimit:      c.Ports.Limit,
		PortsLeft:      c.Ports.Left,
		Stamps:         string(c.Stamps),
		Pacer:          c.Pacer,
	}
	var delays []time.Duration
	var sent, planned []int64
	offered, arrived := 0, 0 // requests, and of them those that came by the schedule: no later turns of sessions
	for i := range l.Records {
		rec := &l.Records[i]
		if rec.Err == loadgen.ErrReset {
			f.Resets++
		}
		if at := rec.Offered(); at > 0 && at <= l.Stopped {
			offered++
			if rec.Turn == 0 {
				arrived++
			}
			delays = append(delays, rec.OwnDelay())
		}
		if rec.Sent > 0 && rec.Sent <= l.Stopped && rec.Turn == 0 {
			sent = append(sent, rec.Sent-l.Start)
			planned = append(planned, rec.Scheduled-l.Start)
		}
	}
	slices.Sort(delays)
	slices.Sort(sent)
	f.SendDelayP50, f.SendDelayP99 = num.Quantile(delays, 0.5), num.Quantile(delays, 0.99)
	f.SendDelayMax = num.Quantile(delays, 1)
	f.Unsent = unsent(l, arrived)
	if seconds > 0 {
		f.SentRate = float64(offered) / seconds
		f.AskedRate = f.SentRate
		if l.Stage.Load.Kind.Open() {
			f.AskedRate = float64(offered+f.Unsent) / seconds
		}
		f.CPU = c.CPU.Seconds() / (float64(l.End-l.Start) / 1e9)
		f.CPULimit = float64(max(1, c.Procs))
		if c.CPULimit > 0 {
			f.CPULimit = min(f.CPULimit, c.CPULimit)
		}
		f.CPUShare = f.CPU / f.CPULimit
	}
	f.SentShare = 1
	if f.AskedRate > 0 {
		f.SentShare = f.SentRate / f.AskedRate
	}
	f.Dispersion = dispersion(sent, l.Stopped-l.Start)
	if _, ok := l.Stage.Load.Schedule().(*loadgen.Poisson); ok {
		f.KSDistance, f.KSPlanned = exponentialDistance(sent), exponentialDistance(planned)
	}
	return f
}

// unsent counts the arrivals of an open loop that were due and not sent. One that was due in the last moments of the
// stage may have met its end instead: in a stage of a few requests, that would be a percent of them.
func unsent(l *loadgen.Measured, sent int) int {
	if !l.Stage.Load.Kind.Open() {
		return 0
	}
	n := 0
	schedule := l.Stage.Load.Schedule()
	for i := sent; i < l.Offered; i++ {
		if offset, ok := schedule.At(i); ok && l.Start+int64(offset) < l.Stopped-int64(loadgen.EndEdge) {
			n++
		}
	}
	return n
}

// dispersion is the index of dispersion of a process: variance/mean of the counts in equal windows that hold ten events
// on average. It needs ten windows.
func dispersion(events []int64, length int64) float64 {
	windows := len(events) / 10
	if windows < 10 || length <= 0 {
		return 0
	}
	counts := make([]float64, windows)
	for _, t := range events {
		i := int(float64(t) / float64(length) * float64(windows))
		counts[min(max(i, 0), windows-1)]++
	}
	mean, variance := 0.0, 0.0
	for _, n := range counts {
		mean += n / float64(windows)
	}
	for _, n := range counts {
		variance += (n - mean) * (n - mean) / float64(windows-1)
	}
	return variance / mean
}

// exponentialDistance is the Kolmogorov–Smirnov distance of the gaps of a process from the exponential distribution
// with their mean; 0 below 20 gaps.
func exponentialDistance(events []int64) float64 {
	if len(events) < 21 {
		return 0
	}
	gaps := make([]float64, 0, len(events)-1)
	sum := 0.0
	for i := range events[1:] {
		gap := float64(events[i+1] - events[i])
		gaps = append(gaps, gap)
		sum += gap
	}
	slices.Sort(gaps)
	n := float64(len(gaps))
	d := 0.0
	for i, gap := range gaps {
		p := 1 - math.Exp(-gap*n/sum)
		d = max(d, p-float64(i)/n, float64(i+1)/n-p)
	}
	return d
}

// Doubt makes a client suspect for a reason that is not among its measurements.
func (v *Verdict) Doubt(check, text string) { v.add(check, Suspect, 0, 0, "%s", text) }
