package page

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"iter"
	"math"
	"slices"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// mostRequests is how many requests of all stages a page holds; each takes about 10 bytes of it.
const mostRequests = 150_000

// pageData is what the script of the page is given.
type pageData struct {
	Runs []runData `json:"runs"`
}

type runData struct {
	Stages []stageData `json:"stages"`
}

type stageData struct {
	Name     string         `json:"name"`
	Sending  float64        `json:"sending"` // s
	Open     bool           `json:"open"`
	Series   *report.Series `json:"series,omitempty"`
	Engine   *engineData    `json:"engine,omitempty"`
	Engines  []*engineData  `json:"engines,omitempty"` // of each, where there are several
	Requests *requestData   `json:"requests,omitempty"`
	TTFT     num.Value      `json:"ttft"` // bound in ms; null for none
	TPOT     num.Value      `json:"tpot"`
}

// engineData is the engine's own series as columns.
type engineData struct {
	Name    string      `json:"name,omitempty"`
	At      []float64   `json:"at"` // s
	Running []num.Value `json:"running"`
	Waiting []num.Value `json:"waiting"`
	KV      []num.Value `json:"kv"` // share
	// Preempted are the preemptions since the sample before.
	Preempted []num.Value `json:"preemptions"`
}

// requestData are the requests of a stage, packed: columns of 32-bit numbers, their lowest bytes first and then the
// others, deflated and in base64.
type requestData struct {
	Of     int      `json:"of"`    // how many were sent
	Shown  int      `json:"shown"` // how many of them are here
	Step   int      `json:"step"`  // every so many is here
	Packed string   `json:"packed"`
	Errors []string `json:"errors"`
}

// The columns of packed requests. Times are in units of 100 µs.
const (
	columnSent   = iota // since the request before
	columnDelay         // sent − scheduled
	columnFirst         // first token − sent, plus 1; 0: none came
	columnDecode        // last token − first token
	columnEnd           // end − last token, or the last thing that came
	columnStatus        // 0 completed, 1 errored, 2 unfinished; plus 4 times the place of its error, from 1
	columnPrompt        // prompt tokens plus 1; 0: not known
	columnOutput        // output tokens
	columns
)

// mostErrorTexts is how many different errors of a stage are told apart.
const mostErrorTexts = 100

// newData makes what the script is given.
func newData(runs []*report.Result) (template.JS, error) {
	var sizes []int
	for _, r := range runs {
		for k := range r.Stages {
			n := 0
			for range sent(&r.Stages[k]) {
				n++
			}
			sizes = append(sizes, n)
		}
	}
	most := fairShare(sizes, mostRequests)
	var d pageData
	for _, r := range runs {
		var run runData
		bounds := map[string]num.Value{}
		for _, of := range []metric{ttft, tpot} {
			bounds[of.name] = num.Absent()
			if o := objectiveOn(r, of.of); o != nil {
				bounds[of.name] = num.Value(o.Bound / 1e6)
			}
		}
		for k := range r.Stages {
			s := &r.Stages[k]
			// A large run has millions: they are taken apart stage by stage, and kept no longer.
			bySent := func(a, b report.Request) int { return cmp.Compare(a.Sent, b.Sent) }
			log := slices.SortedStableFunc(sent(s), bySent)
			requests, err := pack(log, most)
			if err != nil {
				return "", err
			}
			run.Stages = append(run.Stages, stageData{
				Name: s.Name, Sending: s.Sending.Seconds(), Open: s.Load.Kind.Open(), Series: s.Series,
				Engine: engineOf(s.Engine), Engines: enginesOf(s), Requests: requests,
				TTFT: bounds["TTFT"], TPOT: bounds["TPOT"],
			})
		}
		d.Runs = append(d.Runs, run)
	}
	// json.Marshal writes <, >, & and the line separators of JavaScript as escapes: no text can end the script.
	text, err := json.Marshal(d)
	return template.JS(text), err
}

// sent yields the requests of a stage that were sent.
func sent(s *report.Stage) iter.Seq[report.Request] {
	return func(yield func(report.Request) bool) {
		each := s.EachRequest()
		if each == nil {
			return
		}
		for q := range each {
			if !q.Sent.IsAbsent() && !yield(q) {
				return
			}
		}
	}
}

