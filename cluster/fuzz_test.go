package cluster

import (
	"bytes"
	"encoding/gob"
	"strings"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/precise"
	"github.com/openloop/openloop/loadgen"
)

// told is what a worker tells of a stage that has ended, of two requests of which one was not sent.
func told() batch {
	h := func() *hdr.Snapshot { return loadgen.NewHistogram().Export() }
	r := loadgen.Record{Scheduled: 100, Sent: 110, FirstToken: 200, LastToken: 300, End: 310, TokenEvents: 2,
		Status: loadgen.Completed}
	return batch{Stage: 1, Events: []event{{Index: 0, Record: r}, {Index: 0, Record: r, Ended: true,
		Detail: &loadgen.Detail{Output: "a"}}}, Left: &left{Start: 100, Stopped: 400, End: 410,
		Reason: loadgen.StopDuration, Offered: 2, Unsent: []event{{Index: 1, Record: loadgen.Record{Scheduled: 350}}},
		Gaps: h(), TTFT: h(), Delay: h()}}
}

// underWay is a stage of one worker.
func underWay(kind loadgen.Kind) (*stage, *part) {
	asked := loadgen.Stage{Load: loadgen.Load{Kind: kind, Rate: 100, Streams: 2}, MaxDuration: time.Minute,
		KeepDetails: true}
	p := &part{member: &member{name: "w"}, share: loadgen.Share{Of: 1}, stage: asked, start: 100}
	return &stage{asked: asked, number: 1, clock: precise.NewClock(), parts: []*part{p}, start: 1e6}, p
}

// What a worker tells is refused where it can't be.
func TestCheckBatch(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(b *batch)
		want   string
	}{
		"as it is":             {func(*batch) {}, ""},
		"a wild index":         {func(b *batch) { b.Events[1].Index = 1 << 40 }, "request 1099511627776"},
		"a negative index":     {func(b *batch) { b.Events[0].Index = -1 }, "request -1"},
		"a wild unsent one":    {func(b *batch) { b.Left.Unsent[0].Index = 1 << 30 }, "request 1073741824"},
		"a time far ahead":     {func(b *batch) { b.Events[0].Record.End = 1 << 62 }, "a time"},
		"a time long ago":      {func(b *batch) { b.Events[0].Record.Sent = -1 << 62 }, "a time"},
		"an end far ahead":     {func(b *batch) { b.Left.Stopped = 1 << 62 }, "a time"},
		"no histogram":         {func(b *batch) { b.Left.Gaps = nil }, "a histogram is missing"},
		"another histogram":    {func(b *batch) { b.Left.TTFT.HighestTrackableValue = 1 << 60 }, "other bounds"},
		"a short histogram":    {func(b *batch) { b.Left.TTFT.Counts = nil }, "other bounds"},
		"a negative histogram": {func(b *batch) { b.Left.Delay.Counts[3] = -1 }, "counts backwards"},
		"fewer than none":      {func(b *batch) { b.Left.Offered = -1 }, "no arrivals"},
		"another number":       {func(b *batch) { b.Number = 1 }, "did not arrive"},
	} {
		s, p := underWay(loadgen.ConstantGap)
		b := told()
		tc.change(&b)
		_, _, _, err := s.take(p, &b)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		if err != nil && (len(p.requests) > 0 || p.left != nil) {
			t.Errorf("%s: it was taken in", name)
		}
	}
}

// Whatever a worker tells, the leader makes a stage of it or refuses it.
func FuzzBatch(f *testing.F) {
	whole := told()
	f.Add(encode(whole), true)
	f.Add(encode(whole), false)
	whole.Left = nil
	f.Add(encode(whole), true)
	f.Add([]byte("\x07\xff\x80"), true)
	f.Fuzz(func(t *testing.T, data []byte, open bool) {
		b, err := decode[batch](data)
		if err != nil {
			return
		}
		kind := loadgen.ConstantGap
		if !open {
			kind = loadgen.Concurrent
		}
		s, p := underWay(kind)
		if _, _, _, err := s.take(p, &b); err != nil {
			return
		}
		if len(p.requests) > len(b.Events)+mostSkipped+1 && b.Left == nil {
			t.Errorf("%d requests of %d events", len(p.requests), len(b.Events))
		}
		if p.left == nil {
			p.lost = "it was lost"
		}
		if p.lost != "" {
			s.reason = loadgen.StopWorkerLost
		}
		audit.Check(s.merge([]distance{{}}))
	})
}

// Whatever comes, the other messages are read, or are not.
func FuzzMessages(f *testing.F) {
	for _, v := range []any{
		hello{Name: "a", Headers: []string{"b"}}, welcome{Setup: Setup{Targets: []string{"http://a"}}},
		order{Kind: prepareStage, Load: loadgen.Stage{MaxRequests: 3}}, answer{Gaps: loadgen.NewHistogram().Export()},
		wanted{"a", 1, 2}, supplied{Requests: []loadgen.Request{{Body: []byte("{}")}}}, leave{"a", "b"}, pong{1}} {
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(v); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = decode[hello](data)
		_, _ = decode[welcome](data)
		_, _ = decode[wanted](data)
		_, _ = decode[supplied](data)
		_, _ = decode[leave](data)
		_, _ = decode[pong](data)
		if a, err := decode[answer](data); err == nil && a.Gaps != nil && checkHistogram(a.Gaps) == nil {
			hdr.Import(a.Gaps)
		}
		if o, err := decode[order](data); err == nil && o.Load.Check() == nil {
			ahead(o.Load)
		}
	})
}

// A request that no message holds ends the stage with a reason, and is not sent into the dark.
func TestBodyTooLarge(t *testing.T) {
	stage := loadgen.Stage{Load: loadgen.Load{Kind: loadgen.Concurrent, Streams: 1}, MaxRequests: 2}
	s := newSupply(func(i int) (loadgen.Request, error) {
		return loadgen.Request{Body: make([]byte, maxBody+i)}, nil
	}, stage, 1)
	if got := s.take(0, 1); len(got.Requests) != 1 || got.Error != "" || len(encode(got)) > maxMessage {
		t.Errorf("the largest that there may be: %d requests, %q", len(got.Requests), got.Error)
	}
	if got := s.take(0, 1); len(got.Requests) != 0 || !strings.Contains(got.Error, "request 2 has 59 MB") {
		t.Errorf("one that is larger: %d requests, %q", len(got.Requests), got.Error)
	}
}
