package llmsim

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"

	sse "github.com/tmaxmax/go-sse"
)

func testTemplate(chat, merged bool) template {
	req := &request{chat: chat, stream: true, includeUsage: true, promptTokens: 256}
	return buildTemplate(req, "chatcmpl-0000000000000007", "Qwen/Qwen2.5-0.5B-Instruct", 1795503866, "length", 128,
		merged)
}

// TestTemplateIsGoSSE holds the bytes put together per token against go-sse's encoding of the same event, and reads
// them back.
func TestTemplateIsGoSSE(t *testing.T) {
	for _, chat := range []bool{true, false} {
		tm := testTemplate(chat, false)
		for k := range 200 {
			text := tokenText(7, k)
			got := tm.appendToken(nil, text, false)
			var m sse.Message
			if err := m.UnmarshalText(got); err != nil {
				t.Fatalf("%s: %v", got, err)
			}
			again, err := m.MarshalText()
			if err != nil || !bytes.Equal(again, got) {
				t.Fatalf("put together %q, go-sse writes %q (%v)", got, again, err)
			}
			var c struct {
				Choices []struct {
					Delta struct{ Content string }
					Text  string
				}
			}
			data := strings.TrimSuffix(strings.TrimPrefix(string(got), "data: "), "\n\n")
			if err := json.Unmarshal([]byte(data), &c); err != nil {
				t.Fatal(err)
			}
			if c.Choices[0].Delta.Content+c.Choices[0].Text != text {
				t.Fatalf("%s does not carry %q", got, text)
			}
		}
	}
}

func TestTemplateSurvivesAnyModelName(t *testing.T) {
	for _, name := range []string{"@TOKEN@", `"quoted"`, "<a&b>", "line\nbreak", "ü"} {
		req := &request{chat: true, stream: true}
		tm := buildTemplate(req, "id", name, 0, "stop", 1, true)
		got := string(tm.appendToken(nil, " word", false))
		var c struct{ Model string }
		if err := json.Unmarshal([]byte(strings.TrimPrefix(strings.TrimSpace(got), "data: ")),
			&c); err != nil || c.Model != name ||
			!strings.Contains(got, `"content":" word"`) {
			t.Errorf("%q: %s (%v)", name, got, err)
		}
	}
}

func TestWordsNeedNoEscaping(t *testing.T) {
	for _, w := range words {
		data, err := json.Marshal(w)
		if err != nil || string(data) != `"`+w+`"` || w[0] != ' ' || approxTokens(w) != 1 {
			t.Errorf("%q is written %s", w, data)
		}
	}
}

// discardConn takes everything at once.
type discardConn struct{ net.Conn }

func (discardConn) TryWrite(b []byte) (int, error) { return len(b), nil }

// emitter is a stream ready to be written to a connection that takes everything.
func emitter(tb testing.TB) (st *stream, token func()) {
	tb.Helper()
	s, err := NewServer(Config{Fixed: true, TruthTokens: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	req := &request{
		chat: true, stream: true, includeUsage: true, promptTokens: 256, maxTokens: 1 << 30, ignoreEOS: true,
	}
	truth := &Truth{ID: "chatcmpl-0000000000000007", Index: 7}
	st = &stream{server: s, truth: truth, arrival: 0, streams: true, finish: "length", wake: make(chan struct{}, 1)}
	st.seq = Sequence{Prompt: req.promptTokens, Output: req.maxTokens, Tag: st}
	st.wire = testTemplate(true, false)
	st.conn = newDirectConn(discardConn{})
	truth.Tokens = make([]int64, 0, 1000)
	buf, k := new(scratch), 0
	return st, func() {
		k++
		if k%1000 == 0 {
			truth.Tokens = truth.Tokens[:0]
		}
		if !st.emit(buf, int64(k), k, 1) {
			tb.Fatal("the stream ended")
		}
	}
}

func TestTokensAllocateNothing(t *testing.T) {
	_, token := emitter(t)
	for range 10 {
		token()
	}
	if n := testing.AllocsPerRun(5000, token); n != 0 {
		t.Errorf("%v allocations a token", n)
	}
}

// BenchmarkToken is all that the server does for a token but the system call.
func BenchmarkToken(b *testing.B) {
	_, token := emitter(b)
	b.ReportAllocs()
	for b.Loop() {
		token()
	}
}

// BenchmarkTokenEvent compares the ways to encode one token's event.
func BenchmarkTokenEvent(b *testing.B) {
	tm := testTemplate(true, false)
	b.Run("template", func(b *testing.B) {
		var out []byte
		k := 0
		b.ReportAllocs()
		for b.Loop() {
			out = tm.appendToken(out[:0], tokenText(7, k), false)
			k++
		}
	})
	b.Run("go-sse", func(b *testing.B) {
		var out bytes.Buffer
		var data []byte
		k := 0
		b.ReportAllocs()
		for b.Loop() {
			// The JSON is put together as cheaply as in the template; only the event is go-sse's.
			data = append(
				append(append(data[:0], tm.prefix[len("data: "):]...), tokenText(7, k)...),
				tm.suffix[:len(tm.suffix)-2]...)
			out.Reset()
			var m sse.Message
			m.AppendData(string(data))
			if _, err := m.WriteTo(&out); err != nil {
				b.Fatal(err)
			}
			k++
		}
	})
	b.Run("encoding/json and go-sse", func(b *testing.B) {
		var out bytes.Buffer
		k := 0
		b.ReportAllocs()
		for b.Loop() {
			text := tokenText(7, k)
			c := chunk{
				ID:      "chatcmpl-0000000000000007",
				Object:  "chat.completion.chunk",
				Created: 1795503866,
				Model:   "Qwen/Qwen2.5-0.5B-Instruct",
				Choices: []any{
					chatTokenChoice{chatChunkChoice: chatChunkChoice{Delta: chunkChoiceDelta{Content: &text}}},
				},
			}
			out.Reset()
			jsonEvent(&out, c)
			k++
		}
	})
	b.Run("template of a request, once", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			testTemplate(true, false)
		}
	})
}
