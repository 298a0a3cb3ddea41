package loadgen

import (
	"context"
	"fmt"
	"testing"
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

// hotExchange is an exchange in the middle of a stream.
func hotExchange() *exchange {
	x := newExchange(context.Background(), &Client{}, newClock())
	x.shard, x.rec = &shard{}, &Record{}
	x.framing = framing{chunked: true}
	return x
}

// take takes what one read brought, as readBody does.
func (x *exchange) takeRead(t testing.TB, p []byte) {
	for len(p) > 0 {
		body, used, err := x.framing.next(p)
		if err != nil {
			t.Fatal(err)
		}
		p = p[used:]
		if len(body) > 0 && !x.takeBody(streamBody, body) {
			t.Fatal(x.err)
		}
	}
}

// afresh empties what grows with a stream, so that a benchmark may run for any number of tokens.
func (x *exchange) afresh() { x.gaps, x.delays, x.text = x.gaps[:0], x.delays[:0], x.text[:0] }

func TestNothingIsAllocatedPerToken(t *testing.T) {
	plain, escaped := []byte(tokenChunk(" token")), []byte(tokenChunk(`\n\u20ac`))
	several := []byte(tokenChunk("a") + tokenChunk("b") + tokenChunk("c"))
	tests := []struct {
		name string
		read [][]byte
	}{
		{"one event a read", [][]byte{plain}},
		{"escaped text", [][]byte{escaped}},
		{"several events in one read", [][]byte{several}},
		{"an event over two reads", [][]byte{plain[:40], plain[40:]}},
		{"an event over many reads", [][]byte{plain[:2], plain[2:5], plain[5:12], plain[12:200], plain[200 : len(plain)-3], plain[len(plain)-3:]}},
	}
	for _, test := range tests {
		x := hotExchange()
		now := int64(0)
		token := func() {
			for _, p := range test.read {
				now += 5_000_000
				x.user, x.stamp, x.kernel = now+10_000, now, true
				x.takeRead(t, p)
			}
			x.afresh()
		}
		token()
		if n := testing.AllocsPerRun(1000, token); n != 0 {
			t.Errorf("%s: %v allocations, want none", test.name, n)
		}
		if x.rec.TokenEvents < 1000 || x.err != nil {
			t.Errorf("%s: %d tokens, error %v: the test tests nothing", test.name, x.rec.TokenEvents, x.err)
		}
	}
}
