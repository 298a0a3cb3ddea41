package loadgen

import (
	"context"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/loadgen/stream"
)

// checkProfile checks what holds for every profile that is taken.
func checkProfile(t *testing.T, p Profile) {
	t.Helper()
	if n := p.Requests(); !(n > 0) || math.IsInf(n, 0) || p.Length() <= 0 {
		t.Fatalf("%+v: %v requests in %v", p, n, p.Length())
	}
	for _, a := range []Arrival{
		{}, {Kind: PoissonArrival}, {Kind: BurstArrival, Size: 3}, {Kind: GammaArrival, CV: 2},
	} {
		schedule := newProfileSchedule(a, p, 0)
		last := time.Duration(-1)
		for i := range 50 {
			at, ok := schedule.At(i)
			if !ok {
				break
			}
			if at < last || at < 0 || at > p.Length()+time.Microsecond {
				t.Fatalf("%+v, %v: request %d at %v, after %v, in %v", p, a, i, at, last, p.Length())
			}
			last = at
		}
	}
}

// FuzzParseRamp: a ramp that is taken has a first and a last rate, and requests that lie within its length.
func FuzzParseRamp(f *testing.F) {
	for _, s := range []string{"1..20", "0..5rps", "5..0", "1e6..1e-6", "0..0", "..", "1..2..3", "NaN..1", "-1..5"} {
		f.Add(s, int64(time.Minute))
	}
	f.Add("1..2", int64(1))
	f.Add("1..2", int64(math.MaxInt64))
	f.Add("1..2", int64(0))
	f.Add("1..2", int64(-5))
	f.Fuzz(func(t *testing.T, s string, length int64) {
		if p, err := ParseRamp(s, min(time.Duration(length), math.MaxInt64-time.Second)); err == nil {
			checkProfile(t, p)
		}
	})
}

// FuzzStages: a profile of several pieces that is taken lasts as long as all of them.
func FuzzStages(f *testing.F) {
	for _, s := range []string{
		"5rps:60s,20rps:30s,5..20rps:60s", "0rps:1h,1rps:1ns", "1rps:2562047h,1rps:2562047h", "1e6rps:2562047h",
		" 1 .. 2 rps:1s", "1rps:1s,", "0..1e-300rps:1ns", "1rps:1s,0rps:10s,1rps:1s",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseProfile(s)
		if err != nil {
			return
		}
		for i, piece := range p {
			if piece.Length > p.Length() || piece.From < 0 || piece.To < 0 {
				t.Fatalf("%q: piece %d is %+v, of %v", s, i, piece, p.Length())
			}
		}
		checkProfile(t, p)
	})
}

// answered is a connection whose server has answered before it was asked, and closed.
type answered struct {
	net.Conn
	unread *strings.Reader
	piece  int
}

func (c *answered) Write(p []byte) (int, error)      { return len(p), nil }
func (c *answered) Read(p []byte) (int, error)       { return c.unread.Read(p[:min(len(p), c.piece)]) }
func (c *answered) Close() error                     { return nil }
func (c *answered) SetDeadline(time.Time) error      { return nil }
func (c *answered) SetReadDeadline(time.Time) error  { return nil }
func (c *answered) SetWriteDeadline(time.Time) error { return nil }

