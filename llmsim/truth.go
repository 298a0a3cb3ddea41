package llmsim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Truth is what the server itself knows about one request. Times are nanoseconds since the server was made, on its
// monotonic clock; 0 is "never". Wall − Read is when the server was made.
type Truth struct {
	ID        string `json:"id"`                   // the id in the answer
	RequestID string `json:"request_id,omitempty"` // the X-Request-Id of request and answer, made up where none came
	Index     uint64 `json:"index"`                // arrival index from 0, over all completion requests of the server
	Path      string `json:"path"`
	Model     string `json:"model,omitempty"` // as the request names it
	Stream    bool   `json:"stream"`
	Status    int    `json:"status"`  // HTTP status
	Outcome   string `json:"outcome"` // stop, length, abort (the client went away), cut, error (a fault), refused
	Fault     string `json:"fault,omitempty"`

	// Connection numbers the connections from 1, in the order in which the server accepted them.
	Connection uint64 `json:"connection"`

	PromptTokens int `json:"prompt_tokens"`
	Images       int `json:"images,omitempty"` // of the prompt
	// AskedTokens is the output that the request asked for at most: its max_tokens, or what the context leaves.
	AskedTokens  int `json:"asked_tokens"`
	OutputTokens int `json:"output_tokens"` // tokens that were written out, or for a response in one piece generated
	Preemptions  int `json:"preemptions,omitempty"`
	// Prompt names the prompt: two requests with the same text have the same. Repeated is how many of its tokens, from
	// its beginning, an earlier prompt began with: what a prefix cache would save. Both only with
	// [Config.TruthPrompts].
	Prompt   string `json:"prompt,omitempty"`
	Repeated int    `json:"repeated_tokens,omitempty"`

	Wall time.Time `json:"wall"` // when the request was read, as wall time
	// Read is the instant that the engine counts from: when the kernel received the end of the request, or, where it
	// does not say (systems other than Linux, TLS, HTTP/2, a listener in memory), when the handler was called.
	Read int64 `json:"read_ns"`
	// Handled is when the handler was called, by then with the request's header alone if its body came later.
	Handled    int64 `json:"handled_ns"`
	DueFirst   int64 `json:"due_first_ns"`   // when the engine owed the first token
	DueLast    int64 `json:"due_last_ns"`    // when the engine owed the last token generated
	FirstToken int64 `json:"first_token_ns"` // when the write of the first token returned
	LastToken  int64 `json:"last_token_ns"`  // when the write of the last token returned
	End        int64 `json:"end_ns"`         // when the request was done with
	// Tokens holds for each output token when its write returned; only with [Config.TruthTokens]. Tokens that had to
	// share a write share its time.
	Tokens []int64 `json:"token_ns,omitempty"`
}

// truthLog keeps the last records in memory and writes all of them to a file, if there is one.
type truthLog struct {
	limit int

	mu    sync.Mutex
	ring  []*Truth // at most limit; oldest at next once full
	next  int
	out   *bufio.Writer
	enc   *json.Encoder
	err   error
	wrote time.Time // last flush
}

// add files a record. The record must not change afterwards.
func (l *truthLog) add(t *Truth) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.limit <= 0:
	case len(l.ring) < l.limit:
		l.ring = append(l.ring, t)
	default:
		l.ring[l.next] = t
		l.next = (l.next + 1) % l.limit
	}
	if l.enc != nil && l.err == nil {
		l.err = l.enc.Encode(t)
		// Who follows the file sees it no more than a second late, while requests come in.
		if now := time.Now(); l.err == nil && now.Sub(l.wrote) > time.Second {
			l.wrote, l.err = now, l.out.Flush()
		}
	}
}

// records copies what is in memory, in the order of completion.
func (l *truthLog) records() []Truth {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Truth, 0, len(l.ring))
	for i := range l.ring {
		all = append(all, *l.ring[(l.next+i)%len(l.ring)])
	}
	return all
}

func (l *truthLog) writeTo(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = bufio.NewWriterSize(w, 1<<16)
	l.enc = json.NewEncoder(l.out)
}

func (l *truthLog) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		return nil
	}
	if err := l.out.Flush(); l.err == nil {
		l.err = err
	}
	if l.err != nil {
		return fmt.Errorf("truth records: %w", l.err)
	}
	return nil
}
