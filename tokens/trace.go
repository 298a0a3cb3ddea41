package tokens

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// traceBlock is the length in tokens of the block of text that a hash identifier stands for, as in Mooncake's traces.
const traceBlock = 512

// longestTrace is how long the replay of a trace may last: no offset overflows.
const longestTrace = 100 * 365 * 24 * time.Hour

// trace is a recorded load: when each request came, how long its input and output were, and which blocks of text it
// shared with others. Its texts are synthetic.
type trace struct {
	requests []traceRequest
	block    int // tokens of the text that an identifier stands for
}

type traceRequest struct {
	offset        time.Duration
	input, output int
	hashes        []int64
}

// readTrace reads a trace, also gzipped: JSON lines in Mooncake's form (timestamp in ms, input_length, output_length
// and, if there are any, hash_ids), or the CSV of the Azure LLM inference traces (TIMESTAMP, ContextTokens,
// GeneratedTokens). Offsets count from the earliest request. A bad line is a [RecordError].
func readTrace(spec TraceSpec) (*trace, error) {
	if spec.Speed < 0 || math.IsNaN(spec.Speed) || math.IsInf(spec.Speed, 0) || spec.Requests < 0 {
		return nil, fmt.Errorf("speed %v, %d requests: neither may be negative or infinite", spec.Speed, spec.Requests)
	}
	if spec.Speed == 0 {
		spec.Speed = 1
	}
	path := spec.File
	rows, err := openRecords(path)
	if err != nil {
		return nil, err
	}
	// By then all that is wanted was read, or the error of reading is returned.
	defer func() { _ = rows.close() }()
	t := &trace{block: traceBlock}
	for spec.Requests == 0 || len(t.requests) < spec.Requests {
		r, line, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		q, err := parseTraceRequest(r)
		if err != nil {
			return nil, &RecordError{path, line, err}
		}
		t.requests = append(t.requests, q)
	}
	if len(t.requests) == 0 {
		return nil, fmt.Errorf("%s: it holds no requests", path)
	}
	slices.SortStableFunc(t.requests, func(a, b traceRequest) int { return cmp.Compare(a.offset, b.offset) })
	first := t.requests[0].offset
	last := t.requests[len(t.requests)-1].offset
	if length := float64(last-first) / spec.Speed; length > float64(longestTrace) {
		return nil, fmt.Errorf("%s: at %v times its speed it lasts more than a hundred years", path, spec.Speed)
	}
	for i := range t.requests {
		t.requests[i].offset = time.Duration(float64(t.requests[i].offset-first) / spec.Speed)
	}
	return t, nil
}

// parseTraceRequest reads a record of either form. Its offset counts from the trace's own origin.
func parseTraceRequest(r record) (q traceRequest, err error) {
	stamp, mooncake := r["timestamp"]
	input, output := "input_length", "output_length"
	if !mooncake {
		var azure bool
		if stamp, azure = r["TIMESTAMP"]; !azure {
			return q, errors.New("want timestamp, input_length and output_length (Mooncake), " +
				"or TIMESTAMP, ContextTokens and GeneratedTokens (Azure)")
		}
		input, output = "ContextTokens", "GeneratedTokens"
	}
	if mooncake {
		ms, err := realNumber(stamp)
		if err != nil || math.Abs(ms) > 1e12 { // 30 years, and far from overflowing
			return q, fmt.Errorf("timestamp: %s; want milliseconds", show(stamp))
		}
		q.offset = time.Duration(math.Round(ms * 1e6))
	} else if q.offset, err = azureTime(stamp); err != nil {
		return q, err
	}
	if q.input, err = traceLength(r, input, 1); err != nil {
		return q, err
	}
	if q.output, err = traceLength(r, output, 0); err != nil {
		return q, err
	}
	q.output = max(1, q.output) // 0 would mean that the model decides
	if ids, ok := r["hash_ids"].(json.RawMessage); ok {
		if err := json.Unmarshal(ids, &q.hashes); err != nil {
			return q, fmt.Errorf("hash_ids: %.80s; want a list of whole numbers", ids)
		}
	}
	return q, nil
}

func traceLength(r record, name string, least int) (int, error) {
	value, ok := r[name]
	if !ok {
		return 0, fmt.Errorf("%s is missing", name)
	}
	n, err := wholeNumber(value)
	if err != nil || n < least || n > maxTokens {
		return 0, fmt.Errorf("%s: %s; want a whole number from %d to %d", name, show(value), least, maxTokens)
	}
	return n, nil
}

func realNumber(value any) (f float64, err error) {
	switch v := value.(type) {
	case json.RawMessage:
		err = json.Unmarshal(v, &f)
	case string:
		err = json.Unmarshal([]byte(strings.TrimSpace(v)), &f)
	default:
		err = errors.New("not a number")
	}
	return f, err
}

// azureTime reads the times of the traces of 2023 ("2023-11-16 18:15:46.6805900") and of 2024
// ("2024-05-10 00:00:00.009930+00:00").
func azureTime(value any) (time.Duration, error) {
	s, _ := value.(string)
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", time.RFC3339} {
		if at, err := time.Parse(layout, strings.TrimSpace(s)); err == nil && at.Year() > 1900 && at.Year() < 2200 {
			return time.Duration(at.UnixNano()), nil
		}
	}
	return 0, fmt.Errorf("TIMESTAMP: %s; want a time such as 2023-11-16 18:15:46.6805900", show(value))
}

// offsets returns when each request is due, from the start of the trace and with its speed applied. They never
// decrease.
func (t *trace) offsets() []time.Duration {
	offsets := make([]time.Duration, len(t.requests))
	for i := range t.requests {
		offsets[i] = t.requests[i].offset
	}
	return offsets
}

// source gives the requests in the order of their offsets, io.EOF behind the last. Their texts are those of a Synth,
// and pure functions of the index.
func (t *trace) source(s *Synth) source {
	return func(i int) (Item, error) {
		if i < 0 || i >= len(t.requests) {
			return Item{}, io.EOF
		}
		q := t.requests[i]
		return Item{Index: i, PromptText: t.text(s, i, q), PromptTokens: q.input, OutputTokens: q.output}, nil
	}
}

// text joins the texts of the blocks, which depend on their identifiers alone, so that equal identifiers share their
// text; what the identifiers do not cover is the request's own.
func (t *trace) text(s *Synth, i int, q traceRequest) string {
	var text strings.Builder
	left := s.words(q.input)
	block := s.words(t.block)
	text.Grow(left * 9)
	for _, hash := range q.hashes {
		if n := min(left, block); n > 0 {
			text.WriteString(s.text(int(uint64(hash)&math.MaxInt64), n, streamBlock, text.Len() > 0))
			left -= n
		}
	}
	if left > 0 {
		text.WriteString(s.text(i, left, streamWords, text.Len() > 0))
	}
	return text.String()
}
