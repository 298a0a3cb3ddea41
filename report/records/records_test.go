package records

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"github.com/parquet-go/parquet-go"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
)

const ms = int64(time.Millisecond)

// measured is a stage of n requests, one in ten of which fails, and the last of which was never sent.
func measured(load loadgen.Load, n int) *loadgen.Measured {
	lasted := int64(n+100) * 10 * ms
	m := &loadgen.Measured{
		Stage: loadgen.Stage{Load: load}, Origin: time.Date(2026, 11, 24, 16, 43, 10, 5, time.UTC), Start: 1000,
		Stopped: 1000 + lasted, End: 1000 + lasted, Offered: n, Gaps: hdr.New(1000, 3.6e12, 3),
	}
	for i := range n {
		at := 1000 + int64(i)*10*ms
		r := loadgen.Record{
			Scheduled: at, Started: at, Sent: at + 123, FirstToken: at + 30*ms + int64(i%7)*ms,
			PromptTokens: 264, OutputTokens: 11, AskedOutput: 11, TokenEvents: 11, CachedTokens: 16, HTTPStatus: 200,
			Status: loadgen.Completed,
		}
		r.LastToken = r.FirstToken + 50*ms
		r.End = r.LastToken + 100
		d := loadgen.Detail{ResponseID: "chatcmpl-" + strconv.Itoa(i)}
		switch {
		case i == n-1:
			r = loadgen.Record{Scheduled: at, PromptTokens: -1, OutputTokens: -1, CachedTokens: -1}
			d = loadgen.Detail{}
		case i%10 == 3:
			r = loadgen.Record{Scheduled: at, Sent: at + 50, End: at + 5*ms, PromptTokens: -1, OutputTokens: -1,
				CachedTokens: -1, HTTPStatus: 503, Status: loadgen.Errored, Err: loadgen.ErrStatus}
			d = loadgen.Detail{Error: "HTTP 503: \"busy\",\nsay=\x1b[31m\xff<b>"}
		default:
			_ = m.Gaps.RecordValues(5*ms, 10)
		}
		m.Records, m.Details = append(m.Records, r), append(m.Details, d)
	}
	return m
}

func result(n int) *report.Result {
	r := &report.Result{Began: time.Date(2026, 11, 24, 16, 43, 9, 0, time.UTC), Asked: report.Asked{Model: "a,\"b\""}}
	for _, load := range []loadgen.Load{
		{Kind: loadgen.PoissonGaps, Rate: 100}, {Kind: loadgen.Concurrent, Streams: 4},
	} {
		m := measured(load, n)
		s := report.Stage{Name: load.String(), Load: load, Began: m.Wall(m.Start), Measured: m}
		s.Rates.Asked = num.Absent()
		if load.Kind.Open() {
			s.Rates.Asked = num.Value(load.Rate)
		}
		s.Series = report.NewSeries(s.EachRequest(), time.Duration(m.End-m.Start), load.Kind.Open())
		r.Stages = append(r.Stages, s)
	}
	return r
}

