package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Target is one endpoint and how it is reached.
type Target struct {
	URL    string      // where requests are posted, path included: http://host:8000/v1/chat/completions
	Header http.Header // sent with every request; Authorization belongs here
	TLS    *tls.Config // nil: the system's roots, verified

	// HTTP2 asks for HTTP/2 by ALPN. The exchange then goes through net/http, as it does where a proxy is set in the
	// environment: the send stamp is then the one of net/http's WroteHeaders.
	HTTP2 bool
	Proxy func(*http.Request) (*url.URL, error) // nil: none; usually http.ProxyFromEnvironment

	ConnectTimeout time.Duration // for DNS, TCP and TLS together; 0: 5 s
	RequestTimeout time.Duration // from Sent to the end of the response; 0: none

	// Dial opens connections in place of the network: for tests in memory.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// connectsPerSecond bounds new connections: a server that refuses every one must not make a closed loop spin, and more
// than this many a second would measure the kernel's accept queue. The burst covers a saturation stage's first arrivals.
const (
	connectsPerSecond = 5000
	connectBurst      = 2000
)

// Client holds the open connections to one target. It is safe for concurrent use, and serves any number of stages.
type Client struct {
	target  Target
	address string // host:port to dial
	host    string // the Host header
	tls     *tls.Config
	head    []byte // request line and headers, up to the value of Content-Length
	secrets []string
	connect *rate.Limiter
	viaNet  *http.Transport // not nil: exchanges go through net/http

	stamps  atomic.Pointer[StampSource]
	release func() // of holdStamps

	mu      sync.Mutex
	idle    []*conn // most recently used last
	dialing int     // connections being opened ahead
	refused bool    // the last one that was to be opened ahead could not be
}

// NewClient checks the target and prepares for it. It does not connect.
func NewClient(t Target) (*Client, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		var detail *url.Error
		if errors.As(err, &detail) && !strings.Contains(t.URL, "@") {
			return nil, fmt.Errorf("target %q is no URL: %w", t.URL, detail.Err)
		}
		return nil, fmt.Errorf("target %q is no URL", hideUserinfo(t.URL)) // what is wrong may be in the password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("target %q is not of the form http://host:port or https://host", hideUserinfo(t.URL))
	}
	if t.ConnectTimeout <= 0 {
		t.ConnectTimeout = 5 * time.Second
	}
	if t.Dial == nil {
		t.Dial = (&net.Dialer{}).DialContext
	}
	c := &Client{target: t, connect: rate.NewLimiter(connectsPerSecond, connectBurst)}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	c.address = net.JoinHostPort(u.Hostname(), port)
	if u.Scheme == "https" {
		c.tls = t.TLS.Clone()
		if c.tls == nil {
			c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if c.tls.ServerName == "" {
			c.tls.ServerName = u.Hostname()
		}
		c.tls.NextProtos = nil // what is spoken is decided here
	}
	header := t.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "text/event-stream, application/json", "User-Agent": "openloop",
	} {
		if header.Get(name) == "" {
			header.Set(name, value)
		}
	}
	if u.User != nil && header.Get("Authorization") == "" {
		password, _ := u.User.Password()
		r := http.Request{Header: header}
		r.SetBasicAuth(u.User.Username(), password)
	}
	if password, ok := u.User.Password(); ok {
		c.secrets = append(c.secrets, password)
	}
	c.secrets = append(c.secrets, secretsOf(header)...)
	if err := c.useNetHTTP(u); err != nil {
		return nil, err
	}
	c.target.Header = header

	c.host = u.Host
	if h := header.Get("Host"); h != "" {
		c.host = h
		header.Del("Host")
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Connection"} {
		header.Del(name) // openloop's own
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\n", u.RequestURI(), c.host)
	if err := header.Write(&head); err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	head.WriteString("Content-Length: ")
	c.head = head.Bytes()
	c.release = holdStamps()
	return c, nil
}

// hideUserinfo takes name and password out of what may be a URL, well formed or not.
func hideUserinfo(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	// An unescaped slash in the password ends the authority early, so the last @ counts, wherever it stands.
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return s
	}
	if rest = "[redacted]" + rest[at:]; ok {
		rest = scheme + "://" + rest
	}
	return rest
}

