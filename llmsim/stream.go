package llmsim

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// errCut asks for the connection to be closed in the middle of the answer.
var errCut = errors.New("connection cut")

// stream is one completion between the engine's loop and the request's handler.
//
// The loop writes each token itself, straight to the connection, so that a token costs one system call and wakes
// nobody. It must never wait, though: where the connection cannot be written to directly (TLS, HTTP/2, a foreign
// listener), takes no more (a slow client), or is to stall on demand, the bytes go to pending and the handler writes
// them.
type stream struct {
	req     *request
	cached  *promptTokensDetails // of its prompt, for the usage; nil: not told
	seq     Sequence
	server  *Server
	truth   *Truth
	fault   Fault
	arrival int64 // when it came to the engine; but for slow headers, when it was read

	wire    template
	conn    *directConn // nil: all goes through pending
	streams bool        // the answer is streamed
	finish  string      // finish reason of a complete answer
	faulty  bool        // some fault concerns a token position
	loopPos position    // the loop's own

	slow     atomic.Bool // the handler has the connection
	wake     chan struct{}
	mu       sync.Mutex
	pending  []byte
	spare    []byte
	unstamp  int           // tokens in pending
	hold     time.Duration // the handler is to wait so long before it writes
	finished bool          // the loop has let go of the stream
	cut      bool
	failed   bool // the client is gone, or the handler could not write
}

// position is what the loop knows of a stream.
type position struct {
	due      int64 // with fixed timing: when the next token is owed
	released bool  // the stream is the handler's alone
}

// newStream prepares a request for the engine.
func (s *Server) newStream(req *request, truth *Truth, fault Fault) *stream {
	output, stopped := req.maxTokens, false
	if !req.ignoreEOS {
		output, stopped = s.cfg.Output.Draw(s.cfg.Seed, truth.Index, req.maxTokens)
		output = max(output, req.minTokens)
	}
	st := &stream{
		req: req, server: s, truth: truth, fault: fault, arrival: truth.Read, streams: req.stream, finish: "length",
		wake: make(chan struct{}, 1),
	}
	if stopped {
		st.finish = "stop"
	}
	st.faulty = fault.StallAt+fault.CutAt+fault.GarbageAt+fault.ErrorAt > 0
	st.seq = Sequence{Prompt: req.promptTokens, Output: output, Tag: st}
	if s.cfg.PrefixCaching || s.cfg.TruthPrompts {
		repeated := s.prefixes.lookup(req)
		if s.cfg.PrefixCaching {
			st.seq.Cached = repeated
		}
		if s.cfg.TruthPrompts {
			truth.Repeated, truth.Prompt = repeated, req.prefix.name()
		}
	}
	req.cached = s.cfg.cachedDetails(&st.seq)
	st.cached = req.cached
	if s.cfg.TruthTokens {
		truth.Tokens = make([]int64, 0, output)
	}
	req.reasons = s.cfg.ReasoningTokens > 0
	if req.stream {
		created := s.wallOrigin.Add(time.Duration(truth.Read)).Unix()
		switch model := s.cfg.Model; req.api {
		case responsesAPI:
			st.wire = buildResponses(req, truth.ID, model, created, st.finish, truth.Index, output)
		case messagesAPI:
			st.wire = buildMessages(req, truth.ID, model, st.finish, output)
		default:
			st.wire = buildTemplate(req, truth.ID, model, created, st.finish, output, s.cfg.FinishWithLastToken)
		}
	}
	return st
}

