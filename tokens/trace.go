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

// longestTrace is how long the replay of a trace may last: no offset overflows.
const longestTrace = 100 * 365 * 24 * time.Hour

// trace is a recorded load: when each request came, how long its input and output were, and which blocks of text it
// shared with others. Its texts are synthetic.
type trace struct {
	requests []traceRequest
	form     traceForm
}

type traceRequest struct {
	stamp         float64 // as it stands in the trace, where the unit is not known yet
	offset        time.Duration
	input, output int
	hashes        []int64

	block    int     // tokens that one of hashes stands for, where the trace says that of each request; else 0
	messages []byte  // that were recorded: JSON objects with commas between; empty: the text is made up
	said     string  // all that they say
	fields   []field // of its body
	free     bool    // the model decides how long its answer is
	guessed  bool    // its output length is that of a text, at four characters a token
	alone    bool    // the history is in it

	sessionFields
	turns        []traceRequest // that follow it in its session
	needs        []int32        // of a later turn: as Turn has them
	think, after time.Duration  // of a later turn: as Turn has them
}

// readTrace reads a trace, also gzipped: JSON lines of Mooncake, Bailian (Qwen) or vLLM's timed_trace (timestamp,
// input_length, output_length and, if there are any, hash_ids) or of AIPerf (with messages or a text), the CSV of the
// Azure LLM inference traces or of BurstGPT, or sessions of agents, one a record: WEKA's, or OpenTelemetry traces.
// Offsets count from the earliest request. A bad line is a [RecordError], what the trace leaves open a [HintError].
func readTrace(spec TraceSpec) (*trace, error) {
	if spec.Speed < 0 || math.IsNaN(spec.Speed) || math.IsInf(spec.Speed, 0) || spec.Requests < 0 {
		return nil, fmt.Errorf("speed %v, %d requests: neither may be negative or infinite", spec.Speed, spec.Requests)
	}
	if spec.BlockTokens < 0 || spec.BlockTokens > maxTokens {
		return nil, fmt.Errorf("blocks of %d tokens: want 1 to %d", spec.BlockTokens, maxTokens)
	}
	if spec.Speed == 0 {
		spec.Speed = 1
	}
	t, form, err := readTraceFile(spec)
	if err != nil {
		return nil, err
	}
	if len(t.requests) == 0 {
		return nil, fmt.Errorf("%s: it holds no requests", spec.File)
	}
	if form.isJSON {
		spec.BlockTokens = cmp.Or(spec.BlockTokens, form.block)
		spec.TimeUnit = cmp.Or(spec.TimeUnit, form.unit)
		if err := t.settle(spec, form.isBailian); err != nil {
			return nil, fmt.Errorf("%s: %w", spec.File, err)
		}
		for i := range t.requests {
			if t.form.unit == Seconds && math.Abs(t.requests[i].stamp) > longestStamp {
				return nil, fmt.Errorf("%s: request %d: timestamp %v is too large for seconds", spec.File, i+1,
					t.requests[i].stamp)
			}
			t.requests[i].offset = stampOffset(t.requests[i].stamp, t.form.unit)
		}
	}
	slices.SortStableFunc(t.requests, func(a, b traceRequest) int { return cmp.Compare(a.offset, b.offset) })
	if spec.Sessions != nil {
		if !form.isSession {
			if err := t.gather(); err != nil {
				return nil, fmt.Errorf("%s: %w", spec.File, err)
			}
		}
		slices.SortStableFunc(t.requests, func(a, b traceRequest) int { return cmp.Compare(a.offset, b.offset) })
		if n := spec.Requests; n > 0 && n < len(t.requests) {
			t.requests = t.requests[:n]
		}
	}
	first := t.requests[0].offset
	last := t.requests[len(t.requests)-1].offset
	if length := float64(last-first) / spec.Speed; length > float64(longestTrace) {
		return nil, fmt.Errorf("%s: at %v times its speed it lasts more than a hundred years", spec.File, spec.Speed)
	}
	for i := range t.requests {
		t.requests[i].pace(spec.Speed)
		t.requests[i].offset = time.Duration(float64(t.requests[i].offset-first) / spec.Speed)
	}
	return t, nil
}

// longestStamp bounds a time stamp in seconds: 285 years, below what a time.Duration holds.
const longestStamp = 9e9