// secretsOf returns the values of headers that may hold credentials: all that are not known to hold none.
func secretsOf(h http.Header) []string {
	var secrets []string
	for name, values := range h {
		switch strings.ToLower(name) {
		case "content-type", "accept", "user-agent", "host", "accept-encoding":
			continue
		}
		for _, v := range values {
			secrets = append(secrets, v)
			if _, token, ok := strings.Cut(v, " "); ok { // "Bearer sk-…"
				secrets = append(secrets, token)
			}
		}
	}
	r := http.Request{Header: h}
	if _, password, ok := r.BasicAuth(); ok {
		secrets = append(secrets, password)
	}
	return secrets
}

// Redact replaces what is secret about the target in a text that came from elsewhere: some servers repeat the key that
// they refuse.
func (c *Client) Redact(s string) string { return redact(s, c.secrets) }

func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) >= 4 {
			s = strings.ReplaceAll(s, secret, "[redacted]")
		}
	}
	return s
}

// Close closes the idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cn := range c.idle {
		cn.Close()
	}
	c.idle = nil
	if c.viaNet != nil {
		c.viaNet.CloseIdleConnections()
	}
	if c.release != nil {
		c.release()
		c.release = nil
	}
}

// StampSource says where the times of the last connection's bytes came from.
func (c *Client) StampSource() StampSource {
	if s := c.stamps.Load(); s != nil {
		return *s
	}
	return UserStamps
}

// conn is an open HTTP/1.1 connection with what was read of it and not yet used.
type conn struct {
	net.Conn              // TLS or plain
	stamped  *stampedConn // the connection below, where the kernel stamps its reads; else nil
	below    net.Conn     // what was dialled
	buf      []byte
	r, w     int // buf[r:w] is unread

	opening int64 // how long it took to open it ahead, ns, until its first request has taken note
}

// fill reads once, into the free part of the buffer, which grows if there is none.
func (cn *conn) fill() error {
	switch {
	case cn.r == cn.w:
		cn.r, cn.w = 0, 0
	case cn.w == len(cn.buf) && cn.r > 0:
		cn.w = copy(cn.buf, cn.buf[cn.r:cn.w])
		cn.r = 0
	}
	if cn.w == len(cn.buf) {
		cn.buf = append(cn.buf, make([]byte, len(cn.buf))...)
	}
	n, err := cn.Read(cn.buf[cn.w:])
	cn.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// closed looks whether the peer has closed an idle connection.
func (cn *conn) closed() bool {
	if cn.stamped != nil {
		return cn.stamped.idleClosed()
	}
	return idleClosed(cn.below)
}

// take returns an idle connection that still looks open, or nil.
func (c *Client) take() *conn {
	for {
		c.mu.Lock()
		n := len(c.idle)
		if n == 0 {
			c.mu.Unlock()
			return nil
		}
		cn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if cn.r == cn.w && !cn.closed() {
			return cn
		}
		cn.Close()
	}
}

// idleConns counts the connections that are open between requests.
func (c *Client) idleConns() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle)
}

func (c *Client) give(cn *conn) {
	c.mu.Lock()
	c.idle = append(c.idle, cn)
	c.mu.Unlock()
}

// wantsAhead asks, before a request is due, whether a connection should be opened for it, so that it need not be late by the
// time that this takes. If so, openAhead must follow.
func (c *Client) wantsAhead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.viaNet != nil || c.refused || len(c.idle)+c.dialing > 0 {
		return false
	}
	c.dialing++
	return true
}