// serveStream answers with server-sent events. It returns errCut when the connection is to be closed.
func (st *stream) serveStream(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	if err := control.Flush(); err != nil {
		st.truth.Outcome = "abort"
		return nil
	}
	// After the flush net/http holds nothing back, and the response is chunked: the loop may write chunks to the
	// connection until this handler returns. Then net/http ends the response and keeps the connection for the next
	// request.
	conn := connOf(r)
	if conn != nil && conn.usable() && r.Proto == "HTTP/1.1" && r.TLS == nil {
		st.conn = conn
	} else {
		st.slow.Store(true)
	}
	st.server.loop.submit(st)
	return st.deliver(r, func(b []byte) error {
		if st.conn != nil {
			return st.conn.writeAll(b)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		return control.Flush()
	})
}

// deliver waits until the loop has let go of the stream, writing what the loop cannot.
func (st *stream) deliver(r *http.Request, write func([]byte) error) error {
	gone := r.Context().Done()
	for {
		select {
		case <-st.wake:
			finished, err := st.drain(r, write)
			if finished {
				return err
			}
		case <-gone:
			gone = nil
			st.server.loop.abort(st)
		case <-st.server.loop.done:
			// The server is closing and so is the connection.
			st.truth.Outcome = "abort"
			return errCut
		}
	}
}

// drain writes what is pending. It reports whether the stream is over.
func (st *stream) drain(r *http.Request, write func([]byte) error) (finished bool, err error) {
	for {
		st.mu.Lock()
		if st.hold > 0 {
			hold := st.hold
			st.hold = 0
			st.mu.Unlock()
			sleepContext(r.Context(), hold)
			continue
		}
		if len(st.pending) == 0 || st.failed {
			defer st.mu.Unlock()
			if !st.finished && st.conn != nil {
				st.slow.Store(false)
			}
			if st.finished && st.cut {
				return true, errCut
			}
			if st.finished && st.failed {
				st.truth.Outcome = "abort"
			}
			return st.finished, nil
		}
		out, tokens := st.pending, st.unstamp
		st.pending, st.spare, st.unstamp = st.spare[:0], nil, 0
		st.mu.Unlock()

		err := write(out)
		now := st.server.since()
		st.mu.Lock()
		st.spare = out
		if err != nil {
			st.failed = true
			st.mu.Unlock()
			st.server.loop.abort(st)
			continue
		}
		st.stamp(now, tokens)
		st.mu.Unlock()
	}
}

// serveWhole answers with one JSON document when the engine is done.
func (st *stream) serveWhole(w http.ResponseWriter, r *http.Request) error {
	st.slow.Store(true)
	st.server.loop.submit(st)
	if err := st.deliver(r, func([]byte) error { return nil }); err != nil {
		return err
	}
	t := st.truth
	switch {
	case t.Outcome == "abort":
		return nil
	case t.Outcome == "error":
		e := generationError()
		t.Status = e.status
		e.writeFor(w, st.req.api)
		return nil
	}
	if st.fault.GarbageAt > 0 {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(garbage))
		return nil
	}
	if st.req.texts != nil {
		t.OutputTokens = 0 // what the engine calls its token is the answer
		writeJSON(w, http.StatusOK, st.wholePooling())
		return nil
	}
	said := answerText(t.Index, st.seq.Generated)
	if st.req.api == responsesAPI || st.req.api == messagesAPI {
		writeJSON(w, http.StatusOK, st.wholeOther(said))
		return nil
	}
	writeJSON(w, http.StatusOK, wholeAnswer(t, st.server, said, st.finish, st.req.chat, st.cached))
	return nil
}

// garbage is what a garbage fault writes: an event whose data looks like JSON and is not.
const garbage = `{"id":"llmsim","choices":[{"delta":{"content":"tru`

// generationError is what vLLM reports for a request that failed inside its engine.
func generationError() *apiError {
	return &apiError{http.StatusInternalServerError, "Internal server error", "InternalServerError", ""}
}

// emit writes count tokens of the stream, the last token and all that follows it when the sequence is done, as one
// write. due is when the engine owed the (first of the) tokens. The loop calls it; scratch is the loop's. It reports
// whether the stream goes on.
func (st *stream) emit(scratch *scratch, due int64, generated, count int) bool {
	t := st.truth
	last := generated >= st.seq.Output
	if generated == count {
		t.DueFirst = due
	}
	t.DueLast = due
	more := true
	payload := scratch.payload[:0]
	if generated == count {
		payload = append(payload, st.wire.role...)
	}
	tokens := 0
	for k := generated - count + 1; k <= generated; k++ {
		if st.faulty {
			if payload, more = st.applyFault(payload, k); !more {
				break
			}
		}
		tokens++
		switch thinks := k <= st.server.cfg.ReasoningTokens && k < st.seq.Output && st.wire.thought != nil; {
		case thinks && st.streams:
			payload = st.wire.appendThought(payload, tokenText(t.Index, k-1))
		case st.streams:
			payload = st.wire.appendToken(payload, tokenText(t.Index, k-1), k == st.seq.Output)
		}
	}
	if last && more {
		payload = append(payload, st.wire.tail...)
		t.Outcome = st.finish
		more = false
	}
	scratch.payload = payload
	if st.slow.Load() || st.conn == nil {
		st.enqueue(payload, tokens)
		return more
	}
	if len(payload) == 0 {
		return more
	}
	frame := appendChunk(scratch.frame[:0], payload)
	scratch.frame = frame
	n, err := st.conn.tryWrite(frame)
	switch {
	case err != nil:
		t.Outcome = "abort"
		return false
	case n < len(frame):
		st.slow.Store(true)
		st.mu.Lock()
		st.pending = append(st.pending, frame[n:]...)
		st.unstamp += tokens
		st.mu.Unlock()
		st.signal()
	default:
		st.stamp(st.server.since(), tokens)
	}
	return more
}

// applyFault adds to payload what goes wrong before token k and reports whether the stream goes on.
func (st *stream) applyFault(payload []byte, k int) ([]byte, bool) {
	f := &st.fault
	if k == f.StallAt {
		st.mu.Lock()
		st.hold = f.Stall
		st.mu.Unlock()
		st.slow.Store(true)
	}
	if k == f.GarbageAt && st.streams {
		payload = append(payload, "data: "+garbage+"\n\n"...)
	}
	if k == f.ErrorAt {
		st.truth.Outcome = "error"
		if st.streams {
			payload = append(payload, st.wire.failure(generationError())...)
		}
		return payload, false
	}
	if k == f.CutAt {
		st.truth.Outcome = "cut"
		st.mu.Lock()
		st.cut = true
		st.mu.Unlock()
		return payload, false
	}
	return payload, true
}

