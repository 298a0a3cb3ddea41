package recorder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openloop/openloop/loadgen/stream"
)

// What is taken of clients.
const (
	mostHead = 1 << 20                // bytes of a request's head
	lingers  = 500 * time.Millisecond // how long a client that is answered to the end may go on sending
)

// connection is one client's, and the one to the endpoint that belongs to it. What comes from the endpoint goes to the
// client byte by byte; of what comes from the client the target and the Host header are changed, to be the endpoint's.
// Three goroutines serve it: one in each direction, and one that reads the copies of the answers after they have
// passed.
type connection struct {
	r      *Recorder
	client net.Conn
	server net.Conn // nil until the endpoint is connected to
	in     *bufio.Reader
	out    *bufio.Writer // to the server

	answers *tap
	waiting atomic.Int64 // requests whose answers have not been read to their end
	gone    atomic.Bool  // the client closed its connection
	ended   sync.WaitGroup
}

// request is one that was passed on.
type request struct {
	method   string
	exchange *exchange // nil where it is not recorded
}

// over ends the recording of a request; err is nil where its answer was read.
func (q request) over(err error, at time.Time) {
	e := q.exchange
	if e == nil {
		return
	}
	if err != nil && e.readErr == nil {
		e.readErr = err
	}
	e.end(at)
}

// serve passes what comes from a client on, until one of both sides has ended.
func (r *Recorder) serve(client net.Conn) {
	c := &connection{r: r, client: client, in: bufio.NewReaderSize(client, 32<<10),
		answers: newTap(&r.kept)}
	if !r.enter(c) {
		client.Close()
		return
	}
	defer r.leave(c)
	// While the client's head comes, the endpoint is connected to.
	ctx, cancel := context.WithCancel(context.Background())
	dialled := make(chan reached, 1)
	go func() {
		server, err := r.config.Dial(ctx)
		dialled <- reached{server, err}
	}()
	c.ended.Go(c.understand)
	c.pass(dialled)
	cancel()
	if c.out == nil { // no answer comes
		c.answers.close(io.EOF)
		if c.server == nil {
			c.server = (<-dialled).server
		}
	}
	if c.server != nil {
		c.server.Close()
	}
	c.ended.Wait()
	client.Close()
	for { // those that came after the endpoint had closed the connection
		q, ok := c.answers.next()
		if !ok {
			return
		}
		q.over(io.EOF, time.Now())
	}
}

// reached is the connection to the endpoint, or why there is none.
type reached struct {
	server net.Conn
	err    error
}

// pass passes requests on. It ends when the client has gone, or what the endpoint answered to the end was passed to it.
func (c *connection) pass(dialled chan reached) {
	for {
		head, err := readHead(c.in, c.r.config.To)
		if err != nil {
			c.refuse(err)
			return
		}
		e := c.r.begin(c, head)
		c.waiting.Add(1)
		c.answers.expect(request{head.method, e})
		if c.out == nil {
			to := <-dialled
			if to.err != nil {
				dialled <- reached{}
				c.unreachable(e, to.err)
				return
			}
			c.server = to.server
			c.out = bufio.NewWriterSize(c.server, 32<<10)
			c.ended.Go(c.answer)
		}
		_, _ = c.out.Write(head.out) // its error comes back with Flush
		err = c.passBody(head.length, e)
		if err == nil {
			err = c.out.Flush()
		}
		if err == nil && head.upgrades {
			_, err = io.Copy(c.server, c.in) // whatever it is from here on
			if err == nil {
				err = io.EOF
			}
		}
		if err != nil {
			c.drain(err)
			return
		}
	}
}

// passBody passes a request's body on.
func (c *connection) passBody(length int64, e *exchange) error {
	if length >= 0 {
		return c.passBytes(length, e)
	}
	for {
		line, err := c.passLine()
		if err != nil {
			return err
		}
		text, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte(";"))
		size, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 16, 63)
		if err != nil || size < 0 {
			return errors.New("a chunk of the body has no length")
		}
		if size == 0 {
			break
		}
		if err := c.passBytes(size, e); err != nil {
			return err
		}
		if _, err := c.passLine(); err != nil {
			return err
		}
	}
	for { // the trailer
		if line, err := c.passLine(); err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
			return err
		}
	}
}

// passLine passes a line on. What it returns holds until the next one.
func (c *connection) passLine() ([]byte, error) {
	if err := c.flushBeforeWait(); err != nil {
		return nil, err
	}
	line, err := c.in.ReadSlice('\n')
	if err == nil {
		_, err = c.out.Write(line)
	}
	return line, err
}