// openAhead opens a connection and lays it among the idle ones. If that fails nothing is lost: the request tries for
// itself, and says why.
func (c *Client) openAhead(ctx context.Context, clock *clock) {
	start := clock.now()
	cn, err := c.dial(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialing--
	if c.refused = err != nil; err == nil {
		cn.opening = max(clock.now()-start, 1)
		c.idle = append(c.idle, cn)
	}
}

// opened notes that connections can be opened, so that it is worth doing so ahead.
func (c *Client) opened() {
	c.mu.Lock()
	c.refused = false
	c.mu.Unlock()
}

// dial opens a connection: DNS, TCP, TLS.
func (c *Client) dial(ctx context.Context) (*conn, error) {
	if err := c.connect.Wait(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.target.ConnectTimeout)
	defer cancel()
	below, err := c.target.Dial(ctx, "tcp", c.address)
	if err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("no connection to %s within %v", c.address, c.target.ConnectTimeout)
		}
		return nil, err
	}
	cn := &conn{Conn: below, below: below, buf: make([]byte, 4096)}
	source := UserStamps
	if s, ok := newStampedConn(below); ok {
		cn.Conn, cn.stamped = s, s
		source = KernelStamps
	}
	if old := c.stamps.Load(); old == nil || *old != source {
		c.stamps.Store(&source)
	}
	if c.tls != nil {
		t := tls.Client(cn.Conn, c.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			below.Close()
			if ctx.Err() == context.DeadlineExceeded {
				err = fmt.Errorf("no handshake within %v", c.target.ConnectTimeout)
			}
			return nil, fmt.Errorf("TLS with %s: %w", c.address, err)
		}
		cn.Conn = t
	}
	return cn, nil
}

// longAgo is a deadline that wakes whoever waits on a connection.
var longAgo = time.Unix(1, 0)

// tailTime is how long the rest of a response may take that no figure hangs on: what follows [DONE] or an error in the
// stream, the body of an HTTP error. A server that leaves it open is not waited for.
const tailTime = 500 * time.Millisecond

// errBody bounds how much of an error response is read for its message.
const errBody = 64 << 10

// maxResponse bounds a response that is no stream.
const maxResponse = 64 << 20

// exchange is one request and its response, with the buffers they need; exchanges are reused.
type exchange struct {
	client *Client
	clock  *clock
	shard  *shard // where its tokens are counted as they come

	// Its requests are cancelled with this context. It is watched once for all of them: to be told of a context's end, and
	// to want to be told no more, takes longer than the rest of the way from the arrival to the wire.
	ctx     context.Context
	unwatch func() bool
	mu      sync.Mutex
	below   net.Conn // what the request at hand goes over; nil between requests

	rec     *Record
	detail  *Detail      // nil: not wanted
	arrival chan arrival // tells a prepared exchange of an open loop that its moment has come

	out     []byte // the request as written
	ready   *conn  // an idle connection that was found for it
	events  eventSplitter
	delta   delta
	token   template
	text    []byte // what was generated so far
	gaps    []int64
	delays  []int64
	framing framing
	head    *bufio.Reader // for parsing response heads
	bytes   bytes.Reader
	whole   []byte // a response that is no stream
	buf     []byte // what net/http reads into

	stamp, user int64 // of the read at hand: as kept, and by user space
	kernel      bool
	answered    bool // bytes of a response were seen
	tail        bool // what still comes has tailTime
	done        bool // [DONE] was seen

	kind ErrorKind
	err  error
}

func newExchange(ctx context.Context, client *Client, clock *clock) *exchange {
	x := &exchange{ctx: ctx, client: client, clock: clock, arrival: make(chan arrival, 1), head: bufio.NewReaderSize(nil, 1024), gaps: make([]int64, 0, 256), delays: make([]int64, 0, 256)}
	x.events.emit = x.event
	x.unwatch = context.AfterFunc(ctx, x.cutOff)
	return x
}

// cutOff wakes the request at hand from whatever it waits for; its context has ended.
func (x *exchange) cutOff() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.below != nil {
		x.below.SetDeadline(longAgo)
	}
}

// attach puts the request at hand on a connection, which is cut off if the context ends, or has ended.
func (x *exchange) attach(below net.Conn) {
	x.mu.Lock()
	x.below = below
	x.mu.Unlock()
	if x.ctx.Err() != nil {
		x.cutOff()
	}
}

// detach takes it off again; false if it was cut off, so that the connection can serve no other request.
func (x *exchange) detach() bool {
	x.mu.Lock()
	x.below = nil
	x.mu.Unlock()
	return x.ctx.Err() == nil
}

