package guidellm

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
)

// sameRequests compares requests field by field: times to a microsecond and a half, as floats of seconds since the
// epoch have them twice rounded, and all else exactly.
func sameRequests(t *testing.T, got, want []report.Request) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d requests, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := reflect.ValueOf(got[i]), reflect.ValueOf(want[i])
		for f := range w.NumField() {
			name := w.Type().Field(f).Name
			a, isTime := g.Field(f).Interface().(num.Value)
			if !isTime {
				if x, y := g.Field(f).Interface(), w.Field(f).Interface(); x != y {
					t.Errorf("request %d: %s is %v, want %v", i, name, x, y)
				}
				continue
			}
			b := w.Field(f).Interface().(num.Value)
			if a.IsAbsent() != b.IsAbsent() || math.Abs(float64(a-b)) > 1.5e-6 {
				t.Errorf("request %d: %s is %v, want %v", i, name, a, b)
			}
		}
	}
}

// The requests of every stage, the search's too, are the same live and read back from a report.
func TestRequestsOfAReportAreThoseOfTheRun(t *testing.T) {
	load := everyLoad["constant"]
	plain, searched := measured(load), measured(load)
	for _, m := range []*loadgen.Measured{plain, searched} {
		m.Details = make([]loadgen.Detail, len(m.Records))
		m.Details[0].ResponseID, m.Details[2].Error = "chatcmpl-7", "HTTP 503: overloaded"
		r := m.Records
		for k := range r {
			if r[k].Sent > 0 {
				r[k].Tries = 1
			}
		}
		r[0].Tries, m.Details[0].RequestID, m.Details[1].RequestID = 3, "call-1", "call-2"
		r[0].CachedTokens, r[1].CachedTokens = 0, 16
		r[2].HTTPStatus = 503
		r[3].OutputTokens = 9 // counted by the server before the end cut it off, in 8 events
		r[4].PromptTokens, r[4].OutputTokens, r[4].CachedTokens, r[4].AskedOutput = -1, -1, -1, 16
		// One that found no connection, and one of a single token, which were scheduled at one time.
		m.Records = append(r, loadgen.Record{
			Scheduled: r[3].Scheduled, Started: r[3].Started, End: r[3].End, Status: loadgen.Errored,
			Err: loadgen.ErrConnect, PromptTokens: -1, OutputTokens: -1, CachedTokens: -1,
		})
		one := r[1]
		one.Scheduled, one.TokenEvents, one.OutputTokens, one.LastToken = r[3].Scheduled, 1, 1, one.FirstToken
		m.Records = append(m.Records, one)
		m.Details = append(m.Details, make([]loadgen.Detail, 2)...)
		m.Details[2].Body, m.Details[2].Output = []byte(`{"model":"m"}`), "Hello"
	}
	searched.Records = searched.Records[1:]
	searched.Details = searched.Details[1:]
	live := resultOf(plain, searched)
	for i := range live.Stages {
		s := &live.Stages[i]
		s.Began = s.Measured.Wall(s.Measured.Start)
	}
	live.Stages[1].Search = true
	file := readText(t, writeText(t, exporter(load, "sweep").Export(live)))
	again, ok, err := report.Read(file.OpenLoop.(json.RawMessage))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := GiveRequests(again, file); err != nil {
		t.Fatal(err)
	}
	var search struct {
		Search []*Benchmark `json:"search_benchmarks"`
	}
	var notes stageNotes
	if err := DecodeFree(file.OpenLoop, &search); err != nil {
		t.Fatal(err)
	}
	if err := DecodeFree(search.Search[0].OpenLoop, &notes); err != nil {
		t.Fatal(err)
	}
	if len(notes.Requests.Texts) != 1 || notes.Requests.Texts[0] != (requestText{1, `{"model":"m"}`, "Hello"}) {
		t.Errorf("texts of the search: %+v", notes.Requests.Texts)
	}
	for i := range live.Stages {
		sameRequests(t, again.Stages[i].Log(), live.Stages[i].Log())
	}
}

// GuideLLM's own reports have requests, too, where they kept all of them: their series counts each once.
func TestRequestsOfGuideLLMsReports(t *testing.T) {
	whole := 0
	for _, folder := range goldenFolders(t) {
		r := readGolden(t, folder)
		for i, stage := range Import(r).Stages {
			log, made := stage.Log(), r.Benchmarks[i].SchedulerMetrics.RequestsMade
			if log == nil {
				continue
			}
			whole++
			done, last := 0, num.Value(math.Inf(-1))
			for k, q := range log {
				if q.Index != k || q.Scheduled < last {
					t.Fatalf("%s: request %d is %+v", folder, k, q)
				}
				last = q.Scheduled
				invented := strings.Contains(folder, "synthetic-") // of requests that lack this and that
				if q.Status == "completed" && !invented && (q.TTFT.IsAbsent() || q.Latency <= 0 || q.OutputTokens < 1) {
					t.Fatalf("%s: request %d is %+v", folder, k, q)
				}
			}
			for _, n := range stage.Series.Done {
				done += n
			}
			if int64(len(log)) != made.Total || int64(done) != made.Successful {
				t.Errorf("%s: %d requests, %d done, of %+v", folder, len(log), done, made)
			}
		}
	}
	if whole == 0 {
		t.Error("no golden report holds all of its requests")
	}
	sample := readGolden(t, goldenFolders(t)[0])
	sample.Benchmarks[0].SchedulerMetrics.RequestsMade.Total += 1000
	if s := Import(sample).Stages[0]; s.Log() != nil || s.Series != nil {
		t.Error("a sample of the requests is taken for all of them")
	}
}

