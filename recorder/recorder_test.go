package recorder

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// recording is a proxy before a handler, and where it writes.
type recording struct {
	*Recorder
	url   string // of the proxy
	file  string
	mu    sync.Mutex
	notes []string
}

func record(t testing.TB, change func(*Config), upstream http.HandlerFunc) *recording {
	t.Helper()
	back := httptest.NewServer(upstream)
	t.Cleanup(back.Close)
	to, err := url.Parse(back.URL)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recording{file: filepath.Join(t.TempDir(), "t.jsonl")}
	config := Config{
		To: to, File: rec.file, BlockTokens: 16,
		Count: func(s string) int { return len(strings.Fields(s)) },
		Note: func(s string) {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			rec.notes = append(rec.notes, s)
		},
	}
	if change != nil {
		change(&config)
	}
	config.Dial = func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", config.To.Host)
	}
	if rec.Recorder, err = New(config); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rec.url = "http://" + l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- rec.Serve(l) }()
	t.Cleanup(func() {
		rec.shutdown()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return rec
}

// shutdown waits for the requests in flight.
func (r *recording) shutdown() {
	http.DefaultClient.CloseIdleConnections()
	_ = r.Shutdown(context.Background()) // which has no end
}

// lines ends the recording and reads it.
func (r *recording) lines(t testing.TB) (all []Line) {
	t.Helper()
	r.shutdown()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	for s := range bytes.Lines(text) {
		var l Line
		if err := json.Unmarshal(s, &l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

const chatPath = "/v1/chat/completions"

func (r *recording) post(t testing.TB, path, body string) (status int, answer string) {
	t.Helper()
	resp, err := http.Post(r.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// Everything of a request and an answer gets through as it was; nothing that may be secret gets into the file.
func TestPassesThrough(t *testing.T) {
	const secret = "sk-canary"
	var got *http.Request
	rec := record(t, nil, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ := io.ReadAll(r.Body)
		w.Header()["Content-Type"] = nil
		w.Header().Set("X-Request-Id", "42")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
		w.Write(body)
	})
	send := func(method, target, body string) *http.Response {
		req, _ := http.NewRequest(method, rec.url+target, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Set("X-Forwarded-For", "10.1.2.3")
		req.Header.Set("Cookie", "session="+secret)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for _, c := range []struct{ method, target, body string }{
		{"POST", "/v1/chat/completions?key=" + secret, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`},
		{"GET", "/metrics", ""},
		{"DELETE", "/a%2Fb/c;d?x=1;y=%zz", "text"},
	} {
		resp := send(c.method, c.target, c.body)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 307 || string(body) != c.body || resp.Header.Get("X-Request-Id") != "42" ||
			resp.Header.Get("Location") != "/elsewhere" || resp.Header.Get("Content-Type") != "" {
			t.Errorf("%s: %d %q %v", c.target, resp.StatusCode, body, resp.Header)
		}
		if got.Method != c.method || got.RequestURI != c.target ||
			got.Header.Get("Authorization") != "Bearer "+secret ||
			!reflect.DeepEqual(got.Header["X-Forwarded-For"], []string{"10.1.2.3"}) {
			t.Errorf("%s %s arrived as %s %s %v", c.method, c.target, got.Method, got.RequestURI, got.Header)
		}
	}
	lines := rec.lines(t)
	if len(lines) != 1 || lines[0].Status != 307 || lines[0].Path != chatPath || lines[0].Body != nil {
		t.Errorf("%+v", lines)
	}
	text, _ := os.ReadFile(rec.file)
	if strings.Contains(string(text), "canary") || len(rec.notes) > 0 {
		t.Errorf("%s %v", text, rec.notes)
	}
	if s := rec.Summary(); !strings.Contains(s, "recorded 1 requests") || !strings.Contains(s, "2 of other paths") {
		t.Error(s)
	}
}

// Each event reaches the client while the next is not yet sent, and counts are the server's.
func TestStream(t *testing.T) {
	next := make(chan bool)
	rec := record(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"t%d\"}}]}\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
		fmt.Fprint(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":7,"+
			"\"prompt_tokens_details\":{\"cached_tokens\":16}}}\n\ndata: [DONE]\n\n")
	})
	resp, err := http.Post(rec.url+chatPath, "application/json", strings.NewReader(
		`{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	for i := range 3 {
		line, err := in.ReadString('\n')
		if err != nil || !strings.Contains(line, fmt.Sprintf("t%d", i)) {
			t.Fatal(line, err)
		}
		in.ReadString('\n')
		next <- true
	}
	io.Copy(io.Discard, in)
	resp.Body.Close()
	l := rec.lines(t)
	if len(l) != 1 || l[0].InputLength != 40 || l[0].OutputLength != 7 || l[0].Cached != 16 || len(l[0].HashIDs) != 3 ||
		!l[0].Stream || l[0].MaxTokens != 9 || l[0].LengthsFrom != "usage" || l[0].TTFT <= 0 || l[0].End != "" ||
		l[0].Latency < l[0].TTFT || l[0].SessionID != "s1" || l[0].Turn != 1 || l[0].Model != "m" {
		t.Errorf("%+v", l)
	}
}

// A client that goes away takes its request with it.
func TestClientGone(t *testing.T) {
	begun, gone := make(chan bool), make(chan bool)
	rec := record(t, nil, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n")
		w.(http.Flusher).Flush()
		close(begun)
		<-r.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "POST", rec.url+chatPath,
		strings.NewReader(`{"stream":true,"messages":[{"role":"user","content":"one two"}]}`))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-begun
	cancel()
	<-gone // or the test's own limit ends it
	if l := rec.lines(t); len(l) != 1 || l[0].End != "cancelled" || l[0].OutputLength != 1 ||
		l[0].LengthsFrom != "tokenizer" {
		t.Errorf("%+v", l)
	}
}

// An endpoint that dies in the middle of an answer, or is not there, is seen by the client.
func TestEndpointGone(t *testing.T) {
	rec := record(t, nil, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	const body = `{"messages":[{"role":"user","content":"hi"}]}`
	resp, err := http.Post(rec.url+chatPath, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%q looks whole", text)
	}
	resp.Body.Close()
	if l := rec.lines(t); len(l) != 1 || l[0].End != "cut" || l[0].Status != 200 {
		t.Errorf("%+v", l)
	}

	nowhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere.Close()
	rec = record(t, func(c *Config) { c.To = &url.URL{Scheme: "http", Host: nowhere.Addr().String()} }, nil)
	for range 2 {
		if status, text := rec.post(t, chatPath, body); status != 502 || !strings.Contains(text, "did not answer") {
			t.Error(status, text)
		}
	}
	if l := rec.lines(t); len(l) != 0 || rec.upstream.Load() != 2 || rec.unread.Load() != 0 || len(rec.notes) != 1 {
		t.Errorf("%+v %v", l, rec.notes)
	}
}

// A full disk ends the recording, and not the traffic.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	rec := record(t, func(c *Config) { c.File = "/dev/full" }, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	for i := range 200 {
		body := fmt.Sprintf(`{"messages":[{"role":"user","content":"%d %s"}]}`, i, strings.Repeat("text ", 20_000))
		if status, text := rec.post(t, chatPath, body); status != 200 || text != body {
			t.Fatal(i, status, len(text))
		}
	}
	rec.shutdown()
	if err := rec.Close(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Error(err)
	}
	if len(rec.notes) != 1 || !strings.Contains(rec.notes[0], "the traffic goes on") || rec.written.Load() != 0 {
		t.Error(rec.notes, rec.written.Load())
	}
}

// A connection that is taken over, as for a websocket, is passed through.
func TestUpgrade(t *testing.T) {
	rec := record(t, nil, func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		buf.Flush()
		line, _ := buf.ReadString('\n')
		fmt.Fprint(buf, line)
		buf.Flush()
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(rec.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v1/realtime HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := in.ReadString('\n'); line != "hello\n" {
		t.Error(line, err)
	}
}

// Answers that come at once are whole, over connections that are used again and again.
func TestManyAnswers(t *testing.T) {
	rec := record(t, nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
		w.(http.Flusher).Flush()
		time.Sleep(100 * time.Microsecond)
		w.Write(body)
	})
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 100 {
				body := fmt.Sprintf(`{"messages":[{"role":"user","content":"%d %d"}]}`, worker, i)
				if status, text := rec.post(t, chatPath, body); status != 200 || text != body+body {
					t.Error(worker, i, status, text)
				}
			}
		})
	}
	all.Wait()
	for _, l := range rec.lines(t) {
		if l.End != "" {
			t.Fatalf("%+v", l)
		}
	}
}

// Sessions are found by what was said before, and texts are written where that was asked for.
func TestSessions(t *testing.T) {
	n := 0
	rec := record(t, func(c *Config) { c.Texts = true }, func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("Content-Type", "application/json")
		if n == 4 {
			fmt.Fprint(w, `{"choices":[{"index":0,"message":{"content":null,"tool_calls":[{"id":"call_1"}]}}]}`)
			return
		}
		fmt.Fprintf(w, `{"choices":[{"index":0,"message":{"content":" answer %d"},"finish_reason":"stop"}]}`, n)
	})
	const user, said = `{"role":"user","content":%q}`, `{"role":"assistant","content":%q}`
	list := func(messages ...string) string { return `{"messages":[` + strings.Join(messages, ",") + `]}` }
	u := func(s string) string { return fmt.Sprintf(user, s) }
	a := func(s string) string { return fmt.Sprintf(said, s) }
	for _, body := range []string{
		list(u("one")),                                // s1
		list(u("one")),                                // s2: alike, and another
		list(u("one"), a("answer 1"), u("two")),       // s1, turn 2
		list(u("x"), a("never said"), u("y")),         // s3
		list(u("one"), a(" answer 1 "), u("instead")), // s4: the answer was gone on from
		list(u("x"), a("never said"), u("y"), `{"role":"assistant","tool_calls":[{"id":"call_1"}]}`,
			`{"role":"tool","content":"7"}`), // s3, turn 2
		list(u("one"), a("answer 1"), u("two"), a("answer 3"), u("three")), // s1, turn 3
		`{"messages":"what"}`,
	} {
		rec.post(t, chatPath, body)
	}
	var got []string
	lines := rec.lines(t)
	for _, l := range lines {
		got = append(got, fmt.Sprint(l.SessionID, ".", l.Turn))
	}
	if want := strings.Fields("s1.1 s2.1 s1.2 s3.1 s4.1 s3.2 s1.3"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if string(lines[0].Body) != list(u("one")) || lines[0].Answer != " answer 1" {
		t.Errorf("%+v", lines[0])
	}
	if rec.unread.Load() != 1 {
		t.Error(rec.unread.Load())
	}
}

// Prompts that begin alike have the same identifiers there, and each has as many as it has blocks.
func TestIdentifiers(t *testing.T) {
	p := newPrefixes(16)
	text := func(words ...string) []byte { return []byte(strings.Join(words, "")) }
	a, b, c := strings.Repeat("a", 640), strings.Repeat("b", 640), strings.Repeat("c", 640)
	shared := func(x, y []int64) (n int) {
		for n < min(len(x), len(y)) && x[n] == y[n] {
			n++
		}
		return n
	}
	first := p.identifiers(text(a, b), 320) // 4 bytes a token
	for _, c := range []struct {
		name           string
		text           []byte
		tokens, shared int
	}{
		{"the same", text(a, b), 320, 20},
		{"half", text(a, c), 320, 10},
		{"longer", text(a, b, c), 481, 20},
		{"other", text(c), 160, 0},
		{"fewer tokens than were shared", text(a, b), 100, 7},
		{"short", text("x"), 1, 0},
		{"no text", nil, 33, 0},
	} {
		ids := p.identifiers(c.text, c.tokens)
		if want := (c.tokens + 15) / 16; len(ids) != want {
			t.Errorf("%s: %d identifiers, want %d", c.name, len(ids), want)
		}
		if got := shared(first, ids); got != c.shared {
			t.Errorf("%s: shares %d blocks, want %d", c.name, got, c.shared)
		}
	}
}

func TestForgets(t *testing.T) {
	g := generations[int]{limit: 2}
	for i := range uint64(5) {
		g.put(i, int(i))
		g.get(0)
	}
	if _, ok := g.get(0); !ok {
		t.Error("what is asked for was forgotten")
	}
	if _, ok := g.get(1); ok || !g.forgot || len(g.young)+len(g.old) > 4 {
		t.Error(g)
	}
}

func FuzzBody(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url"}]}`+
		`,{"role":"assistant","tool_calls":[{"id":"c"}]}],"tools":[{}],"max_tokens":3}`), 40)
	f.Add([]byte(`{"prompt":[[1,2],"x",3]}`), 1)
	f.Fuzz(func(t *testing.T, body []byte, tokens int) {
		a, err := readBody(body)
		if err != nil {
			return
		}
		p := newPrefixes(16)
		tokens = min(max(1, tokens), 1<<16)
		for range 2 {
			if ids := p.identifiers(a.text, tokens); len(ids) != (tokens+15)/16 {
				t.Fatal(len(ids), tokens)
			}
		}
		var n int64
		said := message{role: "assistant", text: "yes"}
		id, turn := p.session(&n, a.messages, &said)
		if next, after := p.session(&n, append(a.messages, said), nil); next != id || after != turn+1 {
			t.Fatal(next, id)
		}
	})
}

// copying is a proxy that copies bytes and does nothing else: what a second connection costs by itself.
func copying(b *testing.B, to string) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				return
			}
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					defer way[1].Close()
					buf := make([]byte, 32<<10)
					for {
						n, err := way[0].Read(buf)
						if _, failed := way[1].Write(buf[:n]); failed != nil || err != nil {
							return
						}
					}
				}()
			}
		}
	}()
	return "http://" + l.Addr().String()
}