// prepare does what can be done before the request is due: it builds what will be written, and looks for an idle connection.
func (x *exchange) prepare(body []byte) {
	if x.client.viaNet != nil {
		return
	}
	x.out = append(x.out[:0], x.client.head...)
	x.out = strconv.AppendInt(x.out, int64(len(body)), 10)
	x.out = append(x.out, "\r\n\r\n"...)
	x.out = append(x.out, body...)
	x.ready = x.client.take()
}

// unprepare gives back what prepare took, where the request is not to be sent.
func (x *exchange) unprepare() {
	if x.ready != nil {
		x.client.give(x.ready)
		x.ready = nil
	}
}

// do sends the request, which is prepared, and follows its response to the end. Everything it finds goes into the record.
func (x *exchange) do(body []byte) {
	x.events.reset()
	x.text, x.gaps, x.delays, x.whole = x.text[:0], x.gaps[:0], x.delays[:0], x.whole[:0]
	x.answered, x.tail, x.done, x.kind, x.err = false, false, false, NoError, nil
	if x.client.viaNet != nil {
		x.doNetHTTP(body)
	} else {
		x.doHTTP1()
	}
	x.settle()
}

// settle fills in what follows from the response as a whole.
func (x *exchange) settle() {
	r := x.rec
	r.Lines = x.events.lines
	if r.End == 0 {
		r.End = x.clock.now()
	}
	if x.done {
		r.Flags |= FinishedByDone
	}
	if x.err == nil && r.Flags&Streamed != 0 && !x.done && r.Finish == NoFinish {
		x.fail(ErrTruncated, errors.New("the stream ended without [DONE] or a finish reason"))
	}
	r.OutputWords, r.OutputChars = countText(x.text)
	cut := false // by the end of the stage; what failed before that by itself stays a failure
	switch x.kind {
	case ErrConnect, ErrSend, ErrReset, ErrTimeout:
		cut = x.ctx.Err() != nil
	}
	switch {
	case x.err == nil:
		r.Status = Completed
	case cut && r.Sent == 0:
		r.Status = NotSent
	case cut:
		r.Status = Incomplete
	default:
		r.Status, r.Err = Errored, x.kind
	}
	if x.detail != nil {
		if x.detail.Body != nil {
			x.detail.Output = x.client.Redact(string(x.text))
		}
		switch r.Status {
		case Errored:
			x.detail.Error = x.client.Redact(x.err.Error())
		case Incomplete:
			x.detail.Error = "Request was cancelled" // GuideLLM's words
		}
	}
}

// fail notes the first failure.
func (x *exchange) fail(kind ErrorKind, err error) {
	if x.err == nil {
		x.kind, x.err = kind, err
	}
}

func (x *exchange) doHTTP1() {
	cn := x.ready
	x.ready = nil
	if cn == nil {
		cn = x.client.take() // one may have come free since
	}
	for {
		fresh := cn == nil
		if fresh {
			start := x.clock.now()
			var err error
			if cn, err = x.client.dial(x.ctx); err != nil {
				x.fail(ErrConnect, err)
				return
			}
			cn.opening = max(x.clock.now()-start, 1)
			x.client.opened()
		}
		if cn.opening > 0 {
			x.rec.Connecting += cn.opening
			x.rec.Flags |= NewConnection
			cn.opening = 0
		}
		if err := x.ctx.Err(); err != nil {
			x.fail(ErrConnect, err)
			cn.Close()
			return
		}
		if x.over(cn) {
			x.client.give(cn)
			return
		}
		cn.Close()
		// A server may close an idle connection just as the request sets out on it. Nothing was generated for it, so it
		// may be sent again, once, on a new connection.
		if fresh || x.answered || x.err == nil || x.ctx.Err() != nil || x.kind == ErrTimeout {
			return
		}
		x.kind, x.err, cn = NoError, nil, nil
		x.rec.Flags |= Retried
	}
}

