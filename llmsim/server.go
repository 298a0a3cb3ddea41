package llmsim

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a simulated engine behind an OpenAI-compatible HTTP interface. Make one with [NewServer]; it is an
// [http.Handler], and [Server.Start] or [Server.Serve] puts it on the network. All methods are safe for concurrent use.
type Server struct {
	cfg        Config
	origin     time.Time // monotonic zero of all stamps
	wallOrigin time.Time
	loop       *loop
	truth      truthLog
	metrics    metrics
	prefixes   prefixCache
	arrivals   atomic.Uint64
	accepted   atomic.Uint64 // connections
	active     atomic.Int64  // completion requests being handled
	mux        *http.ServeMux

	mu       sync.Mutex
	http     *http.Server
	url      string
	closed   bool
	closeErr error
}

// What a client may take of the server without sending requests. A connection that a client opens ahead of its need
// counts as idle only from its first request on, so that the time for a head is not short.
const (
	headTime  = 30 * time.Second // for a request's head, from when the server waits for it
	bodyTime  = 30 * time.Second // for a request's body, from when the server waits for it
	idleTime  = 10 * time.Minute // between two requests
	headBytes = 64 << 10
)

// NewServer makes a server and starts its engine. Call [Server.Close] when done with it.
func NewServer(cfg Config) (*Server, error) {
	norm, err := cfg.normalized()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s := &Server{cfg: norm, origin: now, wallOrigin: now.Round(0)}
	s.truth.limit = norm.TruthLimit
	s.metrics.init()
	s.routes()
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headBytes,
		// The handler finds the connection here, to write tokens to it without waking a goroutine for each.
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			conn := newDirectConn(c)
			conn.number = s.accepted.Add(1)
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
	if s.loop, err = startLoop(s); err != nil {
		return nil, err
	}
	return s, nil
}

// Config is the server's configuration with defaults filled in and TimeScale multiplied in.
func (s *Server) Config() Config { return s.cfg }

// since is the server's clock: nanoseconds since its origin.
func (s *Server) since() int64 { return int64(time.Since(s.origin)) }

// Start listens on a TCP address and serves in the background. "127.0.0.1:0" picks a free port; [Server.URL] tells
// which.
func (s *Server) Start(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("simulated engine: cannot listen on %s: %w; choose another address", addr, err)
	}
	s.setURL(ln)
	go func() { _ = s.Serve(ln) }() // it ends with http.ErrServerClosed, at Close
	return nil
}

// Serve answers connections of ln until [Server.Close], then returns [http.ErrServerClosed].
func (s *Server) Serve(ln net.Listener) error {
	s.setURL(ln)
	if !s.cfg.VirtualTime {
		ln = stamped(ln, s.origin)
	}
	return s.http.Serve(ln)
}

func (s *Server) setURL(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url = "http://" + ln.Addr().String()
}

// URL is the server's base URL, without "/v1"; "" before it listens.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Connections is how many connections the server has accepted.
func (s *Server) Connections() int { return int(s.accepted.Load()) }

// Close cuts all connections, stops the engine and writes out the truth records. It may be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.closeErr = s.http.Close()
		s.loop.stop()
		// Handlers have nothing to wait for any more. Let them file their records; one that is stuck in a foreign
		// server's connection is not waited for.
		for waited := 0; s.active.Load() > 0 && waited < 1000; waited++ {
			time.Sleep(time.Millisecond)
		}
		s.closeErr = errors.Join(s.closeErr, s.truth.flush())
	}
	return s.closeErr
}

// Truth returns the records of all requests done with, in the order of their ends, as far back as [Config.TruthLimit].
func (s *Server) Truth() []Truth { return s.truth.records() }

// WriteTruth sends the record of every further request to w as a line of JSON. Lines are buffered; [Server.Close]
// writes the last of them and returns what went wrong.
func (s *Server) WriteTruth(w io.Writer) { s.truth.writeTo(w) }

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	handle := func(method, path string, h http.HandlerFunc) {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
				w.Header().Set("Allow", method)
				writeJSON(w, http.StatusMethodNotAllowed, map[string]string{"detail": "Method Not Allowed"})
				return
			}
			h(w, r)
		})
	}
	empty := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
	handle(http.MethodGet, "/health", empty)
	handle(http.MethodGet, "/ping", empty)
	handle(http.MethodGet, "/version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": "0.23.0"})
	})
	// vLLM has it with VLLM_SERVER_DEV_MODE=1 only.
	handle(http.MethodGet, "/server_info", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"vllm_config": map[string]any{
			"scheduler_config": map[string]any{
				"max_num_seqs": s.cfg.MaxNumSeqs, "max_num_batched_tokens": s.cfg.MaxNumBatchedTokens,
				"enable_chunked_prefill": true,
			},
			"model_config": map[string]any{"max_model_len": s.cfg.MaxModelLen},
		}})
	})
	handle(http.MethodGet, "/metrics", s.handleMetrics)
	handle(http.MethodGet, "/v1/models", s.handleModels)
	handle(http.MethodPost, "/tokenize", s.handleTokenize)
	handle(http.MethodPost, "/v1/chat/completions",
		func(w http.ResponseWriter, r *http.Request) { s.handleCompletion(w, r, chatAPI) })
	handle(http.MethodPost, "/v1/completions",
		func(w http.ResponseWriter, r *http.Request) { s.handleCompletion(w, r, textAPI) })
	handle(http.MethodPost, "/v1/responses",
		func(w http.ResponseWriter, r *http.Request) { s.handleCompletion(w, r, responsesAPI) })
	handle(http.MethodPost, "/v1/embeddings",
		func(w http.ResponseWriter, r *http.Request) { s.handleCompletion(w, r, embeddingsAPI) })
	for _, path := range []string{"/v1/rerank", "/rerank", "/v2/rerank"} {
		handle(http.MethodPost, path,
			func(w http.ResponseWriter, r *http.Request) { s.handleCompletion(w, r, rerankAPI) })
	}
	handle(http.MethodPost, "/v1/messages",
		func(w http.ResponseWriter, r *http.Request) { s.handleCompletion(w, r, messagesAPI) })
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusNotFound, map[string]string{"detail": "Not Found"})
	})
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 { // net/http waits for a body that no handler reads, too
		limitBody(w)
	}
	if s.cfg.APIKey != "" && strings.HasPrefix(r.URL.Path, "/v1") && !s.authorized(r) {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "Unauthorized"})
		return
	}
	s.mux.ServeHTTP(w, r)
}

