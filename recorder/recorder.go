// Package recorder passes the traffic of an OpenAI-compatible endpoint through, and writes down when which request
// came, how long its prompt and its answer were, what it shared with others, and to which session it belonged.
//
//	recorder.go    the proxy, and the goroutine that writes
//	connection.go  a client's connection, passed through
//	head.go        the head of a request, as it goes to the endpoint
//	tap.go         copies of what has passed, until they are read
//	exchange.go    one request and its answer
//	body.go        what a request's body says, and its session
//	prefixes.go    which beginnings of prompts were seen before
//	file.go        the file
//
// The traffic never waits for the recording: what can't be copied, counted or written in time is passed through all
// the same, and counted as not recorded. Headers are never kept.
package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openloop/openloop/loadgen/stream"
)

// Config says what is recorded.
type Config struct {
	To   *url.URL // of the endpoint: host, and what its paths begin with
	Dial func(context.Context) (net.Conn, error)

	File        string // must not exist, unless it is a device or a pipe
	Texts       bool   // write the requests' bodies and the answers' texts, too
	BlockTokens int    // tokens that an identifier of hash_ids stands for

	// Count counts tokens where the server does not say how many there were.
	Count func(text string) int
	// Note is told what people should know while the traffic goes on. It may be called by any goroutine.
	Note func(text string)
}

// Recorder is the proxy. Close ends the recording.
type Recorder struct {
	config  Config
	origin  time.Time
	queue   chan *exchange
	stopped atomic.Bool // nothing is recorded any more
	done    chan struct{}
	end     sync.Once
	counters

	closing     atomic.Bool // no request is waited for any more
	serving     sync.WaitGroup
	mu          sync.Mutex
	listener    net.Listener
	connections map[*connection]struct{}

	// Of the writing goroutine alone, until done is closed.
	file     *file
	prefixes *prefixes
	sessions int64
	said     bool // that something was forgotten
	err      error
}

// Line is one request in the file. The first four fields are Mooncake's.
type Line struct {
	Timestamp    float64 `json:"timestamp"`     // ms from the start of the recording to the request's head
	InputLength  int     `json:"input_length"`  // tokens
	OutputLength int     `json:"output_length"` // tokens that came
	HashIDs      []int64 `json:"hash_ids"`      // of the blocks of the prompt
	BlockTokens  int     `json:"block_tokens"`  // that an identifier stands for
	TimeUnit     string  `json:"time_unit"`     // of timestamp: "ms"
	// LengthsFrom is "usage" where the server said how many tokens there were, "tokenizer" where they were counted
	// here.
	LengthsFrom string `json:"lengths_from"`

	SessionID string `json:"session_id,omitempty"` // of a chat
	Turn      int    `json:"turn,omitempty"`       // in the session, from 1

	Path      string  `json:"path"` // without its query
	Model     string  `json:"model,omitempty"`
	Stream    bool    `json:"stream"`
	MaxTokens int     `json:"max_tokens,omitempty"`    // that were asked for
	Cached    int     `json:"cached_tokens,omitempty"` // of the prompt, by the server
	Status    int     `json:"status"`                  // 0: no answer
	End       string  `json:"end,omitempty"`           // "cancelled", "cut" or "unreachable"; none where it ended well
	TTFT      float64 `json:"ttft_ms,omitempty"`       // from the request's head to the first token; of a stream
	Latency   float64 `json:"latency_ms"`              // to the end of the answer

	Body   json.RawMessage `json:"body,omitempty"`
	Answer string          `json:"answer,omitempty"`
}

const (
	queueLength = 4096
	writeEvery  = time.Second // what a killed program loses
	closeTime   = 10 * time.Second
)

// New makes the file and begins.
func New(config Config) (*Recorder, error) {
	f, err := createFile(config.File)
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		config: config, origin: time.Now(), queue: make(chan *exchange, queueLength), done: make(chan struct{}),
		file: f, prefixes: newPrefixes(config.BlockTokens), connections: map[*connection]struct{}{},
	}
	go r.write()
	return r, nil
}