// over sends the request over one connection and reads the response. It is true if the connection can serve another
// request.
func (x *exchange) over(cn *conn) (reusable bool) {
	if t := x.client.target.RequestTimeout; t > 0 {
		cn.below.SetDeadline(time.Now().Add(t))
	}
	x.attach(cn.below) // only now, so that a cancellation has the last word
	x.rec.Sent = x.clock.now()
	_, err := cn.Write(x.out)
	if err != nil && (errors.Is(err, os.ErrDeadlineExceeded) || !x.answeredEarly(cn)) {
		x.failIO(ErrSend, "sending the request", err)
	} else if resp := x.readHead(cn); resp != nil {
		complete := x.readBody(cn, resp)
		reusable = complete && err == nil && !resp.Close && resp.StatusCode != http.StatusSwitchingProtocols && cn.r == cn.w
	}
	if !x.detach() {
		return false
	}
	if reusable && (x.tail || x.client.target.RequestTimeout > 0) {
		cn.below.SetDeadline(time.Time{})
	}
	return reusable
}

// answeredEarly is asked when a request could not be written: a server may answer before it has read everything (413,
// 401) and close, and the answer says more than the error.
func (x *exchange) answeredEarly(cn *conn) bool {
	x.hurry(cn)
	return x.read(cn) == nil
}

// hurry gives what is still to be read its tailTime, once.
func (x *exchange) hurry(cn *conn) {
	if x.tail {
		return
	}
	x.tail = true
	cn.below.SetReadDeadline(time.Now().Add(tailTime))
	if x.ctx.Err() != nil { // and perhaps has set its deadline before
		x.cutOff()
	}
}

// failIO notes a failure of the connection: a time limit, or the connection's end.
func (x *exchange) failIO(kind ErrorKind, doing string, err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.fail(ErrTimeout, fmt.Errorf("%s: the time limit of %v is over", doing, x.client.target.RequestTimeout))
	case errors.Is(err, io.EOF):
		x.fail(kind, fmt.Errorf("%s: the server closed the connection", doing))
	default:
		x.fail(kind, fmt.Errorf("%s: %w", doing, err))
	}
}

// readHead reads up to the end of the response's head, and past heads of the 1xx kind. nil if that failed.
func (x *exchange) readHead(cn *conn) *http.Response {
	const maxHead = 256 << 10
	for scanned := 0; ; {
		unread := cn.buf[cn.r:cn.w]
		end := headEnd(unread, scanned)
		if end < 0 {
			if len(unread) > maxHead || len(unread) >= 5 && !bytes.HasPrefix(unread, []byte("HTTP/")) {
				x.fail(ErrMalformed, fmt.Errorf("no HTTP response, it begins with %q", shorten(string(unread), 40)))
				return nil
			}
			scanned = max(0, len(unread)-3)
			if err := x.read(cn); err != nil {
				x.failIO(ErrReset, "waiting for the response", err)
				return nil
			}
			continue
		}
		x.bytes.Reset(unread[:end])
		x.head.Reset(&x.bytes)
		resp, err := http.ReadResponse(x.head, postRequest)
		if err != nil {
			x.fail(ErrMalformed, fmt.Errorf("no HTTP response: %w", err))
			return nil
		}
		cn.r += end
		scanned = 0
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp
		}
	}
}

// postRequest tells http.ReadResponse what it is that is answered.
var postRequest = &http.Request{Method: http.MethodPost}

// headEnd returns the length of a response's head with its blank line, −1 if that has not come yet.
func headEnd(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		if b[i] != '\n' {
			continue
		}
		rest := b[i+1:]
		if len(rest) > 0 && rest[0] == '\n' {
			return i + 2
		}
		if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return i + 3
		}
	}
	return -1
}

// read reads once from the connection and takes the stamps of what came.
func (x *exchange) read(cn *conn) error {
	err := cn.fill()
	if err != nil {
		return err
	}
	x.answered = true
	x.user = x.clock.now()
	x.stamp, x.kernel = x.user, false
	if cn.stamped != nil && cn.stamped.stamp != 0 {
		x.takeKernelStamp(cn.stamped.stamp)
	}
	return nil
}

// takeKernelStamp uses a kernel stamp, unless the wall clock was set in between: then it lies after the read, or far
// before it, and the next calibration of the clock will mend what follows.
func (x *exchange) takeKernelStamp(wall int64) {
	stamp := x.clock.fromWall(wall)
	if stamp > x.user {
		if stamp > x.user+int64(time.Millisecond) {
			return
		}
		stamp = x.user
	}
	if x.user-stamp < int64(10*time.Second) {
		x.stamp, x.kernel = stamp, true
	}
}

