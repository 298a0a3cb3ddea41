package guidellm

import (
	"bytes"
	"io"
	"testing"

	"github.com/openloop/openloop/guidellm/stats"
)

// BenchmarkWriteJSON writes a report of 100,000 requests that are made as they are asked for. MB/s is of the text.
func BenchmarkWriteJSON(b *testing.B) {
	const n = 100_000
	r := &Report{Args: DefaultArgs(), Benchmarks: []*Benchmark{{Requests: Requests{Successful: manyRequests(n)}}}}
	var counted countingWriter
	if err := writeJSON(&counted, r); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(counted))
	b.ReportAllocs()
	for b.Loop() {
		if err := writeJSON(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}

// manyRequests yields one Request n times over, its timings new each time.
func manyRequests(n int) RequestSeq {
	return func(yield func(*Request) bool) {
		made := stats.Request{Timings: stats.NoTimings(), RequestIterations: 260, TokenIterations: 128}
		made.Input = stats.Usage{TextTokens: 256, TextWords: 200, TextCharacters: 1200}
		made.Output = stats.Usage{TextTokens: 128, TextWords: 128, TextCharacters: 768}
		request := &Request{RequestID: "2f1c1f2e-6f2b-4d2d-9d55-5a3c0c1f7a11", RequestType: "chat_completions"}
		for i := range n {
			start := 1795501839.5 + float64(i)/700
			made.ResolveStart, made.RequestStart = start, start+0.00001
			made.FirstTokenIteration, made.LastTokenIteration = start+0.03, start+0.665
			made.RequestEnd, made.ResolveEnd, made.Finalized = start+0.6651, start+0.6652, start+0.6653
			request.setStats(&made)
			if !yield(request) {
				return
			}
		}
	}
}

type countingWriter int64

func (c *countingWriter) Write(p []byte) (int, error) {
	*c += countingWriter(len(p))
	return len(p), nil
}

// BenchmarkRead reads a report of 10,000 requests, some 20 MB. MB/s is of the text.
func BenchmarkRead(b *testing.B) {
	r := &Report{Args: DefaultArgs(), Benchmarks: []*Benchmark{{Requests: Requests{Successful: manyRequests(10_000)}}}}
	var text bytes.Buffer
	if err := writeJSON(&text, r); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(bytes.NewReader(text.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadOpenLoop finds the member at the end of such a report.
func BenchmarkReadOpenLoop(b *testing.B) {
	r := &Report{Args: DefaultArgs(), Benchmarks: []*Benchmark{{Requests: Requests{Successful: manyRequests(10_000)}}}}
	var text bytes.Buffer
	if err := writeJSON(&text, r); err != nil {
		b.Fatal(err)
	}
	text.Truncate(text.Len() - 1)
	text.WriteString(`, "openloop": {"version": "1"}}`)
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if raw, err := ReadOpenLoop(bytes.NewReader(text.Bytes())); err != nil || raw == nil {
			b.Fatal(err)
		}
	}
}