func written(t *testing.T, form Form, results ...*report.Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, form, results...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Every form has a line a request, in which its times and counts are those of Log, and what is not known is null.
func TestForms(t *testing.T) {
	r := result(25)
	var want []string
	for i := range r.Stages {
		for _, q := range r.Stages[i].Log() {
			line, err := json.Marshal(map[string]any{
				"stage": i, "index": q.Index, "status": q.Status, "sent": q.Sent, "ttft": q.ScheduledTTFT,
				"tpot": q.TPOT, "error": strings.ToValidUTF8(q.Error, "\uFFFD"),
			})
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, string(line))
		}
	}
	short := func(stage int32, index int64, status string, sent, ttft, tpot *float64, failure *string) string {
		value := func(v *float64) num.Value {
			if v == nil {
				return num.Absent()
			}
			return num.Value(*v)
		}
		message := ""
		if failure != nil {
			message = *failure
		}
		line, err := json.Marshal(map[string]any{
			"stage": stage, "index": index, "status": status, "sent": value(sent), "ttft": value(ttft),
			"tpot": value(tpot), "error": message,
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(line)
	}
	got := map[Form][]string{}
	text := written(t, Parquet, r)
	all, err := parquet.Read[row](bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range all {
		got[Parquet] = append(got[Parquet],
			short(q.Stage, q.Index, q.Status, q.Sent, q.ScheduledTTFT, q.TPOT, q.Error))
	}
	lines := bufio.NewScanner(bytes.NewReader(written(t, JSONL, r)))
	for lines.Scan() {
		var q row
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&q); err != nil {
			t.Fatal(err)
		}
		got[JSONL] = append(got[JSONL], short(q.Stage, q.Index, q.Status, q.Sent, q.ScheduledTTFT, q.TPOT, q.Error))
	}
	cells, err := csv.NewReader(bytes.NewReader(written(t, CSV, r))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int { return slices.Index(cells[0], name) }
	for _, c := range cells[1:] {
		number := func(name string) *float64 {
			v, err := strconv.ParseFloat(c[column(name)], 64)
			if err != nil {
				return nil
			}
			return &v
		}
		failure := c[column("error")]
		got[CSV] = append(got[CSV], short(int32(*number("stage")), int64(*number("index")), c[column("status")],
			number("sent_s"), number("ttft_scheduled_s"), number("tpot_s"), &failure))
	}
	for form, lines := range got {
		if !slices.Equal(lines, want) {
			t.Errorf("%s:\n%s\nwant\n%s", form, strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	}
	if len(got) != 3 || len(want) != 50 {
		t.Fatalf("%d forms of %d requests", len(got), len(want))
	}
	first, failed, unsent := all[0], all[3], all[24]
	if *first.RateAsked != 100 || first.Streams != nil || *all[25].Streams != 4 || all[25].RateAsked != nil ||
		first.Model != r.Asked.Model || !first.RunBegan.Equal(r.Began) ||
		first.StageBegan.Sub(r.Stages[0].Began).Abs() > time.Microsecond || first.StageName != r.Stages[0].Name {
		t.Errorf("%+v\n%+v", first, all[25])
	}
	if failed.FirstToken != nil || failed.PromptTokens != nil || *failed.HTTPStatus != 503 || failed.Latency != nil {
		t.Errorf("one that failed: %+v", failed)
	}
	if unsent.Sent != nil || unsent.HTTPStatus != nil || unsent.ErrorKind != nil || unsent.Status != "pending" {
		t.Errorf("one that was not sent: %+v", unsent)
	}
}

// The types of Parquet's columns, as readers in other languages see them.
func TestParquetTypes(t *testing.T) {
	text := written(t, Parquet, result(3))
	file, err := parquet.OpenFile(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"run_began": "required int64 run_began (TIMESTAMP(isAdjustedToUTC=true,unit=MICROS))",
		"ttft_s":    "optional double ttft_s", "prompt_tokens": "optional int32 prompt_tokens (INT(32,true))",
		"status": "required binary status (STRING)", "index": "required int64 index (INT(64,true))",
	} {
		if !strings.Contains(file.Schema().String(), "\t"+want+";") {
			t.Errorf("%s is not %q:\n%s", name, want, file.Schema())
		}
	}
}

// Requests that are not at hand are an error before a byte is written.
func TestNoRequests(t *testing.T) {
	r := &report.Result{Stages: []report.Stage{{Name: "constant@5.00"}}}
	var b bytes.Buffer
	if err := Write(&b, CSV, result(2), r); !errors.Is(err, ErrNoRequests) || b.Len() > 0 ||
		!strings.Contains(err.Error(), "constant@5.00") {
		t.Errorf("%v, %q", err, b.String())
	}
	if err := WriteHLog(&b, r); !errors.Is(err, ErrNoRequests) || b.Len() > 0 {
		t.Errorf("%v, %q", err, b.String())
	}
}

func TestFormOf(t *testing.T) {
	for name, want := range map[string]Form{
		"a.parquet": Parquet, "/b.c/d.jsonl": JSONL, "a.ndjson": JSONL, "a.csv": CSV, "csv": "", "": "", "a.json": "",
	} {
		if got, err := FormOf(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}

// The log is read by the library's reader: every latency is there once, under its tag and at its time, to the three
// digits of a histogram.
func TestHLog(t *testing.T) {
	r := result(250)
	r.Stages[1].Name = "two\nlines"
	var b bytes.Buffer
	if err := WriteHLog(&b, r); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.String(), "#[Latencies measured by openloop; values in nanoseconds]\n"+
		"#[Histogram log format version 1.3]\n#[StartTime: 1795538589 (seconds since epoch), 2026-11-24T16:43:09Z]\n") {
		t.Errorf("it begins with %.300s", b.String())
	}
	reader := hdr.NewHistogramLogReader(&b)
	sums, counts := map[string]float64{}, map[string]int64{}
	last := int64(0)
	for {
		h, err := reader.NextIntervalHistogram()
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if h == nil {
			break
		}
		counts[h.Tag()] += h.TotalCount()
		sums[h.Tag()] += h.Mean() * float64(h.TotalCount())
		if start := h.StartTimeMs(); start < last && h.Tag() != "itl" {
			if start < r.Stages[1].Began.UnixMilli()-1 {
				t.Errorf("%s goes back in time to %d", h.Tag(), start)
			}
		} else {
			last = start
		}
		if d := h.EndTimeMs() - h.StartTimeMs(); h.Tag() != "itl" && d != 1000 {
			t.Errorf("an interval of %s is of %d ms", h.Tag(), d)
		}
	}
	want, wantCount := map[string]float64{}, map[string]int64{}
	add := func(tag string, v num.Value) {
		if !v.IsAbsent() {
			want[tag] += float64(v) * 1e9
			wantCount[tag]++
		}
	}
	for i := range r.Stages {
		for _, q := range r.Stages[i].Log() {
			add("ttft", q.ScheduledTTFT)
			add("ttft_sent", q.TTFT)
			add("tpot", q.TPOT)
			add("latency", q.Latency)
			add("send_delay", q.SendDelay)
		}
		h := r.Stages[i].Measured.Gaps
		want["itl"] += h.Mean() * float64(h.TotalCount())
		wantCount["itl"] += h.TotalCount()
	}
	for tag, n := range wantCount {
		if counts[tag] != n {
			t.Errorf("%s: %d values, want %d", tag, counts[tag], n)
		}
		// A send delay of 123 ns is below the least that a histogram tells from 0.
		if tag != "send_delay" && math.Abs(sums[tag]-want[tag]) > 2e-3*want[tag] {
			t.Errorf("%s: sum %v, want %v", tag, sums[tag], want[tag])
		}
	}
	if len(counts) != len(wantCount) {
		t.Errorf("tags %v, want %v", counts, wantCount)
	}
}

func BenchmarkWrite(b *testing.B) {
	r := result(50_000)
	for _, form := range []Form{Parquet, JSONL, CSV} {
		b.Run(string(form), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Write(io.Discard, form, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("hlog", func(b *testing.B) {
		for b.Loop() {
			if err := WriteHLog(io.Discard, r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