// bodyKind is what a response's body turned out to be.
type bodyKind uint8

const (
	streamBody bodyKind = iota
	wholeBody
	errorBody
)

// classify looks at status and content type.
func (x *exchange) classify(resp *http.Response) bodyKind {
	x.rec.HTTPStatus = int16(resp.StatusCode)
	if resp.StatusCode != http.StatusOK {
		return errorBody
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream") {
		x.rec.Flags |= Streamed
		return streamBody
	}
	return wholeBody
}

// readBody reads the response's body; false unless it was read to its end.
func (x *exchange) readBody(cn *conn, resp *http.Response) bool {
	kind := x.classify(resp)
	x.framing = framing{left: resp.ContentLength, done: resp.ContentLength == 0}
	if slices.Contains(resp.TransferEncoding, "chunked") {
		x.framing = framing{chunked: true}
	}
	untilClose := !x.framing.chunked && x.framing.left < 0
	for {
		for cn.r < cn.w && !x.framing.done {
			body, used, err := x.framing.next(cn.buf[cn.r:cn.w])
			cn.r += used
			if err != nil {
				x.fail(ErrMalformed, err)
				return false
			}
			if len(body) > 0 && !x.takeBody(kind, body) {
				x.giveUp(kind, resp)
				return false
			}
		}
		if x.framing.done {
			x.endBody(kind, resp)
			return true
		}
		if x.done || x.err != nil || kind == errorBody {
			x.hurry(cn)
		}
		switch err := x.read(cn); {
		case err == nil:
		case errors.Is(err, io.EOF) && untilClose:
			x.endBody(kind, resp)
			return false
		default:
			if !x.giveUp(kind, resp) {
				x.failIO(ErrReset, "reading the response", err)
			}
			return false
		}
	}
}

// giveUp is called where a body is not read to its end. It is true if all that matters was read.
func (x *exchange) giveUp(kind bodyKind, resp *http.Response) bool {
	if kind == errorBody {
		x.endBody(kind, resp)
	}
	return x.done || x.err != nil
}

// takeBody takes some bytes of the body; false where reading on is of no use.
func (x *exchange) takeBody(kind bodyKind, body []byte) bool {
	switch kind {
	case streamBody:
		if err := x.events.feed(body); err != nil {
			x.fail(ErrMalformed, err)
			return false
		}
		// An error inside the stream ends what can be measured of it. The rest is read for the connection's sake.
	case wholeBody:
		if x.whole = append(x.whole, body...); len(x.whole) > maxResponse {
			x.fail(ErrMalformed, errors.New("the response exceeds 64 MiB"))
			return false
		}
	case errorBody:
		x.whole = append(x.whole, body[:min(len(body), errBody-len(x.whole))]...)
		return len(x.whole) < errBody
	}
	return true
}

// endBody is called when the body has ended in good order.
func (x *exchange) endBody(kind bodyKind, resp *http.Response) {
	switch kind {
	case streamBody:
		if string(x.events.rest()) == "[DONE]" {
			x.event(done, false)
		}
		if x.err == nil {
			x.rec.End = x.stamp
		}
	case wholeBody:
		x.rec.End = x.stamp
		x.takeWhole(resp)
	case errorBody:
		x.rec.End = x.stamp
		x.fail(ErrStatus, statusError(resp, x.whole))
	}
}

// takeWhole takes a response that is no stream: one JSON object.
func (x *exchange) takeWhole(resp *http.Response) {
	if err := x.delta.parse(x.whole); err != nil {
		x.fail(ErrMalformed, fmt.Errorf("the response (%s) is neither a stream nor a completion: %w",
			resp.Header.Get("Content-Type"), err))
		return
	}
	x.say()
	if x.err == nil && x.rec.Finish == NoFinish {
		x.fail(ErrMalformed, fmt.Errorf("the response (%s) is neither a stream nor a completion: %q",
			resp.Header.Get("Content-Type"), shorten(string(x.whole), 80)))
	}
}

