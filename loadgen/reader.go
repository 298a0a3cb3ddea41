package loadgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/openloop/openloop/internal/precise"
	"github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/loadgen/transport"
)

// Limits on what is kept in memory of what a server sends.
const (
	errorBodyLimit = 64 << 10 // of an error response, for its message
	wholeBodyLimit = 16 << 20 // of a response that is not a stream
	textLimit      = 1 << 20  // of the text of an answer that is kept; the rest is counted alone
	allTextsLimit  = 256 << 20
	bufferLimit    = 1 << 20 // of a buffer that is kept for the next request
)

// reader sends one request at a time and reads its response into a record. It keeps its buffers for the next request.
type reader struct {
	ctx       context.Context // its end cancels the request at hand
	client    *Client
	exchanges []transport.Exchange // by route; nil where none was needed yet
	exchange  transport.Exchange   // that of the request at hand
	clock     *precise.Clock
	redact    func(string) string
	jobs      chan job // tells the reader of an open loop that its moment has come

	shard  *shard // where its tokens are counted as they come
	rec    *Record
	detail *Detail // nil: not wanted

	sending  transport.Sending
	head     transport.Head
	stamp    transport.Stamp // of the bytes at hand
	events   stream.Splitter
	delta    stream.Delta
	template stream.Template
	forNext  bool      // the text of the answer at hand is part of a later request
	keep     bool      // … is kept
	text     []byte    // what was generated so far, as far as it is kept
	counted  textCount // of all that was generated
	unescape []byte    // the text of the event at hand
	whole    []byte    // a response that is not a stream
	gaps     []int64
	delays   []int64
	done     bool  // [DONE] was seen
	tokens   bool  // the answer holds a token
	finished int64 // when the finish reason came

	keptTexts *atomic.Int64 // bytes of texts that the stage has kept

	kind ErrorKind
	err  error
}

func newReader(ctx context.Context, client *Client, clock *precise.Clock) *reader {
	r := &reader{
		ctx: ctx, client: client, exchanges: make([]transport.Exchange, len(client.routes)), clock: clock,
		jobs: make(chan job, 1), gaps: make([]int64, 0, 256), delays: make([]int64, 0, 256),
	}
	r.events.Emit = r.event
	return r
}

// encode gets ready to send a request: what will be written, and over which connection.
func (r *reader) encode(q *Request) {
	at := r.client.route(q)
	if r.exchanges[at] == nil {
		r.exchanges[at] = r.client.routes[at].transport.NewExchange(r.ctx, r.clock)
	}
	r.exchange, r.redact = r.exchanges[at], r.client.routes[at].redact
	if as := r.client.routes[at].dialect; as != r.template.As {
		r.template = stream.Template{As: as}
	}
	r.exchange.Encode(q.Body)
}

// close is called where no request follows.
func (r *reader) close() {
	for _, x := range r.exchanges {
		if x != nil {
			x.Close()
		}
	}
}

// roundTrip sends the request that the exchange has encoded and follows its response to the end. Everything it finds
// goes into the record.
func (r *reader) roundTrip() {
	r.events.Reset()
	r.keep, r.counted = r.detail != nil && r.detail.Body != nil, textCount{}
	r.text, r.gaps, r.delays, r.whole = r.text[:0], r.gaps[:0], r.delays[:0], r.whole[:0]
	r.sending, r.done, r.tokens, r.kind, r.err = transport.Sending{}, false, false, NoError, nil
	var err error
	r.head, err = r.exchange.RoundTrip(&r.sending)
	r.noteSending()
	if err != nil {
		r.failTransport(err)
	} else {
		if r.detail != nil {
			r.detail.RequestID = r.requestID()
		}
		r.readBody(r.classify())
	}
	r.exchange.End()
	r.finish()
	r.events.Trim(bufferLimit)
	for _, buffer := range []*[]byte{&r.text, &r.unescape, &r.whole} {
		if cap(*buffer) > bufferLimit && !(buffer == &r.text && r.forNext) {
			*buffer = nil
		}
	}
}

// noteSending takes into the record how the request got on its way.
func (r *reader) noteSending() {
	if r.rec.Tries == 0 { // the times of a request are those of its first try
		r.rec.Sent, r.rec.Connecting = r.sending.At, r.sending.Connecting
	}
	if r.sending.At > 0 {
		r.rec.Tries++
	}
	if r.sending.Opened {
		r.rec.Flags |= NewConnection
	}
	if r.sending.Retried {
		r.rec.Flags |= Retried
	}
	if r.sending.Ahead {
		r.rec.Flags |= OpenedAhead
	}
}

