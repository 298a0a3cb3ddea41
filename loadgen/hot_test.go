package loadgen

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/openloop/openloop/internal/precise"
)

// tokenEvent is the data of a token's event as vLLM 0.23.0 sends it.
func tokenEvent(text string) string {
	return `{"id":"chatcmpl-9316d40c42ce154f","object":"chat.completion.chunk","created":1795504799,` +
		`"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":"` + text + `"},"logprobs":null,` +
		`"finish_reason":null,"token_ids":null}]}`
}

// tokenChunk is the event in its chunk of the transfer encoding.
func tokenChunk(text string) string {
	event := "data: " + tokenEvent(text) + "\n\n"
	return fmt.Sprintf("%x\r\n%s\r\n", len(event), event)
}

// readsConn is a connection whose reads bring what was laid ready for them.
type readsConn struct {
	net.Conn
	reads [][]byte
}

func (c *readsConn) Write(p []byte) (int, error) { return len(p), nil }
func (c *readsConn) Close() error                { return nil }
func (c *readsConn) Read(p []byte) (int, error) {
	if len(c.reads) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.reads[0])
	c.reads = c.reads[1:]
	return n, nil
}

// hotReader is a reader in the middle of a stream that comes over a connection, of which the head has been laid ready.
func hotReader(t testing.TB, c net.Conn) *reader {
	t.Helper()
	dial := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	client, err := NewClient(Target{URL: "http://hot.test/", Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	r := newReader(context.Background(), client, precise.NewClock())
	r.shard, r.rec = &shard{}, &Record{}
	r.encode(&Request{})
	if r.head, err = r.exchange.RoundTrip(&r.sending); err != nil {
		t.Fatal(err)
	}
	if r.classify() != streamBody {
		t.Fatal("not a stream")
	}
	return r
}

// takeTokens reads on, as readBody does, until the record holds so many tokens.
func (r *reader) takeTokens(t testing.TB, n int32) {
	for r.rec.TokenEvents < n {
		body, stamp, err := r.exchange.Next()
		r.stamp = stamp
		if err != nil || !r.takeBody(streamBody, body) {
			t.Fatal(err, r.err)
		}
	}
	r.gaps, r.delays, r.text = r.gaps[:0], r.delays[:0], r.text[:0] // they grow with the stream
}

func TestNothingIsAllocatedPerToken(t *testing.T) {
	plain, escaped := []byte(tokenChunk(" token")), []byte(tokenChunk(`\n\u20ac`))
	several := []byte(tokenChunk("a") + tokenChunk("b") + tokenChunk("c"))
	tests := []struct {
		name   string
		reads  [][]byte
		tokens int32
	}{
		{"one event a read", [][]byte{plain}, 1},
		{"escaped text", [][]byte{escaped}, 1},
		{"several events in one read", [][]byte{several}, 3},
		{"an event over two reads", [][]byte{plain[:40], plain[40:]}, 1},
		{"an event over many reads", [][]byte{
			plain[:2], plain[2:5], plain[5:12], plain[12:200], plain[200 : len(plain)-3], plain[len(plain)-3:]}, 1},
	}
	for _, test := range tests {
		c := &readsConn{reads: [][]byte{[]byte(chunkedHead)}}
		r := hotReader(t, c)
		backing := make([][]byte, 0, 16)
		token := func() {
			c.reads = append(backing, test.reads...)
			r.takeTokens(t, r.rec.TokenEvents+test.tokens)
			for len(c.reads) > 0 { // what follows the event's end
				if body, _, err := r.exchange.Next(); err != nil || !r.takeBody(streamBody, body) {
					t.Fatal(err, r.err)
				}
			}
		}
		token()
		if n := testing.AllocsPerRun(1000, token); n != 0 {
			t.Errorf("%s: %v allocations, want none", test.name, n)
		}
		if r.rec.TokenEvents < 1000 || r.err != nil {
			t.Errorf("%s: %d tokens, error %v: the test tests nothing", test.name, r.rec.TokenEvents, r.err)
		}
	}
}
