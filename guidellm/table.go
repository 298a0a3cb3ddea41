package guidellm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/tokens"
)

// requestTable holds the requests of a stage that is not GuideLLM's, at a fifteenth of what GuideLLM's form takes.
type requestTable struct {
	Columns []string      `json:"columns" report:"list"`
	Rows    any           `json:"rows"` // a list for each request, in the order of the schedule
	Texts   []requestText `json:"texts,omitempty"`
}

// requestText is what was sent and what came back, of the requests whose texts are kept.
type requestText struct {
	Index   int64  `json:"index"`
	Request string `json:"request"` // its body
	Output  string `json:"output"`
}

// requestColumn is a column of a requestTable: how it is written of a record, and read into a Request.
type requestColumn struct {
	name  string
	write func(b []byte, m *loadgen.Measured, r *loadgen.Record, d *loadgen.Detail) []byte
	read  func(q *tableRow, value jsontext.Value) error
}

// tableRow is a request as a table has it.
type tableRow struct {
	report.Request
	events int // token events
}

// requestColumns are the columns of a requestTable. Times are seconds since the stage began to send.
func requestColumns() []requestColumn {
	type (
		record = loadgen.Record
		detail = loadgen.Detail
	)
	moment := func(name string, of func(*record) int64, to func(*tableRow) *num.Value) requestColumn {
		return requestColumn{name, func(b []byte, m *loadgen.Measured, r *record, _ *detail) []byte {
			if ns := of(r); ns != 0 {
				return appendFloat(b, float64(ns-m.Start)/1e9)
			}
			return append(b, "null"...)
		}, func(q *tableRow, v jsontext.Value) error { return json.Unmarshal(v, to(q)) }}
	}
	count := func(name string, of func(*record) int, to func(*tableRow) *int) requestColumn {
		return requestColumn{name, func(b []byte, _ *loadgen.Measured, r *record, _ *detail) []byte {
			return strconv.AppendInt(b, int64(of(r)), 10)
		}, func(q *tableRow, v jsontext.Value) error { return json.Unmarshal(v, to(q)) }}
	}
	text := func(name string, of func(*record, *detail) string, to func(*tableRow) *string) requestColumn {
		return requestColumn{name, func(b []byte, _ *loadgen.Measured, r *record, d *detail) []byte {
			b, _ = jsontext.AppendQuote(b, of(r, d)) // the error tells of bytes that are not UTF-8, which it replaced
			return b
		}, func(q *tableRow, v jsontext.Value) (err error) {
			if v.Kind() != '"' {
				return fmt.Errorf("found %s where a text belongs", describe(v))
			}
			*to(q), err = unquote(v)
			return err
		}}
	}
	return []requestColumn{
		text("status", func(r *record, _ *detail) string { return r.Status.String() },
			func(q *tableRow) *string { return &q.Status }),
		moment("scheduled_s", func(r *record) int64 { return r.Scheduled },
			func(q *tableRow) *num.Value { return &q.Scheduled }),
		moment("sent_s", func(r *record) int64 { return r.Sent }, func(q *tableRow) *num.Value { return &q.Sent }),
		moment("first_token_s", func(r *record) int64 { return r.FirstToken },
			func(q *tableRow) *num.Value { return &q.FirstToken }),
		moment("first_output_token_s", func(r *record) int64 { return r.FirstOutput },
			func(q *tableRow) *num.Value { return &q.FirstOutput }),
		moment("last_token_s", func(r *record) int64 { return r.LastToken },
			func(q *tableRow) *num.Value { return &q.LastToken }),
		moment("end_s", func(r *record) int64 { return r.End }, func(q *tableRow) *num.Value { return &q.End }),
		count("prompt_tokens", func(r *record) int { return int(r.PromptTokens) },
			func(q *tableRow) *int { return &q.PromptTokens }),
		count("cached_tokens", func(r *record) int { return int(r.CachedTokens) },
			func(q *tableRow) *int { return &q.CachedTokens }),
		count("output_tokens", (*record).Tokens, func(q *tableRow) *int { return &q.OutputTokens }),
		count("asked_output_tokens", func(r *record) int { return int(r.AskedOutput) },
			func(q *tableRow) *int { return &q.AskedOutput }),
		count("token_events", func(r *record) int { return int(r.TokenEvents) },
			func(q *tableRow) *int { return &q.events }),
		count("session", func(r *record) int { return int(r.Session) }, func(q *tableRow) *int { return &q.Session }),
		count("turn", turnOf, func(q *tableRow) *int { return &q.Turn }),
		count("class", func(r *record) int { return int(r.Class) }, func(q *tableRow) *int { return &q.Class }),
		count("target", func(r *record) int { return int(r.Target) }, func(q *tableRow) *int { return &q.Target }),
		count("http_status", func(r *record) int { return int(r.HTTPStatus) },
			func(q *tableRow) *int { return &q.HTTPStatus }),
		text("error_kind", func(r *record, _ *detail) string { return r.Err.String() },
			func(q *tableRow) *string { return &q.ErrorKind }),
		text("error", func(_ *record, d *detail) string { return d.Error },
			func(q *tableRow) *string { return &q.Error }),
		text("response_id", func(_ *record, d *detail) string { return d.ResponseID },
			func(q *tableRow) *string { return &q.ResponseID }),
		text("request_id", func(_ *record, d *detail) string { return d.RequestID },
			func(q *tableRow) *string { return &q.RequestID }),
		count("tries", func(r *record) int { return int(r.Tries) }, func(q *tableRow) *int { return &q.Tries }),
	}
}