// requestIDs are the headers by which servers and gateways name a request, as http.Header spells them: OpenAI's, vLLM's
// and most proxies', LiteLLM's, and Anthropic's. The first that is there is taken.
var requestIDs = [...]string{"X-Request-Id", "X-Litellm-Call-Id", "Request-Id"}

// requestIDLength is the most bytes that are kept of one.
const requestIDLength = 200

// requestID is the name by which the server's log knows the request; "" where it names none.
func (r *reader) requestID() string {
	for _, name := range requestIDs {
		if values := r.head.Header[name]; len(values) > 0 && values[0] != "" && len(values[0]) <= requestIDLength {
			return r.redact(values[0])
		}
	}
	return ""
}

// bodyKind is what a response's body turned out to be.
type bodyKind uint8

const (
	streamBody bodyKind = iota
	wholeBody
	errorBody
)

// classify looks at status and content type.
func (r *reader) classify() bodyKind {
	r.rec.HTTPStatus = int16(r.head.Status)
	if r.head.Status != http.StatusOK {
		return errorBody
	}
	if coding := stream.ContentCoding(r.head.Header); coding != "" {
		r.fail(ErrMalformed, fmt.Errorf("the response is compressed (%s), which was not asked for",
			stream.Shorten(r.redact(coding), 40)))
		return errorBody
	}
	mediaType, _, _ := strings.Cut(r.head.Header.Get("Content-Type"), ";")
	if strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream") {
		r.rec.Flags |= Streamed
		return streamBody
	}
	return wholeBody
}

// readBody reads the response's body, to its end or until no more of it matters.
func (r *reader) readBody(kind bodyKind) {
	for {
		if r.done || r.err != nil || kind == errorBody {
			r.exchange.LimitDrain() // the rest is read for the connection's sake alone
		}
		body, stamp, err := r.exchange.Next()
		r.stamp = stamp
		switch {
		case err == nil && r.takeBody(kind, body):
		case err == nil:
			r.giveUp(kind)
			return
		case err == io.EOF:
			r.endBody(kind)
			return
		default:
			if !r.giveUp(kind) {
				r.failTransport(err)
			}
			return
		}
	}
}

// giveUp is called where a body is not read to its end. It is true if all that matters was read.
func (r *reader) giveUp(kind bodyKind) bool {
	if kind == errorBody {
		r.endBody(kind)
	}
	return r.done || r.err != nil
}

// takeBody takes some bytes of the body; false where reading on is of no use.
func (r *reader) takeBody(kind bodyKind, body []byte) bool {
	switch kind {
	case streamBody:
		if err := r.events.Feed(body); err != nil {
			r.fail(ErrMalformed, err)
			return false
		}
		// An error inside the stream ends what can be measured of it. The rest is read for the connection's sake.
	case wholeBody:
		if r.whole = append(r.whole, body...); len(r.whole) > wholeBodyLimit {
			r.fail(ErrMalformed, fmt.Errorf("the response exceeds %d MiB", wholeBodyLimit>>20))
			return false
		}
	case errorBody:
		r.whole = append(r.whole, body[:min(len(body), errorBodyLimit-len(r.whole))]...)
		return len(r.whole) < errorBodyLimit
	}
	return true
}

// endBody is called when the body has ended in good order.
func (r *reader) endBody(kind bodyKind) {
	switch kind {
	case streamBody:
		if rest := r.events.Rest(); stream.IsDone(rest) {
			r.event(rest, false)
		}
		if r.err == nil {
			r.rec.End = r.stamp.At
		}
	case wholeBody:
		r.rec.End = r.stamp.At
		r.takeWhole()
	case errorBody:
		r.rec.End = r.stamp.At
		r.fail(ErrStatus, stream.StatusError(r.head.Status, r.head.Header, r.whole, r.redact))
	}
}

// takeWhole takes a response that is not a stream: one JSON object.
func (r *reader) takeWhole() {
	unknown := func(why error) error {
		mediaType := stream.Shorten(r.redact(r.head.Header.Get("Content-Type")), 80)
		return fmt.Errorf("the response (%s) is neither a stream nor a completion: %w", mediaType, why)
	}
	if err := r.delta.ParseAs(r.template.As, r.whole); err != nil {
		r.fail(ErrMalformed, unknown(err))
		return
	}
	r.applyDelta()
	if r.delta.Token { // though there is no time at which one came
		r.tokens = true
	}
	if r.template.As == stream.Pooling { // the answer as a whole is the one event, by which a probe sees it
		r.shard.firsts.Add(1)
		r.shard.tokens.Add(1)
	}
	if r.err == nil && r.rec.Finish == stream.NoFinish {
		begin := stream.Shorten(r.redact(string(r.whole)), 80)
		r.fail(ErrMalformed, unknown(fmt.Errorf("%q", begin)))
	}
}