// enqueue leaves bytes to the handler.
func (st *stream) enqueue(payload []byte, tokens int) {
	if len(payload) == 0 && st.streams {
		return
	}
	st.mu.Lock()
	if !st.streams {
		st.stamp(st.server.since(), tokens)
		st.mu.Unlock()
		return
	}
	if st.conn != nil {
		// The handler may have given the connection back a moment ago; what is pending must go out before anything
		// else.
		st.slow.Store(true)
		st.pending = appendChunk(st.pending, payload)
	} else {
		st.pending = append(st.pending, payload...)
	}
	st.unstamp += tokens
	st.mu.Unlock()
	st.signal()
}

// stamp records when the write of tokens returned. Whoever has the connection calls it.
func (st *stream) stamp(now int64, tokens int) {
	t := st.truth
	if tokens == 0 {
		return
	}
	if t.FirstToken == 0 {
		t.FirstToken = now
		st.server.metrics.firstToken(now - t.Read)
	} else {
		st.server.metrics.nextToken(now - t.LastToken)
		for range tokens - 1 {
			st.server.metrics.nextToken(0)
		}
	}
	t.LastToken = now
	t.OutputTokens += tokens
	if t.Tokens != nil {
		for range tokens {
			t.Tokens = append(t.Tokens, now)
		}
	}
}

// release tells the handler that the loop will not touch the stream again. For a stream that ended well, outcome is "".
func (st *stream) release(outcome string) {
	st.mu.Lock()
	st.finished = true
	if outcome != "" {
		st.truth.Outcome = outcome
	}
	st.truth.Preemptions = st.seq.Preemptions
	st.mu.Unlock()
	st.signal()
}

func (st *stream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

type wholeUsage struct {
	usage
	PromptTokensDetails *promptTokensDetails `json:"prompt_tokens_details"`
}

type null = *struct{}

// wholeAnswer builds the answer to a request that does not stream.
func wholeAnswer(t *Truth, s *Server, text, finish string, chat bool, cached *promptTokensDetails) any {
	u := wholeUsage{usage: usageOf(t.PromptTokens, t.OutputTokens), PromptTokensDetails: cached}
	created := t.Wall.Unix()
	if !chat {
		type choice struct {
			Index          int    `json:"index"`
			Text           string `json:"text"`
			Logprobs       null   `json:"logprobs"`
			FinishReason   string `json:"finish_reason"`
			StopReason     null   `json:"stop_reason"`
			TokenIDs       null   `json:"token_ids"`
			PromptLogprobs null   `json:"prompt_logprobs"`
			PromptTokenIDs null   `json:"prompt_token_ids"`
			RoutedExperts  null   `json:"routed_experts"`
		}
		return struct {
			ID                string     `json:"id"`
			Object            string     `json:"object"`
			Created           int64      `json:"created"`
			Model             string     `json:"model"`
			Choices           []choice   `json:"choices"`
			ServiceTier       null       `json:"service_tier"`
			SystemFingerprint string     `json:"system_fingerprint"`
			Usage             wholeUsage `json:"usage"`
			KVTransferParams  null       `json:"kv_transfer_params"`
		}{
			ID: t.ID, Object: "text_completion", Created: created, Model: s.cfg.Model,
			SystemFingerprint: systemFingerprint, Usage: u,
			Choices: []choice{{Text: text, FinishReason: finish}},
		}
	}
	type answerMessage struct {
		Role         string     `json:"role"`
		Content      string     `json:"content"`
		Refusal      null       `json:"refusal"`
		Annotations  null       `json:"annotations"`
		Audio        null       `json:"audio"`
		FunctionCall null       `json:"function_call"`
		ToolCalls    []struct{} `json:"tool_calls"`
		Reasoning    null       `json:"reasoning"`
	}
	type choice struct {
		Index         int           `json:"index"`
		Message       answerMessage `json:"message"`
		Logprobs      null          `json:"logprobs"`
		FinishReason  string        `json:"finish_reason"`
		StopReason    null          `json:"stop_reason"`
		TokenIDs      null          `json:"token_ids"`
		RoutedExperts null          `json:"routed_experts"`
	}
	return struct {
		ID                string     `json:"id"`
		Object            string     `json:"object"`
		Created           int64      `json:"created"`
		Model             string     `json:"model"`
		Choices           []choice   `json:"choices"`
		ServiceTier       null       `json:"service_tier"`
		SystemFingerprint string     `json:"system_fingerprint"`
		Usage             wholeUsage `json:"usage"`
		PromptLogprobs    null       `json:"prompt_logprobs"`
		PromptTokenIDs    null       `json:"prompt_token_ids"`
		PromptText        null       `json:"prompt_text"`
		KVTransferParams  null       `json:"kv_transfer_params"`
	}{
		ID: t.ID, Object: "chat.completion", Created: created, Model: s.cfg.Model,
		SystemFingerprint: systemFingerprint, Usage: u,
		Choices: []choice{{
			FinishReason: finish,
			Message:      answerMessage{Role: "assistant", Content: text, ToolCalls: []struct{}{}},
		}},
	}
}