// stampOffset is a time stamp as a time, to the nanosecond.
func stampOffset(stamp float64, unit string) time.Duration {
	if unit == Seconds {
		return time.Duration(math.Round(stamp * 1e9))
	}
	return time.Duration(math.Round(stamp * 1e6))
}

// readTraceFile reads the requests of a trace in their order.
func readTraceFile(spec TraceSpec) (*trace, traceReader, error) {
	var form traceReader
	rows, err := openRecords(spec.File)
	if err != nil {
		return nil, form, err
	}
	// By then all that is wanted was read, or the error of reading is returned.
	defer func() { _ = rows.close() }()
	t := &trace{}
	stamps := map[string]float64{} // the last one of each session
	for spec.Requests == 0 || spec.Sessions != nil || len(t.requests) < spec.Requests {
		r, at, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, form, err
		}
		if form.read == nil {
			if form, err = traceReaderOf(r); err != nil {
				return nil, form, at.error(spec.File, err)
			}
			t.form.name = form.name
			if form.isSession && spec.Sessions == nil {
				return nil, form, &HintError{fmt.Errorf("%s: its records are sessions, of requests that wait for each "+
					"other's answers", spec.File), "--sessions sends them"}
			}
		}
		q, err := form.read(r)
		if err == nil {
			err = q.readSession(r)
		}
		switch {
		case err != nil:
		case q.noStamp && q.session == "":
			err = errors.New("timestamp is missing")
		case q.noStamp && spec.Sessions == nil:
			err = &HintError{errors.New("timestamp is missing: it is a later turn of a session"),
				"--sessions sends them"}
		case q.noStamp:
			q.stamp = stamps[q.session] // so that it stands behind the turn before
		case q.session != "":
			stamps[q.session] = q.stamp
		}
		if err != nil {
			return nil, form, at.error(spec.File, err)
		}
		if !t.form.count(r, q) {
			continue
		}
		t.form.lines++
		if !q.free {
			q.output = max(1, q.output) // 0 would mean that the model decides
		}
		t.requests = append(t.requests, q)
	}
	if len(t.requests) == 0 && t.form.noInput > 0 {
		return nil, form, fmt.Errorf("%s: none of its %d requests has any input", spec.File, t.form.noInput)
	}
	return t, form, nil
}

// count counts what is special about a request; false says that it can't be sent.
func (f *traceForm) count(r record, q traceRequest) bool {
	if q.input == 0 {
		f.noInput++
		return false
	}
	if q.output == 0 && !q.free {
		f.noOutput++
	}
	if f.block == 0 {
		f.block = q.block
	}
	for _, turn := range append(q.turns[:len(q.turns):len(q.turns)], q) {
		if turn.guessed {
			f.guessed++
		}
		if len(turn.messages) > 0 {
			f.said++
		}
	}
	if parent, ok := r["parent_chat_id"]; ok && !empty(parent) {
		if n, err := wholeNumber(parent); err != nil || n >= 0 {
			f.turns++
		}
	}
	if n, err := wholeNumber(r["NumImages"]); err == nil && n > 0 {
		f.images++
	}
	return true
}

// traceReader reads the records of one form.
type traceReader struct {
	name              string
	read              func(record) (traceRequest, error)
	isJSON, isBailian bool // … and times in a unit that is to be found out
	isSession         bool // a record is a whole session

	// As the records say themselves, which those of openloop record do; 0 and "" where they don't.
	block int
	unit  string
}

// traceReaderOf recognises a form by its first record.
func traceReaderOf(r record) (traceReader, error) {
	has := func(names ...string) bool {
		for _, name := range names {
			if _, ok := r[name]; !ok {
				return false
			}
		}
		return true
	}
	switch {
	case has("requests", "block_size"):
		return traceReader{name: "WEKA, times in s", read: readWeka, isSession: true}, nil
	case has("spans"):
		return traceReader{name: "OpenTelemetry", read: readOTel, isSession: true}, nil
	case has("timestamp"), has("session_id", "input_length"), has("session_id", "messages"),
		has("session_id", "text_input"):
		form := traceReader{read: readMooncake, isJSON: true, isBailian: has("chat_id", "parent_chat_id")}
		if n, err := wholeNumber(r["block_tokens"]); err == nil && n > 0 && n <= maxTokens {
			form.block = n
		}
		if raw, ok := r["time_unit"].(json.RawMessage); ok {
			_ = json.Unmarshal(raw, &form.unit)
		}
		if form.unit != Seconds && form.unit != Milliseconds { // it is somebody else's field
			form.unit = ""
		}
		return form, nil
	case has("TIMESTAMP"):
		return traceReader{name: "Azure", read: readAzure}, nil
	case has("Timestamp", "Request tokens"):
		return traceReader{name: "BurstGPT, times in s", read: readBurstGPT}, nil
	}
	return traceReader{}, errors.New("want timestamp, input_length and output_length (Mooncake, Bailian, vLLM), " +
		"timestamp and messages (AIPerf), requests and block_size (WEKA), spans (OpenTelemetry), " +
		"TIMESTAMP, ContextTokens and GeneratedTokens (Azure), " +
		"or Timestamp, Request tokens and Response tokens (BurstGPT)")
}