// event takes one event of the stream.
func (r *reader) event(data []byte, isError bool) {
	rec := r.rec
	if r.done || r.err != nil || len(bytes.TrimSpace(data)) == 0 { // an empty event keeps a connection alive
		return
	}
	at := r.stamp.At
	if rec.FirstEvent == 0 {
		rec.FirstEvent = at
	}
	rec.LastEvent = at
	if stream.IsDone(data) {
		r.done = true
		rec.End = at
		return
	}
	if err := r.template.Parse(&r.delta, data); err != nil {
		if isError {
			r.fail(ErrServer, fmt.Errorf("error in the stream: %s", stream.ErrorMessage(data, r.redact)))
		} else {
			r.fail(ErrMalformed, err)
		}
		rec.End = at
		return
	}
	if isError && r.delta.Error == nil {
		r.delta.Error = data
	}
	if r.delta.Token {
		r.token(at)
	}
	r.applyDelta()
	if r.delta.Last && r.err == nil {
		r.done = true
		rec.End = at
	}
}

// token takes note of a token event.
func (r *reader) token(at int64) {
	rec := r.rec
	r.tokens = true
	if rec.TokenEvents >= mostOutput {
		r.fail(ErrMalformed, fmt.Errorf("the answer has more than %d tokens, and is not read further", mostOutput))
		return
	}
	if rec.FirstToken == 0 {
		rec.FirstToken = at
		r.shard.firsts.Add(1)
	} else {
		r.gaps = append(r.gaps, at-rec.LastToken)
	}
	if rec.FirstOutput == 0 && r.delta.Answer {
		rec.FirstOutput = at
	}
	rec.LastToken = at
	rec.TokenEvents++
	r.shard.tokens.Add(1)
	if r.stamp.Kernel {
		rec.Flags |= KernelStamped
		delay := r.stamp.Read - at
		rec.DelaySum += delay
		rec.DelayMax = max(rec.DelayMax, delay)
		r.delays = append(r.delays, delay)
	}
}

// applyDelta takes into the record what the delta at hand says beside being a token.
func (r *reader) applyDelta() {
	d, rec := &r.delta, r.rec
	if d.Error != nil {
		r.fail(ErrServer, fmt.Errorf("error in the response: %s", stream.ErrorMessage(d.Error, r.redact)))
		rec.End = r.stamp.At
		return
	}
	if r.detail != nil && r.detail.ResponseID == "" && len(d.ID) > 0 {
		r.detail.ResponseID = r.redact(string(d.ID))
	}
	if d.Content != nil {
		r.takeText()
	}
	if d.Others {
		rec.Flags |= OtherChoices
	}
	if d.BadUsage {
		rec.Flags |= BadUsage
	}
	if d.Finish != stream.NoFinish {
		rec.Finish = d.Finish
		r.finished = r.stamp.At
	}
	if d.HasUsage {
		if d.Prompt >= 0 {
			rec.PromptTokens = d.Prompt
		}
		if d.Output >= 0 {
			rec.OutputTokens = d.Output
		}
		if d.Cached >= 0 {
			rec.CachedTokens = d.Cached
		}
	}
}

// takeText counts the text of the delta at hand, and keeps it where it is wanted and there is room.
func (r *reader) takeText() {
	r.unescape = r.delta.AppendText(r.unescape[:0])
	r.counted.add(r.unescape)
	if !r.keep && !r.forNext || len(r.text) >= textLimit {
		return
	}
	part := r.unescape[:min(len(r.unescape), textLimit-len(r.text))]
	if r.keep && r.keptTexts != nil && r.keptTexts.Add(int64(len(part))) > allTextsLimit && !r.forNext {
		return
	}
	r.text = append(r.text, part...)
}

// errorLength is the most characters of an error that are kept.
const errorLength = 400

// cleaned is an error without what must not be seen of it: its text has no secret and one line, and it is still what it
// was.
type cleaned struct {
	text string
	err  error
}

func (c *cleaned) Error() string { return c.text }

// Is says whether it is an error of another's kind; the error itself is not to be had.
func (c *cleaned) Is(target error) bool { return errors.Is(c.err, target) }

// fail notes the first failure.
func (r *reader) fail(kind ErrorKind, err error) {
	if r.err == nil {
		r.kind, r.err = kind, err
	}
}