// Serve passes on what comes to a listener, until it is closed or Shutdown is called: then it returns nil.
func (r *Recorder) Serve(l net.Listener) error {
	r.mu.Lock()
	r.listener = l
	r.mu.Unlock()
	for {
		client, err := l.Accept()
		switch {
		case r.closing.Load():
			if err == nil {
				client.Close()
			}
			return nil
		case err == nil:
			go r.serve(client)
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of files, for a while
			r.config.Note(stream.Clean(fmt.Sprintf("a client could not be accepted: %v", err)))
			time.Sleep(acceptAgain)
		}
	}
}

// acceptAgain is how long to wait after a client could not be accepted.
const acceptAgain = 100 * time.Millisecond

// Shutdown takes no more clients, waits until all requests in flight have been answered, or for the context's end, and
// then cuts what is left.
func (r *Recorder) Shutdown(ctx context.Context) error {
	r.closing.Store(true)
	r.mu.Lock()
	if r.listener != nil {
		r.listener.Close()
	}
	for c := range r.connections {
		if c.waiting.Load() == 0 {
			c.close()
		}
	}
	r.mu.Unlock()
	all := make(chan struct{})
	go func() {
		r.serving.Wait()
		close(all)
	}()
	select {
	case <-all:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	for c := range r.connections {
		c.gone.Store(true)
		c.close()
	}
	r.mu.Unlock()
	<-all
	return ctx.Err()
}

// enter counts a connection in; false where none is served any more.
func (r *Recorder) enter(c *connection) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing.Load() {
		return false
	}
	r.connections[c] = struct{}{}
	r.serving.Add(1)
	return true
}

func (r *Recorder) leave(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.connections, c)
	r.serving.Done()
}

// begin begins the recording of a request, if it is of a kind that is recorded.
func (r *Recorder) begin(c *connection, h head) *exchange {
	if h.method != http.MethodPost ||
		!strings.HasSuffix(h.path, "/chat/completions") && !strings.HasSuffix(h.path, "/completions") {
		r.others.Add(1)
		return nil
	}
	if r.stopped.Load() {
		return nil
	}
	return &exchange{r: r, from: c, path: h.path, arrived: time.Now(),
		said: answered{prompt: -1, output: -1, cached: -1}}
}

// write writes what has ended, until nothing more comes.
func (r *Recorder) write() {
	defer close(r.done)
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for {
		select {
		case e := <-r.queue:
			if e == nil {
				r.fail(r.flush())
				r.fail(r.file.close())
				return
			}
			r.add(e)
		case <-tick.C:
			r.fail(r.flush())
		}
	}
}

// fail ends the recording and lets the traffic go on.
func (r *Recorder) fail(err error) {
	if err == nil || r.err != nil {
		return
	}
	r.err = err
	r.stopped.Store(true)
	r.config.Note(fmt.Sprintf("the recording has stopped: %v; the traffic goes on", err))
}

// flush writes the lines that wait.
func (r *Recorder) flush() error {
	if r.err != nil {
		return nil
	}
	lines := int64(0)
	for _, b := range r.file.buf {
		if b == '\n' {
			lines++
		}
	}
	err := r.file.flush()
	if err == nil {
		r.written.Add(lines)
	} else {
		r.lost.Add(lines)
	}
	return err
}

// mostBuffered is how many bytes wait for the next second.
const mostBuffered = 1 << 20

// add makes the line of an exchange.
func (r *Recorder) add(e *exchange) {
	defer e.release()
	if r.err != nil {
		r.lost.Add(1)
		return
	}
	if e.failed && len(e.request) == 0 {
		return // its body was not read, so that its lengths are not known; it is counted
	}
	if e.tooBig {
		r.tooBig.Add(1)
		return
	}
	line, ok := r.line(e)
	if !ok {
		r.unread.Add(1)
		return
	}
	text, err := json.Marshal(line)
	if err != nil {
		r.unread.Add(1)
		return
	}
	r.file.buf = append(append(r.file.buf, text...), '\n')
	if len(r.file.buf) > mostBuffered {
		r.fail(r.flush())
	}
	if !r.said && (r.prefixes.pieces.forgot || r.prefixes.marks.forgot) {
		r.said = true
		r.config.Note("the memory for prompts is full: what was not seen for long is forgotten, and counts as new")
	}
}