// A report of an openloop that did not number its requests, or whose search is broken.
func TestRequestsOfOtherReports(t *testing.T) {
	load := everyLoad["constant"]
	live := resultOf(measured(load))
	live.Stages[0].Began = live.Stages[0].Measured.Wall(live.Stages[0].Measured.Start)
	text := writeText(t, exporter(load, "constant").Export(live))
	file := readText(t, indexNote.ReplaceAllString(strings.ReplaceAll(text, `"index": 0, `, ""), `"openloop": {`))
	again := resultOf()
	again.Stages = []report.Stage{{Began: live.Stages[0].Began}}
	if err := GiveRequests(again, file); err != nil {
		t.Fatal(err)
	}
	log := again.Stages[0].Log()
	if len(log) != 5 || log[4].Status != "pending" || log[3].Index != 3 || math.Abs(float64(log[3].Sent-2.902)) > 1e-6 {
		t.Errorf("%+v", log)
	}
	file.OpenLoop = json.RawMessage(`{"schema": 2, "search_benchmarks": [7]}`)
	if err := GiveRequests(again, file); err == nil {
		t.Error("a search's benchmark that is a number is taken")
	}
	file.Benchmarks[0].OpenLoop = json.RawMessage(`{"stage": 99}`)
	file.OpenLoop = nil
	again.Stages[0].SetLog(nil)
	if err := GiveRequests(&report.Result{Began: time.Now()}, file); err != nil {
		t.Error(err)
	}
}

// What a table of requests may not be.
func TestBrokenTables(t *testing.T) {
	for rows, want := range map[string]string{
		`{}`: "not a list", `[[1, 2]]`: "more values than columns", `[["x"]]`: "request 0", `[[1]] 7`: "follows",
		`[[1], 7]`: "", `[[1`: "", ``: "",
	} {
		table := &requestTable{Columns: []string{"prompt_tokens"}, Rows: json.RawMessage(rows)}
		if all, err := table.requests(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want an error with %q", rows, all, err, want)
		}
	}
	if _, err := (&requestTable{}).requests(); err == nil {
		t.Error("a table without rows is taken")
	}
}

// FuzzRequests: whatever a report says of its requests, what is made of it can be used: in the order of the schedule,
// and with a series of lists of one length.
func FuzzRequests(f *testing.F) {
	for _, q := range []string{
		`{}`, `{"info": {"status": "completed", "timings": {"targeted_start": 1e300, "resolve_end": -1e300}}}`,
		`{"info": {"timings": {"targeted_start": 1, "request_start": 2, "first_token_iteration": 3, ` +
			`"last_token_iteration": 4, "resolve_end": 5, "token_iterations": 9}}, ` +
			`"output_metrics": {"text_tokens": 9}, "openloop": {"index": 7, "send_delay": 1, ` +
			`"scheduled_ttft": 2, "cached_tokens": 0}}`,
		`{"openloop": {"index": -1, "output_tokens": 9223372036854775807, "send_delay": "NaN"}}`,
		`{"openloop": 7}`, `{"openloop": {"not_sent": [{"index": 1, "scheduled": 0.5}]}}`,
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		r, err := Read(strings.NewReader(`{"openloop": {"search_benchmarks": []}, "benchmarks": [{"openloop": ` +
			`{"stage": 0, "not_sent": [{"index": 3}]}, "requests": {"successful": [` + q + `], "errored": [` + q +
			`], "incomplete": []}}]}`))
		if err != nil {
			return
		}
		result := &report.Result{Stages: []report.Stage{{Load: everyLoad["constant"]}}}
		if err := GiveRequests(result, r); err != nil {
			t.Fatalf("%q: %v", q, err)
		}
		stages := append(Import(r).Stages, result.Stages...)
		for i := range stages {
			s := stages[i].Series
			if s == nil {
				continue
			}
			for _, n := range []int{len(s.Done), len(s.Tokens), len(s.InFlight), len(s.TTFT95), len(s.Delay99)} {
				if n != len(s.Sent) || n == 0 {
					t.Fatalf("%q: %+v", q, s)
				}
			}
			if _, err := json.Marshal(s); err != nil {
				t.Fatalf("%q: %v", q, err)
			}
		}
		if n := len(stages[1].Log()); n == 0 {
			t.Fatalf("%q: no requests, but one was not sent", q)
		}
	})
}

// FuzzTable: what is read of a table of requests is no more than its rows, and numbered as they are.
func FuzzTable(f *testing.F) {
	columns := []string{}
	for _, c := range requestColumns() {
		columns = append(columns, c.name)
	}
	for _, rows := range []string{
		`[]`, `[[]]`, `[["completed", 0.1, 0.2, 0.3, 0.4, 0.5, 1, -1, 2, 2, 2, 200, "", "", "id"]]`,
		`[["pending", 0.1, null, null, null, null, -1, -1, 0, 0, 0, 0, "", "", ""], ["errored"]]`,
		`[["x", 1e999]]`, `[[null]]`, `[[{}]]`, `[`, `7`, `[["completed", "+Inf"]]`,
	} {
		f.Add(rows)
	}
	f.Fuzz(func(t *testing.T, rows string) {
		table := &requestTable{Columns: columns, Rows: json.RawMessage(rows)}
		all, err := table.requests()
		if err != nil {
			return
		}
		var list []json.RawMessage
		if err := json.Unmarshal([]byte(rows), &list); err == nil && len(list) != len(all) {
			t.Fatalf("%q: %d requests of %d rows", rows, len(all), len(list))
		}
		for i := range all {
			if all[i].Index != i {
				t.Fatalf("%q: request %d is numbered %d", rows, i, all[i].Index)
			}
		}
		report.NewSeries(slices.Values(all), time.Minute, true)
	})
}
