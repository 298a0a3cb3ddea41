package live

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
)

// clockFormat is how lines of a log begin.
const clockFormat = "15:04:05"

// Timed is a line of a log about the run as a whole.
func Timed(at time.Time, text string) string { return at.Format(clockFormat) + " " + text }

// Beginning says what is run, and about how long it takes.
func (s *State) Beginning() string {
	text := fmt.Sprintf("%s %s model %s %s", s.Command, s.Target, s.Model, s.Workload)
	if s.Arrivals != "" {
		text += " " + s.Arrivals
	}
	switch {
	case s.AtMost:
		text += ": at most " + clock(s.Total)
	case s.Total > 0:
		text += ": about " + clock(s.Total)
	}
	return text
}

// Line is the stage under way as one line of a log; "" between two stages.
func (s *State) Line() string {
	r := s.Running
	if r == nil {
		return ""
	}
	ttft, tpot := statistics(s.Objectives)
	parts := []string{s.label(r.Index), loadText(r), fmt.Sprintf("%.0fs", math.Floor(r.Elapsed.Seconds()))}
	if r.Index < 0 {
		parts = parts[1:]
	}
	parts = ttft.append(parts, r.TTFTNow.At(ttft.statistic))
	parts = tpot.append(parts, r.TPOTNow.At(tpot.statistic))
	parts = append(parts, fmt.Sprintf("in_flight=%d", r.InFlight))
	if !r.Waiting.IsAbsent() {
		parts = append(parts, fmt.Sprintf("waiting=%.0f", float64(r.Waiting)))
	}
	if !r.KVUsage.IsAbsent() {
		parts = append(parts, fmt.Sprintf("kv=%.0f%%", 100*float64(r.KVUsage)))
	}
	parts = append(parts, fmt.Sprintf("errors=%d", r.Errored), "client="+string(r.Client))
	line := Timed(s.At, strings.Join(parts, " "))
	if r.Silent >= silentShown {
		line += ": " + silence(r)
	}
	if r.Errored > 0 {
		line += ": " + r.ErrorText
	}
	return line
}

// StageLine is a stage that has ended as one line of a log. index counts it, from 0.
func (s *State) StageLine(index int, st *report.Stage) string {
	ttft, tpot := statistics(s.Objectives)
	parts := []string{s.label(index), st.Name, fmt.Sprintf("%.0fs", st.Sending.Seconds())}
	if st.Judged() {
		parts = append(parts, string(st.Judgement.Outcome))
	} else {
		parts = append(parts, "done")
	}
	parts = append(parts, "sent="+num.Three(st.Rates.Sent)+"/s", "done="+num.Three(st.Rates.Done)+"/s")
	parts = ttft.append(parts, st.At(slo.TTFT, ttft.statistic))
	parts = tpot.append(parts, st.At(slo.TPOT, tpot.statistic))
	if st.Rates.Input > 0 { // nothing is generated
		e2e := column{metric: slo.E2E}
		e2e.statistic, _ = report.ShownStatistic(s.Objectives, slo.E2E)
		parts = e2e.append(parts, st.At(slo.E2E, e2e.statistic))
		parts = append(parts, "in_tok/s="+num.Three(math.Round(st.Rates.Input)))
	} else {
		parts = append(parts, "tok/s="+num.Three(math.Round(st.Rates.Output)))
	}
	parts = append(parts, "in_flight="+num.Three(st.InFlight),
		fmt.Sprintf("errors=%d", st.Requests.Errored), "client="+string(st.Client.Level))
	line := Timed(s.At, strings.Join(parts, " "))
	if st.Judged() && st.Judgement.Outcome != slo.Pass && len(st.Judgement.Reasons) > 0 {
		line += ": " + st.Judgement.Reasons[0]
	}
	if len(st.Client.Reasons) > 0 {
		line += fmt.Sprintf(" (client %s: %s)", st.Client.Level, st.Client.Reasons[0].Text)
	}
	return line
}

// label counts a stage, of the stages where their number is known: "stage 4/10".
func (s *State) label(index int) string {
	switch {
	case s.Searching:
		return fmt.Sprintf("search stage %d", index+1)
	case s.Search > 0 || s.Endless:
		return fmt.Sprintf("stage %d/%d+", index+1, s.Stages)
	}
	return fmt.Sprintf("stage %d/%d", index+1, s.Stages)
}

// loadText is what a stage asks of the server: "17.2/s", "8 streams".
func loadText(r *Running) string {
	switch {
	case r.Index < 0:
		return "finding saturation"
	case !r.Load.Kind.Open():
		return r.Name
	}
	return num.Three(r.Load.Rate) + "/s"
}

// append appends a latency to the parts of a line, as ttft95=181ms or tpotmax=48ms; nothing where it is absent.
func (c column) append(parts []string, value num.Value) []string {
	if value.IsAbsent() {
		return parts
	}
	name := string(c.metric) + strings.TrimPrefix(c.statistic.String(), "p")
	return append(parts, name+"="+num.Three(float64(value))+"ms")
}

