package stream

import (
	"bytes"
	"testing"

	sse "github.com/tmaxmax/go-sse"
)

// The benchmarks of what one token costs to read. None but those of other readers may allocate.

// tokenEvent is the data of a token's event as vLLM 0.23.0 sends it.
func tokenEvent(text string) string {
	return `{"id":"chatcmpl-9316d40c42ce154f","object":"chat.completion.chunk","created":1795504799,` +
		`"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":"` + text + `"},"logprobs":null,` +
		`"finish_reason":null,"token_ids":null}]}`
}

func BenchmarkScanner(b *testing.B) {
	data := []byte(tokenEvent(" token"))
	var d Delta
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if !d.scan(data) || !d.Token {
			b.Fatal("not understood")
		}
	}
}

// BenchmarkDecode is the scanner's twin by encoding/json, for comparison.
func BenchmarkDecode(b *testing.B) {
	data := []byte(tokenEvent(" token"))
	var d Delta
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(data); err != nil || !d.Token {
			b.Fatal(err)
		}
	}
}

func BenchmarkEventSplitter(b *testing.B) {
	stream := []byte("data: " + tokenEvent(" token") + "\n\n")
	n := 0
	s := Splitter{Emit: func([]byte, bool) { n++ }}
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Feed(stream); err != nil {
			b.Fatal(err)
		}
	}
	if n == 0 {
		b.Fatal("no events")
	}
}

// BenchmarkGoSSE is the same stream read by go-sse, which hands on a string for each event.
func BenchmarkGoSSE(b *testing.B) {
	const events = 128
	event := "data: " + tokenEvent(" token") + "\n\n"
	stream := bytes.Repeat([]byte(event), events)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for _, err := range sse.Read(bytes.NewReader(stream), nil) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}

// BenchmarkTemplate is the scanner's short cut for an event like the last one.
func BenchmarkTemplate(b *testing.B) {
	first, data := []byte(tokenEvent(" a")), []byte(tokenEvent(" token"))
	var t Template
	var d Delta
	if err := t.Parse(&d, first); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if !t.fits(&d, data) {
			b.Fatal("does not fit")
		}
	}
}
