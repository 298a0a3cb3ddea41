package loadgen

import (
	"io"
	"net"
	"testing"
)

// The benchmarks of the hot path as a whole; those of its steps stand in package stream. None may allocate.

// BenchmarkToken is everything in user space that a token costs, its read from memory and its stamp included.
func BenchmarkToken(b *testing.B) {
	c := &readsConn{reads: [][]byte{[]byte(chunkedHead)}}
	r := hotReader(b, c)
	token := []byte(tokenChunk(" token"))
	backing := make([][]byte, 0, 1)
	b.SetBytes(int64(len(token)))
	b.ReportAllocs()
	for b.Loop() {
		c.reads = append(backing, token)
		if r.rec.TokenEvents == mostOutput/2 { // an answer has an end
			r.rec.TokenEvents, r.gaps, r.delays = 0, r.gaps[:0], r.delays[:0]
		}
		r.takeTokens(b, r.rec.TokenEvents+1)
	}
}

// BenchmarkTokenOverLoopback is a token from the server's write to the record, both ends in one goroutine: nothing
// waits.
func BenchmarkTokenOverLoopback(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := io.WriteString(s, chunkedHead); err != nil {
		b.Fatal(err)
	}
	r := hotReader(b, c)
	token := []byte(tokenChunk(" token"))
	b.SetBytes(int64(len(token)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Write(token); err != nil {
			b.Fatal(err)
		}
		r.takeTokens(b, r.rec.TokenEvents+1)
	}
}

func BenchmarkPoisson(b *testing.B) {
	p := NewPoisson(100, 42)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		p.At(i)
		i++
	}
}