// failTransport notes a failure of the transport.
func (r *reader) failTransport(err error) {
	kind := ErrReset
	var failed *transport.Error
	if errors.As(err, &failed) {
		switch failed.Step {
		case transport.Connecting:
			if kind = ErrConnect; localShortage(err) {
				kind = ErrLocal
			}
		case transport.Writing:
			kind = ErrSend
		case transport.Parsing:
			kind = ErrMalformed
		case transport.TimedOut:
			kind = ErrTimeout
		}
	}
	r.fail(kind, err)
}

// cancelled is what is said of a request that the end of its stage cut, in GuideLLM's words.
const cancelled = "Request was cancelled"

// finish fills in what follows from the response as a whole.
func (r *reader) finish() {
	rec := r.rec
	rec.Lines = r.events.Lines
	if rec.End == 0 {
		rec.End = r.clock.Now()
	}
	if r.done {
		rec.Flags |= FinishedByDone
	}
	if r.err == nil {
		r.checkAnswer()
	}
	if r.err != nil {
		text := r.err.Error()
		if safe := stream.Shorten(r.redact(text), errorLength); safe != text {
			r.err = &cleaned{safe, r.err}
		}
	}
	rec.OutputWords, rec.OutputChars = r.counted.words, r.counted.chars
	cut := false // by the end of the stage; what failed before that by itself stays a failure
	switch r.kind {
	case ErrConnect, ErrLocal, ErrSend, ErrReset, ErrTimeout:
		cut = r.ctx.Err() != nil
	}
	switch {
	case r.err == nil:
		rec.Status = Completed
	case cut && rec.Sent == 0:
		rec.Status = NotSent
	case cut:
		rec.Status = Incomplete
	default:
		rec.Status, rec.Err = Errored, r.kind
	}
	if r.detail == nil {
		return
	}
	if r.keep {
		r.detail.Output = r.redact(string(r.text))
	}
	switch rec.Status {
	case Errored:
		r.detail.Error = r.err.Error()
	case Incomplete:
		r.detail.Error = cancelled
	}
}

// checkAnswer looks at an answer that came to its end: whether it is one, and whether what it says of itself can be.
func (r *reader) checkAnswer() {
	rec := r.rec
	if rec.Flags&Streamed != 0 && !r.tokens && rec.Finish == stream.FinishLength && rec.OutputTokens == 1 {
		// A single token need not have a text (half a character, a special one). Its event is the one that says so.
		r.stamp.Kernel = false
		r.token(r.finished)
	}
	switch {
	case rec.Finish == stream.FinishFailed:
		r.fail(ErrServer, errors.New("the server gave the answer up (finish_reason abort or error)"))
	case rec.Flags&Streamed != 0 && !r.done && rec.Finish == stream.NoFinish:
		r.fail(ErrTruncated, errors.New("the stream ended without [DONE] or a finish reason"))
	case r.template.As == stream.Pooling: // there are none
	case !r.tokens && (rec.Finish != stream.FinishLength || rec.OutputTokens != 1):
		r.fail(ErrNoToken, errors.New("the answer holds no token"))
	case rec.Flags&Streamed != 0 && rec.Finish == stream.NoFinish && rec.OutputTokens < 0 &&
		rec.Flags&(BadUsage|OtherChoices) == 0 && rec.TokenEvents < rec.AskedOutput:
		r.fail(ErrTruncated, fmt.Errorf("the stream ended after %d of %d tokens, without a finish reason or usage",
			rec.TokenEvents, rec.AskedOutput))
	}
	r.checkUsage()
}

// Bounds on the counts of a usage.
const (
	mostPrompt = 1 << 24 // beyond any model's context
	mostOutput = 1 << 20 // the same, where nothing was asked
	// A server that does not honour what was asked shows the rest as text; some count a few tokens that have none.
	overshoot = 2
	// A gateway may cut tokens into characters.
	eventsPerToken = 4
)

// checkUsage takes back the counts of a usage that can't be, so that others take their place: the token events, and the
// prompt's length by the request's source.
func (r *reader) checkUsage() {
	rec := r.rec
	if rec.Flags&OtherChoices != 0 { // it counts the tokens of all
		rec.OutputTokens = -1
	}
	most := int32(mostOutput)
	if rec.AskedOutput > 0 {
		most = max(overshoot*min(rec.AskedOutput, mostOutput), rec.OutputChars+rec.TokenEvents)
	}
	if rec.OutputTokens > most || rec.OutputTokens >= 0 && rec.OutputTokens < rec.TokenEvents/eventsPerToken ||
		rec.OutputTokens == 0 && r.tokens {
		rec.OutputTokens = -1
		rec.Flags |= BadUsage
	}
	if rec.PromptTokens > mostPrompt || rec.PromptTokens == 0 && rec.AskedPrompt > 0 {
		rec.PromptTokens = -1
		rec.Flags |= BadUsage
	}
}
