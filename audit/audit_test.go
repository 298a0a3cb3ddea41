package audit

import (
	"math"
	"strings"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/loadgen"
)

// fitStage is a stage of ten seconds at 100 req/s, Poisson or constant, whose client did all as it should.
func fitStage(load loadgen.Load) *loadgen.Measured {
	const second = int64(time.Second)
	l := &loadgen.Measured{
		Stage: loadgen.Stage{Load: load}, Start: 1000, Stopped: 1000 + 10*second, End: 1000 + 10*second,
		Gaps: hdr.New(1000, 3.6e12, 3), TTFT: hdr.New(1000, 3.6e12, 3), ClientDelay: hdr.New(1000, 3.6e12, 3),
		Client: loadgen.ClientStats{Stamps: loadgen.KernelStamps, Procs: 2, CPU: time.Second},
	}
	schedule := load.Schedule()
	for i := 0; ; i++ {
		at, ok := schedule.At(i)
		if !ok || l.Start+int64(at) >= l.Stopped {
			break
		}
		due := l.Start + int64(at)
		sent := due + int64(50*time.Microsecond)
		l.Records = append(l.Records, loadgen.Record{Scheduled: due, Started: sent, Sent: sent,
			FirstToken: sent + int64(30*time.Millisecond), Status: loadgen.Completed})
		l.TTFT.RecordValue(int64(30 * time.Millisecond))
		l.ClientDelay.RecordValue(int64(100 * time.Microsecond))
		l.Offered++
	}
	return l
}