// statusError turns an HTTP status into words, with the message that came with it.
func statusError(resp *http.Response, body []byte) error {
	status := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	if message := errorMessage(body); message != "" {
		status += ": " + message
	}
	if after := resp.Header.Get("Retry-After"); after != "" {
		status += " (Retry-After: " + after + ")"
	}
	return errors.New(status)
}

// errorMessage finds the message in an error body: OpenAI's {"error":{"message":…}}, a bare {"message":…} or
// {"detail":…}, else the text itself, shortened.
func errorMessage(body []byte) string {
	var e struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &e) == nil {
		if e.Message == "" && len(e.Error) > 0 {
			var inner struct {
				Message string `json:"message"`
			}
			if json.Unmarshal(e.Error, &inner) == nil && inner.Message != "" {
				e.Message = inner.Message
			} else if json.Unmarshal(e.Error, &e.Message) != nil {
				e.Message = string(e.Error)
			}
		}
		if e.Message == "" && len(e.Detail) > 0 && json.Unmarshal(e.Detail, &e.Message) != nil {
			e.Message = string(e.Detail)
		}
		if e.Message != "" {
			return shorten(e.Message, 300)
		}
	}
	return shorten(string(body), 300)
}

// shorten keeps a text from elsewhere to one line of bounded length. It never cuts inside what may be a credential (RFC
// 6750's b64token): half of one could no longer be found by Redact.
func shorten(s string, most int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\ufffd")), " ")
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	inToken := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("-._~+/=", r)
	}
	for most > 0 && inToken(r[most-1]) && inToken(r[most]) {
		most--
		for most > 0 && inToken(r[most-1]) {
			most--
		}
	}
	return string(r[:most]) + "…"
}

// event takes one event of the stream.
func (x *exchange) event(data []byte, isError bool) {
	r := x.rec
	if x.done || x.err != nil || len(bytes.TrimSpace(data)) == 0 { // an empty event keeps a connection alive
		return
	}
	if r.FirstEvent == 0 {
		r.FirstEvent = x.stamp
	}
	r.LastEvent = x.stamp
	if bytes.Equal(data, done) {
		x.done = true
		r.End = x.stamp
		return
	}
	if err := x.token.parse(&x.delta, data); err != nil {
		if isError {
			x.fail(ErrServer, fmt.Errorf("error in the stream: %s", errorMessage(data)))
		} else {
			x.fail(ErrMalformed, err)
		}
		r.End = x.stamp
		return
	}
	if isError && x.delta.errorJSON == nil {
		x.delta.errorJSON = data
	}
	if x.delta.token {
		if r.FirstToken == 0 {
			r.FirstToken = x.stamp
			x.shard.firsts.Add(1)
		} else {
			x.gaps = append(x.gaps, x.stamp-r.LastToken)
		}
		r.LastToken = x.stamp
		r.TokenEvents++
		x.shard.tokens.Add(1)
		if x.kernel {
			r.Flags |= KernelStamped
			delay := x.user - x.stamp
			r.DelaySum += delay
			r.DelayMax = max(r.DelayMax, delay)
			x.delays = append(x.delays, delay)
		}
	}
	x.say()
}

// say takes what the delta at hand says beside being a token.
func (x *exchange) say() {
	d, r := &x.delta, x.rec
	if d.errorJSON != nil {
		x.fail(ErrServer, fmt.Errorf("error in the response: %s", errorMessage(d.errorJSON)))
		r.End = x.stamp
		return
	}
	if x.detail != nil && x.detail.ResponseID == "" && len(d.id) > 0 {
		x.detail.ResponseID = string(d.id)
	}
	if d.content != nil {
		x.text = d.appendText(x.text)
	}
	if d.finish != NoFinish {
		r.Finish = d.finish
	}
	if d.hasUsage {
		if d.prompt >= 0 {
			r.PromptTokens = d.prompt
		}
		if d.output >= 0 {
			r.OutputTokens = d.output
		}
		if d.cached >= 0 {
			r.CachedTokens = d.cached
		}
	}
}