// passBytes passes so many bytes on, and copies them.
func (c *connection) passBytes(n int64, e *exchange) error {
	for n > 0 {
		if err := c.flushBeforeWait(); err != nil {
			return err
		}
		if _, err := c.in.Peek(1); err != nil {
			return err
		}
		some, _ := c.in.Peek(int(min(int64(c.in.Buffered()), n)))
		if _, err := c.out.Write(some); err != nil {
			return err
		}
		e.ask(some)
		n -= int64(len(some))
		_, _ = c.in.Discard(len(some)) // it is there
	}
	return nil
}

// flushBeforeWait sends what was gathered before more has to be waited for.
func (c *connection) flushBeforeWait() error {
	if c.in.Buffered() > 0 {
		return nil
	}
	return c.out.Flush()
}

// drain ends the client's side: it has gone, or the endpoint has closed the connection. Then the client may still be
// sending, and would lose the answer if its connection were closed meanwhile.
func (c *connection) drain(err error) {
	if c.answers.ended() { // closed by the endpoint
		_ = c.client.SetReadDeadline(time.Now().Add(lingers))
		_, _ = io.Copy(io.Discard, c.in)
		return
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		c.gone.Store(true)
	}
}

// refuse ends a connection of which no further request came.
func (c *connection) refuse(err error) {
	var r refusal
	if errors.As(err, &r) {
		c.say(r.status, "openloop record: "+r.why, "invalid_request_error")
		return
	}
	if c.out != nil {
		c.drain(io.EOF)
	}
}

// unreachable answers where the endpoint can't be reached.
func (c *connection) unreachable(e *exchange, err error) {
	if e != nil {
		e.status, e.failed = http.StatusBadGateway, true
	}
	if c.r.upstream.Add(1) == 1 {
		c.r.config.Note(stream.Clean(fmt.Sprintf("%s did not answer: %v; its client got 502", c.r.config.To.Host, err)))
	}
	c.say(http.StatusBadGateway, "openloop record: the endpoint did not answer", "bad_gateway")
}

// say answers in the endpoint's place, after which the connection is closed.
func (c *connection) say(status int, message, kind string) {
	body := fmt.Sprintf(`{"error":{"message":%q,"type":%q,"code":%d}}`, message, kind, status)
	_, _ = fmt.Fprintf(c.client, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"Connection: close\r\n\r\n%s", status, http.StatusText(status), len(body), body)
	c.closeWrite()
	_ = c.client.SetReadDeadline(time.Now().Add(lingers)) // as in drain
	_, _ = io.Copy(io.Discard, c.in)
}

func (c *connection) closeWrite() {
	if half, ok := c.client.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// answer passes answers on, and copies them once they have passed.
func (c *connection) answer() {
	buf := make([]byte, 32<<10)
	for {
		n, err := c.server.Read(buf)
		at := time.Now()
		if n > 0 {
			if _, failed := c.client.Write(buf[:n]); failed != nil {
				c.gone.Store(true)
				err = failed
			}
			c.answers.add(buf[:n], at)
		}
		if err != nil {
			c.answers.close(err)
			c.closeWrite()
			c.server.Close()                                      // which ends what is passed to it
			_ = c.client.SetReadDeadline(time.Now().Add(lingers)) // and what is waited for
			return
		}
	}
}

// understand reads the copies of answers.
func (c *connection) understand() {
	in := bufio.NewReader(c.answers)
	for {
		if in.Buffered() == 0 {
			c.answers.wait()
		}
		q, ok := c.answers.next()
		if !ok { // the end, or bytes that nobody asked for
			c.answers.stop()
			return
		}
		resp, err := readAnswer(in, q.method)
		switch {
		case err != nil:
		case resp.StatusCode == http.StatusSwitchingProtocols:
			c.answers.stop()
		default:
			if q.exchange != nil {
				q.exchange.answer(resp)
			}
			_, _ = io.Copy(io.Discard, resp.Body) // an error is the exchange's
		}
		q.over(err, c.answers.at)
		if c.waiting.Add(-1) == 0 && c.r.closing.Load() {
			c.close()
		}
	}
}

// readAnswer reads the head of an answer. Those that come before it, such as 100 Continue, are not it.
func readAnswer(in *bufio.Reader, method string) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil || resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
}

// close cuts both connections.
func (c *connection) close() {
	c.client.Close() // which ends what comes from it, and then the other
}