func TestAudit(t *testing.T) {
	late := func(share float64, by time.Duration) func(*loadgen.Measured) {
		return func(l *loadgen.Measured) {
			for i := range int(share * float64(len(l.Records))) {
				l.Records[i].Sent += int64(by)
			}
		}
	}
	unsent := func(n int) func(*loadgen.Measured) {
		return func(l *loadgen.Measured) {
			for i := len(l.Records) - n; i < len(l.Records); i++ {
				l.Records[i].Sent = 0
			}
		}
	}
	away := func(n int, kind loadgen.ErrorKind) func(*loadgen.Measured) {
		return func(l *loadgen.Measured) {
			for i := 200; i < 200+n; i++ {
				rec := &l.Records[i]
				*rec = loadgen.Record{Scheduled: rec.Scheduled, Started: rec.Sent, Connecting: 100, End: rec.Sent + 100,
					Status: loadgen.Errored, Err: kind}
			}
		}
	}
	connecting := func(d time.Duration, flag loadgen.Flags) func(*loadgen.Measured) {
		return func(l *loadgen.Measured) {
			for i := range 100 {
				rec := &l.Records[i]
				rec.Sent += int64(d)
				rec.Connecting = int64(d)
				rec.Flags |= loadgen.NewConnection | flag
			}
		}
	}
	delay := func(d time.Duration) func(*loadgen.Measured) {
		return func(l *loadgen.Measured) {
			for range len(l.Records) / 50 {
				l.ClientDelay.RecordValue(int64(d))
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*loadgen.Measured)
		level  Level
		checks string
	}{
		{"healthy", func(*loadgen.Measured) {}, Valid, ""},
		{"late by what does not matter", late(1, 900*time.Microsecond), Valid, ""},
		{"2 % late by 2 ms beside 30", late(0.02, 2*time.Millisecond), Suspect, "send_delay"},
		{"2 % late by 40 ms beside 30", late(0.02, 40*time.Millisecond), Invalid, "send_delay"},
		{"half a percent late by 40 ms", late(0.005, 40*time.Millisecond), Valid, ""},
		{"a pacer that stalls for the second half", late(0.5, time.Second), Invalid, "send_delay"},
		{"the last three not sent", unsent(3), Valid, ""}, // due in the last 50 ms
		{"2 % not sent", unsent(24), Suspect, "sent"},
		{"a server beyond reach", unsent(300), Invalid, "sent"},
		{"a server that was away for 3 s", away(300, loadgen.ErrConnect), Valid, ""},
		{"descriptors that were away for 3 s", away(300, loadgen.ErrLocal), Invalid, "sent"},
		{"connections that the server took late", connecting(time.Second, 0), Valid, ""},
		{"connections opened ahead, and requests sent late", connecting(time.Second, loadgen.OpenedAhead), Invalid,
			"send_delay"},
		{"stopped for a moment", func(l *loadgen.Measured) { l.Client.Frozen = 60 * time.Millisecond }, Valid, ""},
		{"stopped for 0.2 of 10 s", func(l *loadgen.Measured) { l.Client.Frozen = 200 * time.Millisecond }, Suspect,
			"frozen"},
		{"stopped for 4 of 10 s", func(l *loadgen.Measured) { l.Client.Frozen = 4 * time.Second }, Invalid, "frozen"},
		{"two waited for the cap", func(l *loadgen.Measured) { l.Client.DelayedByCap = 2 }, Suspect, "concurrency_cap"},
		{"5 % waited for the cap", func(l *loadgen.Measured) { l.Client.DelayedByCap = 50 }, Invalid,
			"concurrency_cap"},
		{"prompts not built in time", func(l *loadgen.Measured) { l.Client.SourceWaits = 10 }, Suspect,
			"request_source"},
		{"slow to read", delay(20 * time.Millisecond), Suspect, "client_delay"},
		{"far too slow to read", delay(time.Second), Invalid, "client_delay"},
		{"no processor left", func(l *loadgen.Measured) { l.Client.CPU = 19 * time.Second }, Suspect, "cpu"},
		{"little processor time, and much of a container's limit",
			func(l *loadgen.Measured) { l.Client.CPULimit, l.Client.CPU = 0.5, 48*time.Second/10 }, Suspect, "cpu"},
		{"a limit that is never met", func(l *loadgen.Measured) { l.Client.CPULimit, l.Client.CPUPeriods = 4, 100 },
			Valid, ""},
		{"stopped by the container's limit", func(l *loadgen.Measured) {
			l.Client.CPULimit, l.Client.CPUPeriods, l.Client.CPUThrottled = 0.5, 100, 7
			l.Client.CPUStopped = 300 * time.Millisecond
		}, Suspect, "cpu_limit"},
		{"a request without a descriptor", func(l *loadgen.Measured) { l.Client.LocalFailures = 1 }, Suspect,
			"local_failures"},
		{"many of them", func(l *loadgen.Measured) { l.Client.LocalFailures = 30 }, Invalid, "local_failures"},
		{"few descriptors left", func(l *loadgen.Measured) {
			l.Client.Files = loadgen.Headroom{Limit: 1024,
				Left: 10}
		}, Suspect, "file_descriptors"},
		{"few ports left", func(l *loadgen.Measured) { l.Client.Ports = loadgen.Headroom{Limit: 28_000} }, Suspect,
			"local_ports"},
		{"room for more", func(l *loadgen.Measured) {
			l.Client.Files, l.Client.Ports = loadgen.Headroom{Limit: 1024, Left: 900}, loadgen.Headroom{Limit: 28_000,
				Left: 20_000}
		}, Valid, ""},
		{"user-space stamps, processors at hand", func(l *loadgen.Measured) {
			l.Client.Stamps, l.Client.SchedP99 = loadgen.UserStamps, 100*time.Microsecond
		}, Valid, ""},
		{"user-space stamps, starved", func(l *loadgen.Measured) {
			l.Client.Stamps, l.Client.SchedP99 = loadgen.UserStamps, 50*time.Millisecond
		}, Invalid, "scheduling"},
		{"kernel stamps make the same no error of the times",
			func(l *loadgen.Measured) { l.Client.SchedP99 = 50 * time.Millisecond }, Valid, ""},
		{"two faults", func(l *loadgen.Measured) { late(0.02, 40*time.Millisecond)(l); l.Client.SourceWaits = 10 },
			Invalid, "send_delay request_source"},
	} {
		for _, kind := range []loadgen.Kind{loadgen.ConstantGap, loadgen.PoissonGaps} {
			l := fitStage(loadgen.Load{Kind: kind, Rate: 100, Seed: 42})
			c.change(l)
			v := Check(l)
			var checks []string
			for _, r := range v.Reasons {
				if r.Check != "arrival_gaps" { // late sends change the gaps as well
					checks = append(checks, r.Check)
				}
				if r.Text == "" {
					t.Errorf("%s, %s: %s says nothing", c.name, kind, r.Check)
				}
			}
			if v.Level != c.level || strings.Join(checks, " ") != c.checks {
				t.Errorf("%s, %s: %s for %v, want %s for %q", c.name, kind, v.Level, checks, c.level, c.checks)
			}
		}
	}
}

// A container that is throttled is told so, with what it lost and its limit: that is what can be changed.
func TestAuditNamesThrottling(t *testing.T) {
	l := fitStage(loadgen.Load{Kind: loadgen.ConstantGap, Rate: 100})
	l.Client.CPULimit, l.Client.CPUPeriods, l.Client.CPUThrottled = 0.2, 100, 45
	l.Client.CPUStopped = 3200 * time.Millisecond
	want := "openloop was throttled in 45 of 100 periods, for 3.2s summed over processors: it had used up its CPU " +
		"limit of 0.2 processors"
	v := Check(l)
	if len(v.Reasons) != 1 || v.Reasons[0].Text != want || v.Measurements.CPUStopped != l.Client.CPUStopped {
		t.Errorf("%+v, want %q", v, want)
	}
}

// In a stage of a few requests one late send is its 99th percentile, and no reason to throw it away.
func TestAuditOfFewRequests(t *testing.T) {
	l := fitStage(loadgen.Load{Kind: loadgen.ConstantGap, Rate: 2})
	l.Records[7].Sent += int64(100 * time.Millisecond)
	if v := Check(l); v.Level != Suspect {
		t.Errorf("one of %d late: %s", len(l.Records), v.Level)
	}
	l.Records[8].Sent += int64(100 * time.Millisecond)
	l.Records[9].Sent += int64(100 * time.Millisecond)
	if v := Check(l); v.Level != Invalid {
		t.Errorf("three of %d late: %s", len(l.Records), v.Level)
	}
}

func TestAuditOfClosedLoops(t *testing.T) {
	l := fitStage(loadgen.Load{Kind: loadgen.ConstantGap, Rate: 100})
	l.Stage.Load = loadgen.Load{Kind: loadgen.Concurrent, Streams: 4}
	for i := range l.Records {
		l.Records[i].Sent += int64(time.Second) // a stream's own business
	}
	if v := Check(l); v.Level != Valid || v.Measurements.Unsent != 0 || v.Measurements.SentShare != 1 {
		t.Errorf("%+v", v)
	}
}

func TestDispersion(t *testing.T) {
	events := func(s loadgen.Schedule, n int) (times []int64, length int64) {
		for i := range n {
			at, _ := s.At(i)
			times = append(times, int64(at))
		}
		return times, times[n-1] + 1
	}
	if d := dispersion(events(loadgen.Constant{Rate: 10}, 10_000)); d > 0.01 {
		t.Errorf("constant: %v", d)
	}
	// 1,000 windows: the standard error of the index is √(2/999).
	if d := dispersion(events(loadgen.NewPoisson(10, 1), 10_000)); math.Abs(d-1) > 4*math.Sqrt(2.0/999) {
		t.Errorf("poisson: %v", d)
	}
	if d := dispersion(events(loadgen.NewSchedule(loadgen.Arrival{Kind: loadgen.GammaArrival, CV: 3}, 10, 1),
		10_000)); d < 3 {
		t.Errorf("clumps: %v", d)
	}
	if d := dispersion(make([]int64, 99), 1); d != 0 {
		t.Errorf("too few: %v", d)
	}
	times, _ := events(loadgen.NewPoisson(10, 1), 10_000)
	if d := exponentialDistance(times); d > 1.63/math.Sqrt(9_999) {
		t.Errorf("exponential gaps at a distance of %v", d)
	}
	times, _ = events(loadgen.Constant{Rate: 10}, 1000)
	if d := exponentialDistance(times); d < 0.5 {
		t.Errorf("equal gaps at a distance of %v only", d)
	}
}

// The verdict on a stage that several processes sent is the worst of theirs; what is wrong with several is said once.
func TestWorkers(t *testing.T) {
	part := func(late time.Duration) *loadgen.Measured {
		m := &loadgen.Measured{
			Stage: loadgen.Stage{MaxDuration: 2 * time.Second,
				Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: 100}},
			Start: 1, Stopped: 2e9, End: 2e9, Offered: 199, Client: loadgen.ClientStats{Stamps: loadgen.KernelStamps},
		}
		for i := range 199 {
			due := int64(i+1) * 10e6
			m.Records = append(m.Records, loadgen.Record{Scheduled: due, Sent: due + int64(late),
				FirstToken: due + int64(late) + 10e6, End: due + 20e6, Status: loadgen.Completed})
		}
		m.Rebuild()
		return m
	}
	all := part(0)
	for name, late := range map[string]time.Duration{"a": 0, "b": 2 * time.Millisecond, "c": 3 * time.Millisecond} {
		all.Workers = append(all.Workers, loadgen.Worker{Name: name, Part: part(late), ClockError: time.Microsecond})
	}
	v := Check(all)
	if v.Level != Suspect || len(v.Reasons) != 1 || v.Reasons[0].Check != "send_delay" ||
		!strings.Contains(v.Reasons[0].Text, "worker c: ") || !strings.Contains(v.Reasons[0].Text, "2 of 3 workers") {
		t.Errorf("%s: %+v", v.Level, v.Reasons)
	}
	all.Workers[0].ClockError = 2 * time.Millisecond
	all.Workers[1].Lost, all.Workers[1].Part = "it was stopped", nil
	v = Check(all)
	levels := map[string]Level{}
	for _, r := range v.Reasons {
		levels[r.Check] = r.Level
	}
	if v.Level != Invalid || levels["worker"] != Invalid || levels["clock"] != Suspect || len(v.Workers) != 3 {
		t.Errorf("%s: %+v", v.Level, v.Reasons)
	}
}