// turnOf is which turn of a session a request is, from 1; 0 for none.
func turnOf(r *loadgen.Record) int {
	if r.Session == 0 {
		return 0
	}
	return int(r.Turn) + 1
}

// tableOf is the table of a stage's requests.
func tableOf(m *loadgen.Measured) *requestTable {
	t := &requestTable{}
	columns := requestColumns()
	for _, c := range columns {
		t.Columns = append(t.Columns, c.name)
	}
	rows := []byte{'['}
	for i := range m.Records {
		r, d := &m.Records[i], &loadgen.Detail{}
		if m.Details != nil {
			d = &m.Details[i]
		}
		if i > 0 {
			rows = append(rows, ", "...)
		}
		rows = append(rows, '[')
		for k, c := range columns {
			if k > 0 {
				rows = append(rows, ", "...)
			}
			rows = c.write(rows, m, r, d)
		}
		rows = append(rows, ']')
		if d.Body != nil {
			t.Texts = append(t.Texts, requestText{int64(i), string(tokens.WithoutImages(d.Body)), d.Output})
		}
	}
	t.Rows = json.RawMessage(append(rows, ']'))
	return t
}

// requests reads the requests of a table. Columns that are not known are passed over.
func (t *requestTable) requests() ([]report.Request, error) {
	text, ok := t.Rows.(json.RawMessage)
	if !ok {
		return nil, errors.New("it has no rows")
	}
	known := map[string]requestColumn{}
	for _, c := range requestColumns() {
		known[c.name] = c
	}
	d := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowInvalidUTF8(true))
	if kind := d.PeekKind(); kind != '[' {
		return nil, errors.New("its rows are not a list")
	}
	all := []report.Request{}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	for d.PeekKind() == '[' {
		q := tableRow{Request: unknownRequest(len(all))}
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		for i := 0; d.PeekKind() != ']'; i++ {
			value, err := d.ReadValue()
			if err == nil && i >= len(t.Columns) {
				err = errors.New("there are more values than columns")
			}
			if err == nil {
				if c, ok := known[t.Columns[i]]; ok {
					err = c.read(&q, value)
				}
			}
			if err != nil {
				return nil, fmt.Errorf("request %d: %w", len(all), err)
			}
		}
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		derive(&q.Request, q.events)
		all = append(all, q.Request)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows its rows")
	}
	return all, nil
}

// unknownRequest is a request of which nothing is known but its place in the schedule; see derive for what follows.
func unknownRequest(index int) report.Request {
	return report.Request{
		Index: index, Scheduled: num.Absent(), Sent: num.Absent(), FirstToken: num.Absent(), LastToken: num.Absent(),
		FirstOutput: num.Absent(), End: num.Absent(), PromptTokens: -1, CachedTokens: -1,
	}
}

// derive fills in what follows from a request's times and counts.
func derive(q *report.Request, events int) {
	between := func(to, from num.Value) num.Value { return nano(float64(to - from)) } // absent if one is
	q.SendDelay, q.TTFT = between(q.Sent, q.Scheduled), between(q.FirstToken, q.Sent)
	q.ScheduledTTFT, q.ScheduledTTFO = between(q.FirstToken, q.Scheduled), between(q.FirstOutput, q.Scheduled)
	q.Latency, q.TPOT, q.ITL = num.Absent(), num.Absent(), num.Absent()
	if q.Status == loadgen.Completed.String() {
		q.Latency = between(q.End, q.Sent)
	}
	decode := between(q.LastToken, q.FirstToken)
	if !decode.IsAbsent() && q.OutputTokens > 1 {
		q.TPOT = nano(float64(decode) / float64(q.OutputTokens-1))
	}
	if decode > 0 && events > 1 {
		q.ITL = nano(float64(decode) / float64(events-1))
	}
}

// nano rounds seconds to nanoseconds.
func nano(seconds float64) num.Value { return num.Value(math.Round(seconds*1e9) / 1e9) }