// FuzzAnswer: whatever a server answers, the request ends as one that completed or failed with a reason, its times in
// their order, its counts within what came, and the key that the server repeats in none of its texts.
func FuzzAnswer(f *testing.F) {
	const eventStream, object = "text/event-stream", "application/json"
	for _, s := range []struct{ status, kind, body string }{
		{"200 OK", eventStream, completion("a", "KEY", "c")}, {"200 OK", eventStream, completion()},
		{"200 OK", eventStream, "data: [DONE]"}, {"200 OK", eventStream, "data: KEY\n\n"},
		{"200 OK", eventStream, ""},
		{"200 OK", eventStream, "event: error\ndata: KEY\n\n"}, {"200 OK", eventStream, ": KEY\n\n\n\n\r\r"},
		{"200 OK", eventStream, "data: {\"error\":{\"message\":\"KEY\"}}\n\n"},
		{"200 OK", eventStream, "data: {\"id\":\"KEY\",\"choices\":[{\"text\":\"K\\u0045Y\"}]}\n\ndata: [DONE]\n\n"},
		{"200 OK", eventStream, completion("a") + completion("b")}, {"200 OK", "KEY", "KEY"},
		{"503 KEY", "text/plain", "KEY"},
		{"200 OK", eventStream, "data: {\"usage\":{\"completion_tokens\":1073741824}}\n\ndata: [DONE]\n\n"},
		{"200 OK", object, `{"id":"KEY","choices":[{"message":{"content":"KEY"},"finish_reason":"stop"}]}`},
		{"200 OK", object, "KEY"},
		{"429 Slow", object, `{"error":{"message":"KEY"}}`}, {"000 Odd", "", ""}, {"101 Switch", "KEY", "KEY"},
		{"204 None", "", ""},
		{"200 OK\r\nContent-Length: 3", eventStream, "data: [DONE]\n\n"}, {"302 Found\r\nLocation: KEY", "", "KEY"},
		{"200 OK\r\nTransfer-Encoding: chunked", eventStream, chunked(completion("a"))}, {"200 OK\r\nKEY", "", ""},
		{"503 Off\r\nRetry-After: KEY", "", ""}, {"200 OK\r\nTransfer-Encoding: chunked", eventStream, "KEY\r\n"},
	} {
		f.Add(s.status, s.kind, s.body, uint16(4096))
		f.Add(s.status, s.kind, s.body, uint16(5))
	}
	f.Fuzz(func(t *testing.T, status, kind, body string, piece uint16) {
		if len(status)+len(kind)+len(body) > 32<<10 {
			return
		}
		defer time.AfterFunc(20*time.Second, func() { panic("hangs") }).Stop()
		response := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\n\r\n%s", status, kind, body)
		response = strings.ReplaceAll(response, "KEY", canary)
		redacted := func(s string) string { return strings.ReplaceAll(s, canary, "[redacted]") }
		client, err := NewClient(Target{
			URL: "http://h/v1/chat/completions", Redact: redacted,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				return &answered{unread: strings.NewReader(response), piece: max(int(piece), 1)}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		a := post(t.Context(), t, client, "{}")
		if t.Failed() {
			t.Fatalf("%q", response)
		}
		for _, text := range []string{a.Detail.Error, a.Output, a.ResponseID} {
			if strings.Contains(text, canary) {
				t.Fatalf("%q: the key is shown in %q", response, text)
			}
		}
		switch {
		case a.Status != Completed && a.Status != Errored, (a.Status == Errored) != (a.Detail.Error != ""),
			(a.Status == Errored) != (a.Err != NoError):
			t.Fatalf("%q: %v, %v, %q", response, a.Status, a.Err, a.Detail.Error)
		case a.Status == Completed && a.HTTPStatus != 200:
			t.Fatalf("%q: status %d completed", response, a.HTTPStatus)
		case int(a.TokenEvents) > strings.Count(response, "data"), int(a.OutputChars) > len(response),
			len(a.Output) > len(response)+len(redacted(response)),
			min(a.OutputTokens, a.PromptTokens, a.CachedTokens) < -1:
			t.Fatalf("%q: %+v", response, a)
		case (a.TokenEvents > 0) != (a.FirstToken > 0), a.TokenEvents > 0 && len(a.gaps) != int(a.TokenEvents)-1:
			t.Fatalf("%q: %d token events, %d gaps, the first at %d", response, a.TokenEvents, len(a.gaps),
				a.FirstToken)
		case utf8.RuneCountInString(a.Detail.Error) > 4096 || strings.Contains(a.Detail.Error, "\n"):
			t.Fatalf("%q: an error of %d bytes: %q", response, len(a.Detail.Error), a.Detail.Error)
		case a.Err == ErrTruncated && a.Finish != stream.NoFinish:
			t.Fatalf("%q: cut short, with a finish reason", response)
		}
	})
}
