package loadgen

import (
	"bytes"
	"net"
	"testing"

	sse "github.com/tmaxmax/go-sse"
)

// The benchmarks of the hot path: what one token costs, step by step, and all together. None may allocate.

func BenchmarkScanner(b *testing.B) {
	data := []byte(tokenEvent(" token"))
	var d delta
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if !d.scan(data) || !d.token {
			b.Fatal("not understood")
		}
	}
}

// BenchmarkDecode is the scanner's twin by encoding/json, for comparison.
func BenchmarkDecode(b *testing.B) {
	data := []byte(tokenEvent(" token"))
	var d delta
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := d.decode(data); err != nil || !d.token {
			b.Fatal(err)
		}
	}
}

func BenchmarkEventSplitter(b *testing.B) {
	stream := []byte("data: " + tokenEvent(" token") + "\n\n")
	n := 0
	s := eventSplitter{emit: func([]byte, bool) { n++ }}
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.feed(stream); err != nil {
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
	var t template
	var d delta
	if err := t.parse(&d, first); err != nil {
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

// BenchmarkToken is everything in user space that a token costs once its bytes were read.
func BenchmarkToken(b *testing.B) {
	x := hotExchange()
	read := []byte(tokenChunk(" token"))
	now := int64(0)
	b.SetBytes(int64(len(read)))
	b.ReportAllocs()
	for b.Loop() {
		now += 5_000_000
		x.user, x.stamp, x.kernel = now+10_000, now, true
		x.takeRead(b, read)
		x.afresh()
	}
}

// BenchmarkTokenOverLoopback is a token from the server's write to the record, both ends in one goroutine: nothing waits.
func BenchmarkTokenOverLoopback(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	below, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer below.Close()
	s, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	cn := &conn{Conn: below, below: below, buf: make([]byte, 4096)}
	if sc, ok := newStampedConn(below); ok {
		cn.Conn, cn.stamped = sc, sc
	}
	x := hotExchange()
	token := []byte(tokenChunk(" token"))
	b.SetBytes(int64(len(token)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Write(token); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < len(token); {
			if err := x.read(cn); err != nil {
				b.Fatal(err)
			}
			got += cn.w - cn.r
			x.takeRead(b, cn.buf[cn.r:cn.w])
			cn.r = cn.w
		}
		x.afresh()
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