// fairShare is how many each may have so that all together have no more than most: what the small leave, the large get.
func fairShare(sizes []int, most int) int {
	sorted := slices.Clone(sizes)
	slices.Sort(sorted)
	left := most
	for i, n := range sorted {
		share := left / (len(sorted) - i)
		if n > share {
			return max(share, 1)
		}
		left -= n
	}
	return most
}

// pack packs requests that are sorted by the time of sending, at most so many of them, evenly chosen. It is nil where
// there are none.
func pack(log []report.Request, most int) (*requestData, error) {
	if len(log) == 0 {
		return nil, nil
	}
	step := (len(log) + most - 1) / most
	shown := (len(log) + step - 1) / step
	d := &requestData{Of: len(log), Shown: shown, Step: step, Errors: []string{}}
	places := map[string]int{}
	table := make([]uint32, columns*shown)
	before := 0.0
	for i := 0; i < shown; i++ {
		r := &log[i*step]
		set := func(column int, v float64) {
			if v > 0 {
				table[column*shown+i] = uint32(min(v, math.MaxUint32))
			}
		}
		sent := float64(r.Sent)
		now := math.Round(sent * 1e4)
		set(columnSent, now-before)
		before = max(now, before)
		last := sent
		set(columnDelay, math.Round(since(r.Scheduled, sent)*1e4))
		if !r.FirstToken.IsAbsent() {
			last = float64(r.FirstToken)
			set(columnFirst, math.Round((last-sent)*1e4)+1)
			if !r.LastToken.IsAbsent() {
				set(columnDecode, math.Round((float64(r.LastToken)-last)*1e4))
				last = max(last, float64(r.LastToken))
			}
		}
		if !r.End.IsAbsent() {
			set(columnEnd, math.Round((float64(r.End)-last)*1e4))
		}
		set(columnPrompt, float64(r.PromptTokens+1))
		set(columnOutput, float64(r.OutputTokens))
		switch r.Status {
		case loadgen.Completed.String():
		case loadgen.Errored.String():
			text := cmp.Or(r.Error, r.ErrorKind, "error")
			if places[text] == 0 && len(d.Errors) < mostErrorTexts {
				d.Errors = append(d.Errors, text)
				places[text] = len(d.Errors)
			}
			set(columnStatus, float64(1+4*places[text]))
		default:
			set(columnStatus, 2)
		}
	}
	planes := make([]byte, 0, 4*len(table))
	for c := range columns {
		for shift := 0; shift < 32; shift += 8 {
			for _, v := range table[c*shown : (c+1)*shown] {
				planes = append(planes, byte(v>>shift))
			}
		}
	}
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(planes); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	d.Packed = base64.StdEncoding.EncodeToString(b.Bytes())
	return d, nil
}

// since is the time from what may not be known; 0 then.
func since(from num.Value, to float64) float64 {
	if from.IsAbsent() {
		return 0
	}
	return to - float64(from)
}

func engineOf(w *enginemetrics.Window) *engineData {
	if w == nil || len(w.Series) == 0 {
		return nil
	}
	d := &engineData{}
	for _, s := range w.Series {
		d.At = append(d.At, math.Round(s.Seconds*1e3)/1e3)
		d.Running, d.Waiting = append(d.Running, s.Running), append(d.Waiting, s.Waiting)
		d.KV, d.Preempted = append(d.KV, short(s.KVUsage)), append(d.Preempted, s.Preemptions)
	}
	return d
}

// mostEngineLines is how many engines can be told apart in one drawing.
const mostEngineLines = 5

// enginesOf are the series of several engines; nil where there are more than can be told apart.
func enginesOf(s *report.Stage) (all []*engineData) {
	if n := len(s.Engines); n < 2 || n > mostEngineLines {
		return nil
	}
	for _, e := range s.Engines {
		if d := engineOf(e.Metrics); d != nil {
			d.Name = e.Name
			all = append(all, d)
		}
	}
	return all
}

// short is a number to four digits after the point.
func short(v num.Value) num.Value {
	if v.IsAbsent() {
		return v
	}
	return num.Value(math.Round(float64(v)*1e4) / 1e4)
}
