// Package records writes the requests of a result for other programs: flat, one line a request, as Parquet, JSON lines
// or CSV (Write), and as an HdrHistogram log of their latencies (WriteHLog).
//
//	records.go  a row, and where it goes
//	hlog.go     the HdrHistogram log
package records

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
)

// Form is a form in which requests are written.
type Form string

// The forms.
const (
	Parquet Form = "parquet"
	JSONL   Form = "jsonl"
	CSV     Form = "csv"
)

// FormOf is the form of a file by its ending.
func FormOf(file string) (Form, error) {
	switch form := Form(strings.TrimPrefix(filepath.Ext(file), ".")); form {
	case Parquet, JSONL, CSV:
		return form, nil
	case "ndjson":
		return JSONL, nil
	}
	return "", fmt.Errorf("%q: requests are written to files with the endings .parquet, .jsonl and .csv", file)
}

// ErrNoRequests is the error for a stage whose requests are not at hand: its report kept a sample of them, or none.
var ErrNoRequests = errors.New("the report does not hold all requests")

// row is a line of the file. A pointer is nil where there is no value: the request did not come so far, or nobody said.
type row struct {
	RunBegan   time.Time `json:"run_began" parquet:"run_began,timestamp(microsecond)"`
	Model      string    `json:"model" parquet:"model,dict"`
	Stage      int32     `json:"stage" parquet:"stage"`
	StageName  string    `json:"stage_name" parquet:"stage_name,dict"`
	StageBegan time.Time `json:"stage_began" parquet:"stage_began,timestamp(microsecond)"`
	Load       string    `json:"load" parquet:"load,dict"`
	RateAsked  *float64  `json:"rate_asked" parquet:"rate_asked,optional"`
	Streams    *int32    `json:"streams" parquet:"streams,optional"`

	Index       int64    `json:"index" parquet:"index"`
	Status      string   `json:"status" parquet:"status,dict"`
	Scheduled   *float64 `json:"scheduled_s" parquet:"scheduled_s,optional"`
	Sent        *float64 `json:"sent_s" parquet:"sent_s,optional"`
	FirstToken  *float64 `json:"first_token_s" parquet:"first_token_s,optional"`
	FirstOutput *float64 `json:"first_output_token_s" parquet:"first_output_token_s,optional"`
	LastToken   *float64 `json:"last_token_s" parquet:"last_token_s,optional"`
	End         *float64 `json:"end_s" parquet:"end_s,optional"`

	SendDelay     *float64 `json:"send_delay_s" parquet:"send_delay_s,optional"`
	TTFT          *float64 `json:"ttft_s" parquet:"ttft_s,optional"`
	ScheduledTTFT *float64 `json:"ttft_scheduled_s" parquet:"ttft_scheduled_s,optional"`
	ScheduledTTFO *float64 `json:"ttfo_scheduled_s" parquet:"ttfo_scheduled_s,optional"`
	TPOT          *float64 `json:"tpot_s" parquet:"tpot_s,optional"`
	ITL           *float64 `json:"itl_mean_s" parquet:"itl_mean_s,optional"`
	Latency       *float64 `json:"latency_s" parquet:"latency_s,optional"`

	Session *int32 `json:"session" parquet:"session,optional"`
	Turn    *int32 `json:"turn" parquet:"turn,optional"`

	Class  *string `json:"class" parquet:"class,optional,dict"`
	Target *string `json:"target" parquet:"target,optional,dict"`

	PromptTokens *int32  `json:"prompt_tokens" parquet:"prompt_tokens,optional"`
	CachedTokens *int32  `json:"cached_tokens" parquet:"cached_tokens,optional"`
	OutputTokens int32   `json:"output_tokens" parquet:"output_tokens"`
	AskedOutput  *int32  `json:"asked_output_tokens" parquet:"asked_output_tokens,optional"`
	HTTPStatus   *int32  `json:"http_status" parquet:"http_status,optional"`
	ErrorKind    *string `json:"error_kind" parquet:"error_kind,optional,dict"`
	Error        *string `json:"error" parquet:"error,optional,dict"`
	ResponseID   *string `json:"response_id" parquet:"response_id,optional"`
	RequestID    *string `json:"request_id" parquet:"request_id,optional"`
	Tries        *int32  `json:"tries" parquet:"tries,optional"`
}

// Write writes all requests of results, one line each, in the order of the stages and within them of the schedule. It
// streams: however many there are, a few thousand rows are held at a time. The error is ErrNoRequests, before anything
// is written, where the requests of a stage are not at hand.
func Write(w io.Writer, form Form, results ...*report.Result) error {
	if err := haveRequests(results); err != nil {
		return err
	}
	switch form {
	case Parquet:
		return writeParquet(w, results)
	case JSONL:
		return writeJSONL(w, results)
	case CSV:
		return writeCSV(w, results)
	}
	return fmt.Errorf("no form %q", form)
}