// BenchmarkAdded sends requests straight, through the proxy, and through one that only copies, in turn, and says what
// each takes to the first token. They are as far apart as those of a load are: what a proxy runs is not in the
// processor's caches.
func BenchmarkAdded(b *testing.B) {
	rec := record(b, nil, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for range 8 {
			fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n")
			w.(http.Flusher).Flush()
		}
	})
	body := `{"stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("word ", 256) + `"}]}`
	var took [3][]time.Duration
	bases := []string{rec.config.To.String(), rec.url, copying(b, rec.config.To.Host)}
	for b.Loop() {
		for i, base := range bases {
			start := time.Now()
			resp, err := http.Post(base+chatPath, "application/json", strings.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			resp.Body.Read(make([]byte, 64))
			took[i] = append(took[i], time.Since(start))
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			time.Sleep(10 * time.Millisecond)
		}
	}
	for i, name := range []string{"straight", "recorded", "copied"} {
		slices.Sort(took[i])
		b.ReportMetric(float64(took[i][len(took[i])/2].Microseconds()), name+"-p50-µs")
		b.ReportMetric(float64(took[i][len(took[i])*99/100].Microseconds()), name+"-p99-µs")
	}
}

// What clients send is read without net/http.
func TestPlainHeads(t *testing.T) {
	to := &url.URL{Scheme: "http", Host: "to:1"}
	client := "POST /v1/chat/completions HTTP/1.1\r\nHost: a:1\r\nUser-Agent: openloop/1\r\nContent-Length: 12\r\n" +
		"Authorization: Bearer x\r\nContent-Type: application/json\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n\r\n"
	for text, plain := range map[string]bool{
		client: true,
		strings.Replace(client, "POST", "PUT", 1):                           false,
		strings.Replace(client, "HTTP/1.1", "HTTP/1.0", 1):                  false,
		strings.Replace(client, "/v1", "http://a/v1", 1):                    false,
		strings.Replace(client, "/v1", "/%76", 1):                           false,
		strings.Replace(client, "Host: a:1", "Host: a:1\r\nHost: b", 1):     false,
		strings.Replace(client, "Host: a:1\r\n", "", 1):                     false,
		strings.Replace(client, "Accept: */*", "Content-Length: 12", 1):     false,
		strings.Replace(client, "Length: 12", "Length: +12", 1):             false,
		strings.Replace(client, "Accept: */*", "Transfer-Encoding: a", 1):   false,
		strings.Replace(client, "Accept: */*", "Upgrade: websocket", 1):     false,
		strings.Replace(client, "Accept: */*", "Accept: */*\r\n folded", 1): false,
		strings.Replace(client, "Accept: */*", "Accept : */*", 1):           false,
		strings.Replace(client, "Accept: */*", "Accept: \x01", 1):           false,
		strings.Replace(client, "Accept: */*\r\n", "Accept: */*\n", 1):      false,
	} {
		h, ok := plainHead([]byte(text), to)
		if ok != plain {
			t.Errorf("%q: plain: %v", text, ok)
		}
		if want := strings.Replace(text, "a:1", "to:1", 1); ok && (string(h.out) != want || h.length != 12) {
			t.Errorf("%q of %d bytes, want %q", h.out, h.length, want)
		}
	}
}