// limitBody gives the body of the request at hand its time, which net/http ends when it has read the body. Where w is
// not a connection, as in tests, there is none.
func limitBody(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
}

func (s *Server) authorized(r *http.Request) bool {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare([]byte(key), []byte(s.cfg.APIKey)) == 1
}

// handleCompletion takes a request through its whole life: read, checked, handed to the engine, written out, recorded.
func (s *Server) handleCompletion(w http.ResponseWriter, r *http.Request, by api) {
	s.active.Add(1)
	defer s.active.Add(-1)
	truth := &Truth{
		Read:      s.readTime(r),
		Handled:   s.since(),
		Index:     s.arrivals.Add(1) - 1,
		RequestID: r.Header.Get("X-Request-Id"),
		Path:      r.URL.Path,
		Status:    http.StatusOK,
	}
	truth.Wall = s.wallOrigin.Add(time.Duration(truth.Read))
	if conn := connOf(r); conn != nil {
		truth.Connection = conn.number
	}
	if truth.RequestID == "" {
		truth.RequestID = "req-" + strconv.FormatUint(truth.Index, 10)
	}
	w.Header().Set("X-Request-Id", truth.RequestID)
	defer func() {
		truth.End = s.since()
		s.truth.add(truth)
	}()
	refuse := func(e *apiError) {
		truth.Status, truth.Outcome = e.status, "refused"
		e.writeFor(w, by)
	}

	fault, err := s.faultFor(r, truth.Index)
	if err != nil {
		refuse(badRequest(FaultHeader, "%v", err))
		return
	}
	if fault != (Fault{}) {
		truth.Fault = fault.String()
	}
	if fault.SlowHeaders > 0 && !sleepContext(r.Context(), fault.SlowHeaders) {
		truth.Outcome = "abort"
		return
	}
	if fault.Status != 0 {
		if fault.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((fault.RetryAfter+time.Second-1)/time.Second)))
		}
		text := http.StatusText(fault.Status)
		refuse(&apiError{fault.Status, "fault on demand: " + text, text, ""})
		return
	}
	if fault.SlowHeaders > 0 {
		limitBody(w) // again, for that took its own time
	}
	req, refused := s.parseRequest(r, by)
	if refused != nil {
		refuse(refused)
		return
	}
	if t := receivedTime(r); t > truth.Read { // the body came after the header
		truth.Read, truth.Wall = t, s.wallOrigin.Add(time.Duration(t))
	}
	truth.Model, truth.Stream = req.model, req.stream
	truth.PromptTokens, truth.AskedTokens = req.promptTokens, req.maxTokens
	truth.Images = req.images
	truth.ID = s.completionID(by, truth)

	st := s.newStream(req, truth, fault)
	if fault.SlowHeaders > 0 {
		st.arrival = s.since() // the delay comes before the engine's work, it is not part of it
	}
	if req.stream {
		err = st.serveStream(w, r)
	} else {
		err = st.serveWhole(w, r)
	}
	if errors.Is(err, errCut) {
		// net/http closes the connection without ending the response; it reports nothing for this one value.
		panic(http.ErrAbortHandler)
	}
}

// connOf is the connection that a request came over, nil where the server did not accept it itself.
func connOf(r *http.Request) *directConn {
	conn, _ := r.Context().Value(connKey{}).(*directConn)
	return conn
}

// receivedTime is the kernel's stamp of what was last read of a request's connection; 0: not known.
func receivedTime(r *http.Request) int64 {
	if conn := connOf(r); conn != nil && conn.receiver != nil && r.ProtoMajor == 1 {
		return conn.receiver.received()
	}
	return 0
}

// readTime is when the request came in: by the kernel's stamp of the last part of its header, or else now.
func (s *Server) readTime(r *http.Request) int64 {
	now := s.since()
	if t := receivedTime(r); t > 0 && t < now {
		return t
	}
	return now
}

// faultFor gives the fault that the request's header asks for, or else the configured one if it is this request's turn.
func (s *Server) faultFor(r *http.Request, index uint64) (Fault, error) {
	if h := r.Header.Get(FaultHeader); h != "" {
		return ParseFault(h)
	}
	if every := uint64(max(s.cfg.FaultEvery, 1)); (index+1)%every == 0 {
		return s.cfg.Fault, nil
	}
	return Fault{}, nil
}

// completionID makes the answer's id: vLLM's prefix, then the client's request id or the arrival index.
func (s *Server) completionID(by api, truth *Truth) string {
	prefix := idPrefixes[by]
	if truth.RequestID != "" {
		return prefix + truth.RequestID
	}
	hex := strconv.FormatUint(truth.Index, 16)
	return prefix + "0000000000000000"[min(len(hex), 16):] + hex
}

// sleepContext waits and reports whether it waited to the end.
func sleepContext(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