// haveRequests says which stage's requests are not at hand.
func haveRequests(results []*report.Result) error {
	for _, r := range results {
		for i := range r.Stages {
			if r.Stages[i].EachRequest() == nil {
				return fmt.Errorf("stage %d (%q): %w", i+1, r.Stages[i].Name, ErrNoRequests)
			}
		}
	}
	return nil
}

// rows yields the rows of results. What it yields is read before the next one is asked for.
func rows(results []*report.Result) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		for _, r := range results {
			for i := range r.Stages {
				s := &r.Stages[i]
				of := row{
					RunBegan: r.Began.UTC(), Model: r.Asked.Model, Stage: int32(i), StageName: s.Name,
					StageBegan: s.Began.UTC(), Load: string(s.Load.Kind), RateAsked: seconds(s.Rates.Asked),
				}
				if !s.Load.Kind.Open() && s.Load.Streams > 0 {
					of.Streams = count(s.Load.Streams, 1)
				}
				for q := range s.EachRequest() {
					line := of
					line.fill(&q)
					line.Class, line.Target = nameOf(s.Classes, q.Class-1), nameOf(s.Targets, q.Target)
					if !yield(&line) {
						return
					}
				}
			}
		}
	}
}

func (r *row) fill(q *report.Request) {
	r.Index, r.Status = int64(q.Index), q.Status
	r.Scheduled, r.Sent, r.FirstToken = seconds(q.Scheduled), seconds(q.Sent), seconds(q.FirstToken)
	r.FirstOutput, r.LastToken, r.End = seconds(q.FirstOutput), seconds(q.LastToken), seconds(q.End)
	r.SendDelay, r.TTFT, r.ScheduledTTFT = seconds(q.SendDelay), seconds(q.TTFT), seconds(q.ScheduledTTFT)
	r.ScheduledTTFO = seconds(q.ScheduledTTFO)
	r.TPOT, r.ITL, r.Latency = seconds(q.TPOT), seconds(q.ITL), seconds(q.Latency)
	r.Session, r.Turn = count(q.Session, 1), count(q.Turn, 1)
	r.PromptTokens, r.CachedTokens = count(q.PromptTokens, 0), count(q.CachedTokens, 0)
	r.OutputTokens, r.AskedOutput = *count(max(q.OutputTokens, 0), 0), count(q.AskedOutput, 1)
	r.HTTPStatus = count(q.HTTPStatus, 1)
	r.ErrorKind, r.Error, r.ResponseID = text(q.ErrorKind), text(q.Error), text(q.ResponseID)
	r.RequestID, r.Tries = text(q.RequestID), count(q.Tries, 1)
}

// nameOf is the name of a group; nil where there is none.
func nameOf(groups []report.Group, k int) *string {
	if k < 0 || k >= len(groups) {
		return nil
	}
	return &groups[k].Name
}

// seconds is nil for what is absent or not finite.
func seconds(v num.Value) *float64 {
	f := float64(v)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

// count is nil for what is below the least that says something.
func count(n, least int) *int32 {
	if n < least {
		return nil
	}
	short := int32(min(n, math.MaxInt32))
	return &short
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	return &s
}

// batch is how many rows are handed to Parquet's writer at a time, rowGroup how many it holds before it writes them.
const (
	batch    = 1 << 10
	rowGroup = 1 << 16
)

func writeParquet(w io.Writer, results []*report.Result) error {
	out := parquet.NewGenericWriter[row](w, parquet.MaxRowsPerRowGroup(rowGroup), parquet.Compression(&parquet.Zstd),
		parquet.CreatedBy("openloop", "", ""))
	held := make([]row, 0, batch)
	flush := func() error {
		_, err := out.Write(held)
		held = held[:0]
		return err
	}
	for r := range rows(results) {
		if held = append(held, *r); len(held) == batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return errors.Join(flush(), out.Close())
}

func writeJSONL(w io.Writer, results []*report.Result) error {
	out := bufio.NewWriter(w)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for r := range rows(results) {
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	return out.Flush()
}

// writeCSV writes a line of names and a line a request; what is absent is an empty cell.
func writeCSV(w io.Writer, results []*report.Result) error {
	out := csv.NewWriter(w)
	of := reflect.TypeFor[row]()
	cells := make([]string, of.NumField())
	for i := range cells {
		cells[i] = of.Field(i).Tag.Get("json")
	}
	if err := out.Write(cells); err != nil {
		return err
	}
	for r := range rows(results) {
		line := reflect.ValueOf(r).Elem()
		for i := range cells {
			cells[i] = cell(line.Field(i).Addr().Interface())
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func cell(field any) string {
	switch v := field.(type) {
	case *time.Time:
		return v.Format(time.RFC3339Nano)
	case *string:
		return *v
	case *int32:
		return strconv.Itoa(int(*v))
	case *int64:
		return strconv.FormatInt(*v, 10)
	case **float64:
		if *v != nil {
			return strconv.FormatFloat(**v, 'f', -1, 64)
		}
	case **int32:
		if *v != nil {
			return strconv.Itoa(int(**v))
		}
	case **string:
		if *v != nil {
			return **v
		}
	}
	return ""
}