// What passes is what came, whatever the framing, with the endpoint's name and path in place of the proxy's.
func TestFraming(t *testing.T) {
	got := make(chan string, 1)
	rec := record(t, func(c *Config) { c.To.Path = "/base" }, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s %s %s %s %v", r.Method, r.RequestURI, r.Host, body, r.Trailer)
		if r.Method == "POST" {
			fmt.Fprint(w, "done")
		}
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(rec.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	host := rec.config.To.Host
	for _, c := range []struct{ name, request, want string }{
		{"a length", "POST /a?b=%2f HTTP/1.1\r\nHost: proxy\r\nContent-Length: 4\r\n\r\nbody",
			"POST /base/a?b=%2f H body map[]"},
		{"no body", "HEAD / HTTP/1.1\r\nhost: proxy\r\n\r\n", "HEAD /base/ H  map[]"},
		{"a line before", "\r\nGET /x HTTP/1.1\nHost: proxy\n\n", "GET /base/x H  map[]"},
		{"as a proxy is asked", "GET http://proxy/y HTTP/1.1\r\nHost: proxy\r\n\r\n", "GET /base/y H  map[]"},
		{"chunks", "POST /c HTTP/1.1\r\nHost: proxy\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" +
			"3;note=1\r\nbod\r\nA\r\ny 23456789\r\n0\r\nX-Sum: 7\r\n\r\n",
			"POST /base/c H body 23456789 map[X-Sum:[7]]"},
		{"100 Continue", "POST /d HTTP/1.1\r\nHost: proxy\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
			"POST /base/d H hi map[]"},
	} {
		for _, piece := range strings.SplitAfter(c.request, "\r\n") { // it may come in pieces
			fmt.Fprint(conn, piece)
		}
		if g, want := <-got, strings.Replace(c.want, " H ", " "+host+" ", 1); g != want {
			t.Errorf("%s: %q arrived, want %q", c.name, g, want)
		}
		method, _, _ := strings.Cut(strings.TrimSpace(c.request), " ")
		resp, err := readAnswer(in, method)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(c.name, resp, err)
		}
		if text, err := io.ReadAll(resp.Body); err != nil || method == "POST" && string(text) != "done" {
			t.Errorf("%s: %q %v", c.name, text, err)
		}
	}
}

// What is no request is answered, and nothing of it gets to the endpoint.
func TestRefuses(t *testing.T) {
	rec := record(t, nil, func(http.ResponseWriter, *http.Request) { t.Error("the endpoint was asked") })
	for _, c := range []struct {
		request string
		status  int
	}{
		{"what\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400},
		{"PRI * HTTP/2.0\r\n\r\n", 505},
		{"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", mostHead) + "\r\n\r\n", 431},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(rec.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		go fmt.Fprint(conn, c.request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != c.status {
			t.Errorf("%.40q: %v %v, want %d", c.request, resp, err, c.status)
		}
		conn.Close()
	}
}

// An endpoint that closes its connection while the client still sends: the client has its answer all the same.
func TestAnswersEarly(t *testing.T) {
	rec := record(t, nil, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	})
	for range 20 {
		if status, text := rec.post(t, chatPath, strings.Repeat("x", 1<<20)); status != 413 || text != "too large\n" {
			t.Fatal(status, text)
		}
	}
}

// Requests in flight are waited for, and cut when that takes too long; new ones are not taken.
func TestShutdown(t *testing.T) {
	begun, next := make(chan bool), make(chan bool)
	rec := record(t, nil, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		begun <- true
		<-next
		io.WriteString(w, "whole")
	})
	answers := make(chan string, 2)
	ask := func() {
		resp, err := http.Post(rec.url+chatPath, "application/json", strings.NewReader(
			`{"messages":[{"role":"user","content":"hi"}]}`))
		if err != nil {
			answers <- "cut"
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		answers <- string(text)
	}
	go ask()
	<-begun
	go ask()
	<-begun
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error)
	go func() { over <- rec.Shutdown(ctx) }()
	next <- true
	if got := <-answers; got != "whole" {
		t.Error(got)
	}
	cancel()
	if err := <-over; err == nil {
		t.Error("a request in flight was not said to be cut")
	}
	if got := <-answers; got != "cut" {
		t.Error(got)
	}
	close(next)
	if _, err := http.Post(rec.url+chatPath, "", nil); err == nil {
		t.Error("a client was served after the end")
	}
	ends := map[string]int{} // the answer that came last may be read first
	for _, l := range rec.lines(t) {
		ends[l.End]++
	}
	if !maps.Equal(ends, map[string]int{"": 1, "cancelled": 1}) {
		t.Error(ends)
	}
}

// A head that is passed on says what came, but for the endpoint's name and path; and those that are read here are read
// as net/http reads them.
func FuzzHead(f *testing.F) {
	f.Add([]byte("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"))
	f.Add([]byte("GET /v1/models?a=b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"))
	f.Add([]byte("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\ncontent-length: 3\r\n\r\n"))
	f.Add([]byte("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add([]byte("POST /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nX:\r\n\r\n"))
	f.Add([]byte("\r\nGET http://h/ HTTP/1.0\nA: b\n c\n\n"))
	to := &url.URL{Scheme: "http", Host: "to:1", Path: "/base"}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := readHead(bufio.NewReaderSize(bytes.NewReader(in), 64), to)
		if err != nil {
			return
		}
		text, err := headText(bufio.NewReaderSize(bytes.NewReader(in), 64))
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			t.Fatalf("%q is no request: %v", text, err)
		}
		length := req.ContentLength
		if len(req.TransferEncoding) > 0 {
			length = -1
		}
		if h.method != req.Method || h.path != req.URL.Path || h.length != length ||
			h.upgrades != (req.Header.Get("Upgrade") != "") ||
			!bytes.Equal(h.out, address(text, req.Method, targetOf(req), req.Proto, to)) {
			t.Fatalf("%q: %+v, %q; net/http reads %+v", text, h, h.out, req)
		}
		again, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(h.out)))
		if err != nil {
			t.Fatalf("%q is not a request any more: %v", h.out, err)
		}
		if again.Method != req.Method || again.ContentLength != req.ContentLength ||
			len(again.TransferEncoding) != len(req.TransferEncoding) || !reflect.DeepEqual(again.Header, req.Header) {
			t.Fatalf("%+v became %+v", req, again)
		}
	})
}