// line is what is written of an exchange; false where its request was not understood.
func (r *Recorder) line(e *exchange) (Line, bool) {
	a, err := readBody(e.request)
	if err != nil {
		return Line{}, false
	}
	if len(e.whole) > 0 {
		var d stream.Delta
		if d.Parse(e.whole) == nil {
			e.said.take(&d, e.whole)
			e.said.events = 0 // one event is the whole
		}
	}
	s := &e.said
	l := Line{
		Timestamp: ms(e.arrived.Sub(r.origin)), BlockTokens: r.config.BlockTokens, TimeUnit: "ms",
		LengthsFrom: "usage", Path: e.path, Model: a.model, Stream: a.stream, MaxTokens: a.maxTokens,
		Cached: max(0, int(s.cached)), Status: e.status, End: e.outcome, Latency: ms(e.over.Sub(e.arrived)),
		InputLength: int(s.prompt), OutputLength: int(s.output),
	}
	if s.prompt <= 0 {
		l.LengthsFrom = "tokenizer"
		if l.InputLength = a.ids; a.ids == 0 {
			l.InputLength = max(1, r.config.Count(string(a.text)))
		}
	}
	if s.output < 0 {
		l.LengthsFrom = "tokenizer"
		// Reasoning and tool calls are not in the text, and an event has a token at least.
		l.OutputLength = max(s.events, r.config.Count(string(s.text)))
	}
	if !e.first.IsZero() {
		l.TTFT = ms(e.first.Sub(e.arrived))
	}
	l.HashIDs = r.prefixes.identifiers(a.text, l.InputLength)
	if len(a.messages) > 0 {
		var said *message
		if e.status/100 == 2 && (len(s.text) > 0 || len(s.calls) > 0) {
			said = &message{role: "assistant", text: string(s.text), calls: s.calls}
		}
		id, turn := r.prefixes.session(&r.sessions, a.messages, said)
		l.SessionID, l.Turn = fmt.Sprintf("s%d", id), turn
	}
	if r.config.Texts {
		l.Body, l.Answer = e.request, string(s.text)
	}
	return l, true
}

// ms is a time in milliseconds, to a microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Close writes what is left and closes the file. No request may be in flight any more; where one still is, it is not
// recorded. The error is the one that stopped the recording.
func (r *Recorder) Close() error {
	r.stopped.Store(true)
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	r.end.Do(func() {
		select {
		case r.queue <- nil:
		case <-timer.C:
		}
	})
	select {
	case <-r.done:
		return r.err
	case <-timer.C:
		return fmt.Errorf("%s: the disk did not take what was left within %v", r.config.File, closeTime)
	}
}

// Summary says what was recorded, and what was not. It is for after Close.
func (r *Recorder) Summary() string {
	select {
	case <-r.done:
	default:
		return fmt.Sprintf("recorded %d requests", r.written.Load())
	}
	text := fmt.Sprintf("recorded %d requests, %d sessions", r.written.Load(), r.sessions)
	for _, c := range []struct {
		n    int64
		what string
	}{
		{r.lost.Load(), "not recorded, since the disk was full or behind"},
		{r.tooBig.Load(), "not recorded, being too large"},
		{r.unread.Load(), "not recorded, having no messages or prompt that could be read"},
		{r.upstream.Load(), "that the endpoint did not answer, not recorded where their body was not read"},
		{r.others.Load(), "of other paths, passed through"},
	} {
		if c.n > 0 {
			text += fmt.Sprintf("; %d %s", c.n, c.what)
		}
	}
	return text
}