// Progress is the stage under way, or one that has ended, for programs that read the log of --progress json. Rates are
// per second, latencies in milliseconds; absent values are null. Of the stage under way rates and latencies are those
// of the last seconds.
type Progress struct {
	Time       time.Time `json:"time"`
	Event      string    `json:"event"` // progress: the stage under way; stage: one that has ended
	Stage      int       `json:"stage"` // from 1; 0 for the probe of a sweep
	Stages     int       `json:"stages"`
	Search     bool      `json:"search"`
	Name       string    `json:"name"`
	RunElapsed float64   `json:"run_elapsed_s"`
	RunTotal   num.Value `json:"run_total_s"` // about; with a search, at most
	Elapsed    float64   `json:"elapsed_s"`
	Limit      num.Value `json:"limit_s"`
	Sent       int       `json:"sent"`
	Done       int       `json:"done"`
	Errors     int       `json:"errors"`
	Error      string    `json:"error,omitempty"` // the most frequent
	InFlight   float64   `json:"in_flight"`
	Asked      num.Value `json:"asked_req_s"`
	SentRate   num.Value `json:"sent_req_s"`
	DoneRate   num.Value `json:"done_req_s"`
	Tokens     num.Value `json:"output_tokens_s"`
	TTFT50     num.Value `json:"ttft_p50_ms"`
	TTFT95     num.Value `json:"ttft_p95_ms"`
	TPOT50     num.Value `json:"tpot_p50_ms"`
	TPOT95     num.Value `json:"tpot_p95_ms"`
	Delay99    num.Value `json:"send_delay_p99_ms"`
	Waiting    num.Value `json:"waiting"`
	KVUsage    num.Value `json:"kv_cache_usage"`
	Client     string    `json:"client"`
	Silent     float64   `json:"silent_s"` // for how long no token came
	Outcome    string    `json:"outcome,omitempty"`
	Reasons    []string  `json:"reasons,omitempty"`
	SoFar      string    `json:"max_rate_so_far,omitempty"`
}

// seconds is a length in seconds; absent where it is 0.
func seconds(d time.Duration) num.Value {
	if d <= 0 {
		return num.Absent()
	}
	return num.Value(d.Seconds())
}

func (s *State) progress(event string, index int) Progress {
	return Progress{
		Time: s.At, Event: event, Stage: index + 1, Stages: s.Stages, Search: s.Searching,
		RunElapsed: s.Elapsed.Seconds(), RunTotal: seconds(s.Total), Asked: num.Absent(), Limit: num.Absent(),
		SoFar: s.SoFar, Waiting: num.Absent(), KVUsage: num.Absent(),
	}
}

// JSON is the stage under way as a line of JSON; nil between two stages.
func (s *State) JSON() []byte {
	r := s.Running
	if r == nil {
		return nil
	}
	p := s.progress("progress", r.Index)
	p.Name, p.Elapsed, p.Limit = r.Name, r.Elapsed.Seconds(), seconds(r.Limit)
	p.Sent, p.Done, p.Errors, p.Error = r.Sent, r.Completed, r.Errored, r.ErrorText
	p.InFlight = float64(r.InFlight)
	if r.Load.Kind.Open() {
		p.Asked = num.Value(r.Load.Rate)
	}
	p.SentRate, p.DoneRate, p.Tokens = num.Value(r.SentRate), num.Value(r.DoneRate), num.Value(r.TokenRate)
	p.TTFT50, p.TTFT95, p.TPOT50, p.TPOT95 = r.TTFTNow.P50, r.TTFTNow.P95, r.TPOTNow.P50, r.TPOTNow.P95
	p.Delay99, p.Waiting, p.KVUsage = r.SendDelay.P99, r.Waiting, r.KVUsage
	p.Client, p.Silent = string(r.Client), r.Silent.Seconds()
	return line(p)
}

// StageJSON is a stage that has ended as a line of JSON.
func (s *State) StageJSON(index int, st *report.Stage) []byte {
	p := s.progress("stage", index)
	p.Name, p.Elapsed = st.Name, st.Sending.Seconds()
	q := st.Requests
	p.Sent, p.Done, p.Errors = q.Completed+q.Errored+q.Unfinished, q.Completed, q.Errored
	if len(st.Errors) > 0 {
		p.Error = st.Errors[0].Text
	}
	p.InFlight, p.Asked = st.InFlight, st.Rates.Asked
	p.SentRate, p.DoneRate = num.Value(st.Rates.Sent), num.Value(st.Rates.Done)
	p.Tokens = num.Value(st.Rates.Output)
	p.TTFT50, p.TTFT95, p.TPOT50, p.TPOT95 = st.TTFT.P50, st.TTFT.P95, st.TPOT.P50, st.TPOT.P95
	p.Delay99, p.Client = st.SendDelay.P99, string(st.Client.Level)
	if e := st.Engine; e != nil {
		p.Waiting, p.KVUsage = e.Waiting.Mean, e.KVUsage.Mean
	}
	if st.Judged() {
		p.Outcome, p.Reasons = string(st.Judgement.Outcome), st.Judgement.Reasons
	}
	return line(p)
}

// MessageJSON is a message about the run as a line of JSON: a warning, a note.
func MessageJSON(at time.Time, event, text string) []byte {
	return line(struct {
		Time  time.Time `json:"time"`
		Event string    `json:"event"`
		Text  string    `json:"text"`
	}{at, event, text})
}

func line(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil { // only a value that is no number could be at fault, and num.Value has a form for those
		text, _ = json.Marshal(map[string]string{"event": "error", "text": err.Error()})
	}
	return append(text, '\n')
}