// readMooncake reads the fields that the traces in JSON lines share. The unit of the stamp is not known yet.
func readMooncake(r record) (q traceRequest, err error) {
	stamp, ok := r["timestamp"]
	if q.noStamp = !ok || empty(stamp); !q.noStamp {
		q.stamp, err = realNumber(stamp)
		if err != nil || math.Abs(q.stamp) > 1000*longestStamp {
			return q, fmt.Errorf("timestamp: %s; want milliseconds or seconds", show(stamp))
		}
	}
	if _, ok := r["input_length"]; !ok && (!empty(r["messages"]) || !empty(r["text_input"])) {
		return q, q.readSaid(r)
	}
	if err := q.lengths(r, "input_length", "output_length"); err != nil {
		return q, err
	}
	if ids, ok := r["hash_ids"].(json.RawMessage); ok {
		if err := json.Unmarshal(ids, &q.hashes); err != nil {
			return q, fmt.Errorf("hash_ids: %.80s; want a list of whole numbers", ids)
		}
	}
	return q, nil
}

func readAzure(r record) (q traceRequest, err error) {
	if q.offset, err = azureTime(r["TIMESTAMP"]); err != nil {
		return q, err
	}
	return q, q.lengths(r, "ContextTokens", "GeneratedTokens")
}

func readBurstGPT(r record) (q traceRequest, err error) {
	stamp, err := realNumber(r["Timestamp"])
	if err != nil || math.Abs(stamp) > longestStamp {
		return q, fmt.Errorf("the column Timestamp: %s; want seconds", show(r["Timestamp"]))
	}
	q.offset = stampOffset(stamp, Seconds)
	return q, q.lengths(r, "Request tokens", "Response tokens")
}

// lengths reads the lengths of input and output.
func (q *traceRequest) lengths(r record, input, output string) (err error) {
	if q.input, err = traceLength(r, input); err == nil {
		q.output, err = traceLength(r, output)
	}
	return err
}

func traceLength(r record, name string) (int, error) {
	value, ok := r[name]
	if !ok {
		return 0, fmt.Errorf("%s is missing", name)
	}
	n, err := wholeNumber(value)
	if err != nil || n < 0 || n > maxTokens {
		return 0, fmt.Errorf("%s: %s; want a whole number from 0 to %d", name, show(value), maxTokens)
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
func (t *trace) source(s *Synth, spec TraceSpec) source {
	return func(i int) (Item, error) {
		if i < 0 || i >= len(t.requests) {
			return Item{}, io.EOF
		}
		q := t.requests[i]
		if spec.Sessions != nil {
			return t.session(s, i, q, spec), nil
		}
		return t.item(s, i, i, q), nil
	}
}

// item makes item i of a request, whose own text is the one of a number.
func (t *trace) item(s *Synth, i, number int, q traceRequest) Item {
	if len(q.messages) == 0 {
		return Item{Index: i, PromptText: t.text(s, number, q), PromptTokens: q.input, OutputTokens: q.output}
	}
	// Its length in the endpoint's tokens is not known.
	return Item{Index: i, PromptText: q.said, Messages: slices.Concat([]byte{'['}, q.messages, []byte{']'}),
		OutputTokens: q.output, fields: q.fields}
}

// text joins the texts of the blocks, which depend on their identifiers alone, so that equal identifiers share their
// text; what the identifiers do not cover is the request's own.
func (t *trace) text(s *Synth, i int, q traceRequest) string {
	var text strings.Builder
	left := s.words(q.input)
	block := s.words(cmp.Or(q.block, t.form.block))
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
