package metrics

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// filled are the metrics of a run of one stage with three requests, and of a search.
func filled() *Run {
	m := New("1.0", "http://host", "m")
	load := loadgen.Load{Kind: loadgen.PoissonGaps, Rate: 12}
	run := &loadgen.Run{}
	m.StageStarted(0, load, run)
	const ms = int64(time.Millisecond)
	for _, r := range []loadgen.Record{
		{Scheduled: ms, Sent: 2 * ms, FirstToken: 101 * ms, LastToken: 201 * ms, End: 202 * ms, TokenEvents: 11,
			OutputTokens: 11, Status: loadgen.Completed},
		{Scheduled: ms, Sent: 2 * ms, End: 5 * ms, OutputTokens: -1, Status: loadgen.Errored, Err: loadgen.ErrStatus},
		{Scheduled: ms, Sent: 2 * ms, FirstToken: 50 * ms, LastToken: 60 * ms, TokenEvents: 2, OutputTokens: -1,
			Status: loadgen.Incomplete},
		{Scheduled: ms}, // not sent
	} {
		m.Observe(loadgen.Event{Run: run, Record: &r})
		m.Observe(loadgen.Event{Run: run, Record: &r, Ended: true})
	}
	m.Estimated(&sweep.Answer{Estimate: 11.9, Lower: 11.4, Upper: num.Absent()})
	st := &sweep.Stage{Load: load, Audit: audit.Verdict{Level: audit.Suspect}}
	st.Judgement = slo.StageJudgement{Outcome: slo.Pass, Objectives: make([]slo.Judgement, 1)}
	m.StageEnded(0, st)
	return m
}

// The first requests of a stage may be sent before StageStarted is called; here all are.
func TestRequestsBeforeTheirStage(t *testing.T) {
	server, err := llmsim.NewServer(llmsim.Config{Fixed: true})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	base, _, err := endpoint.ParseBase(server.URL())
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
	defer client.Close()
	m := New("1.0", "http://host", "m\xff")
	body := []byte(`{"prompt":"one","max_tokens":2,"stream":true,"stream_options":{"include_usage":true}}`)
	load := loadgen.Load{Kind: loadgen.Synchronous, Streams: 1}
	run, err := (&loadgen.Runner{Client: client}).Start(t.Context(), loadgen.Stage{Load: load, MaxRequests: 3},
		loadgen.Hooks{Source: func(int) (loadgen.Request, error) { return loadgen.Request{Body: body}, nil },
			Observe: m.Observe})
	if err != nil {
		t.Fatal(err)
	}
	run.Wait()
	m.StageStarted(0, load, run)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`openloop_requests_sent_total{stage="synchronous"} 3`,
		`openloop_requests_total{error="",outcome="completed",stage="synchronous"} 3`,
		`openloop_stage_info{index="0",kind="synchronous",stage="synchronous"} 1`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("there is no line %s in\n%s", line, w.Body)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := httptest.NewRecorder()
	filled().Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text := w.Body.String()
	for _, line := range []string{
		`openloop_requests_total{error="",outcome="completed",stage="poisson@12.00"} 1`,
		`openloop_requests_total{error="http status",outcome="errored",stage="poisson@12.00"} 1`,
		`openloop_requests_total{error="",outcome="cancelled",stage="poisson@12.00"} 1`,
		`openloop_requests_sent_total{stage="poisson@12.00"} 4`,
		`openloop_output_tokens_total{outcome="completed",stage="poisson@12.00"} 11`,
		`openloop_output_tokens_total{outcome="cancelled",stage="poisson@12.00"} 2`,
		`openloop_ttft_seconds_sum{outcome="completed",stage="poisson@12.00"} 0.1`,
		`openloop_ttft_seconds_count{outcome="cancelled",stage="poisson@12.00"} 1`,
		`openloop_tpot_seconds_sum{outcome="completed",stage="poisson@12.00"} 0.01`,
		`openloop_itl_seconds_sum{outcome="completed",stage="poisson@12.00"} 0.01`,
		`openloop_latency_seconds_sum{outcome="completed",stage="poisson@12.00"} 0.201`,
		`openloop_send_delay_seconds_sum{outcome="completed",stage="poisson@12.00"} 0.001`,
		`openloop_client_verdict{stage="poisson@12.00"} 1`,
		`openloop_stage_outcome{outcome="PASS",stage="poisson@12.00"} 1`,
		`openloop_stage_info{index="0",kind="poisson",stage="poisson@12.00"} 0`,
		`openloop_max_rate{bound="estimate"} 11.9`,
		`openloop_max_rate{bound="lower"} 11.4`,
		`openloop_asked_rate 0`,
		`openloop_in_flight 0`,
		`openloop_run_info{model="m",target="http://host",version="1.0"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(text, `bound="upper"`) {
		t.Error("an end of the interval that is not known")
	}
	if t.Failed() {
		t.Log(text)
	}
}

// The dashboard that comes with openloop names no metric of openloop's that there is not, and all that there are but a
// few.
func TestDashboard(t *testing.T) {
	families, err := filled().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range families {
		known[f.GetName()] = false
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "grafana.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title  string
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
			GridPos     struct{ X, Y, W, H int }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`(openloop_|vllm:)[a-z0-9_]+`)
	vllm := 0
	for _, p := range dashboard.Panels {
		if p.Title == "" || p.GridPos.W == 0 || (len(p.Targets) == 0) != (p.Type == "row") {
			t.Errorf("panel %q of type %s: %+v", p.Title, p.Type, p.GridPos)
		}
		for _, target := range p.Targets {
			found := name.FindAllString(target.Expr, -1)
			if len(found) == 0 {
				t.Errorf("%s: %q names no metric", p.Title, target.Expr)
			}
			for _, f := range found {
				if strings.HasPrefix(f, "vllm:") {
					vllm++
					continue
				}
				base := f
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					base = strings.TrimSuffix(base, suffix)
				}
				if _, ok := known[base]; !ok {
					t.Errorf("%s: there is no metric %s", p.Title, f)
				}
				known[base] = true
			}
		}
	}
	for metric, shown := range known {
		if !shown && !slices.Contains([]string{"openloop_run_info", "openloop_stage_info"}, metric) {
			t.Errorf("%s is not shown", metric)
		}
	}
	if vllm < 8 {
		t.Errorf("%d metrics of vLLM's are shown", vllm)
	}
}

func BenchmarkObserve(b *testing.B) {
	m := New("1.0", "http://host", "m")
	run := &loadgen.Run{}
	m.StageStarted(0, loadgen.Load{Kind: loadgen.PoissonGaps, Rate: 12}, run)
	r := loadgen.Record{Scheduled: 1, Sent: 2, FirstToken: 1e8, LastToken: 2e8, End: 3e8, TokenEvents: 128,
		OutputTokens: 128, Status: loadgen.Completed}
	for b.Loop() {
		m.Observe(loadgen.Event{Run: run, Record: &r, Ended: true})
	}
}
