package llmsim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sse "github.com/tmaxmax/go-sse"

	"github.com/openloop/openloop/internal/memnet"
)

// bubble serves cfg in virtual time on a network in memory. It must be called inside a synctest bubble.
func bubble(t *testing.T, cfg Config) (*Server, *http.Client) {
	t.Helper()
	cfg.VirtualTime = true
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln := memnet.Listen()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	transport := &http.Transport{DialContext: ln.Dial, MaxIdleConnsPerHost: 1 << 16}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return s, &http.Client{Transport: transport}
}

// timed is an event and when it came, since the request was sent.
type timed struct {
	at   time.Duration
	data string
}

func post(t *testing.T, c *http.Client, path, body string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://sim"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// events reads a stream to its end through go-sse.
func events(resp *http.Response, start time.Time) (list []timed, err error) {
	defer resp.Body.Close()
	for e, err := range sse.Read(resp.Body, nil) {
		if err != nil {
			return list, err
		}
		list = append(list, timed{time.Since(start), e.Data})
	}
	return list, nil
}

func chatBody(words, output int, more string) string {
	return fmt.Sprintf(
		`{"messages":[{"role":"user","content":[{"type":"text","text":%q}]}],"max_completion_tokens":%d,`+
			`"stream":true%s}`,
		strings.TrimSpace(strings.Repeat("word ", words)), output, more)
}

const ignoreEOS = `,"ignore_eos":true`

// The shapes in testdata/wire were recorded from vLLM 0.23.0 with curl; texts, ids and times are put in.
func TestWireIsVLLMs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Model: "Qwen/Qwen2.5-tiny", Fixed: true})
		_, merged := bubble(t, Config{Model: "Qwen/Qwen2.5-tiny", Fixed: true, FinishWithLastToken: true})
		created := fmt.Sprint(time.Now().Unix())
		const (
			chat  = "/v1/chat/completions"
			model = `"model":"Qwen/Qwen2.5-tiny",`
			hello = `"messages":[{"role":"user","content":"hello there"}]`
			usage = `"stream":true,"stream_options":{"include_usage":true}`
		)
		for _, x := range []struct {
			name, path, body string
			client           *http.Client
		}{
			{"chat", chat,
				`{` + model + hello + `,"max_completion_tokens":2,"ignore_eos":true,` + usage + `}`, merged},
			{"chat with a finish chunk of its own", chat,
				`{` + hello + `,"max_tokens":1,"ignore_eos":true,"stream":true}`, c},
			{"text", "/v1/completions",
				`{` + model + `"prompt":"hello there","max_tokens":2,"ignore_eos":true,` + usage + `}`, merged},
			{"whole chat", chat, `{` + hello + `,"max_tokens":1,"ignore_eos":true}`, c},
			{"whole text", "/v1/completions", `{"prompt":["hello there"],"max_tokens":1,"ignore_eos":true}`, c},
		} {
			resp := post(t, x.client, x.path, x.body, "X-Request-Id", "x")
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: status %d, %v", x.name, resp.StatusCode, err)
			}
			text := strings.ReplaceAll(string(got), `"created":`+created, `"created":0`)
			text = regexp.MustCompile(`"(content|text)":" [a-z]+"`).ReplaceAllString(text, `"$1":"@"`)
			want, err := os.ReadFile(filepath.Join("testdata", "wire", strings.ReplaceAll(x.name, " ", "-")+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			if text != string(want) {
				t.Errorf("%s:\n%s\nvLLM's:\n%s", x.name, text, want)
			}
		}
	})
}

func TestFixedTimingIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t,
			Config{Fixed: true, TTFT: 30 * time.Millisecond, ITL: 5 * time.Millisecond, TruthTokens: true})
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 1300 * time.Microsecond)
				start := time.Now()
				list, err := events(post(t, c, "/v1/chat/completions", chatBody(20, 12, ignoreEOS)), start)
				if err != nil || len(list) != 12+3 {
					t.Errorf("%d events, %v", len(list), err)
					return
				}
				for k, e := range list[1:13] { // after the role
					if want := 30*time.Millisecond + time.Duration(k)*5*time.Millisecond; e.at != want {
						t.Errorf("request %d: token %d after %v, not %v", i, k, e.at, want)
					}
				}
			})
		}
		all.Wait()
		synctest.Wait()
		truth := s.Truth()
		if len(truth) != 40 {
			t.Fatalf("%d records", len(truth))
		}
		for _, r := range truth {
			if r.FirstToken-r.Read != int64(30*time.Millisecond) ||
				r.LastToken-r.FirstToken != int64(55*time.Millisecond) ||
				r.DueFirst != r.FirstToken || r.DueLast != r.LastToken ||
				r.OutputTokens != 12 || r.PromptTokens != 28 || r.Outcome != "length" ||
				len(r.Tokens) != 12 || r.Tokens[0] != r.FirstToken ||
				r.Tokens[11] != r.LastToken ||
				r.End < r.LastToken ||
				r.Status != 200 {
				t.Errorf("record %+v", r)
			}
		}
	})
}

// TestServerIsTheEngine holds the server in virtual time against the engine alone, fed with the same arrivals.
func TestServerIsTheEngine(t *testing.T) {
	for name, spec := range map[string]string{
		"constant speed": "l4-qwen2.5-0.5b?max_num_seqs=6&output=exponential:30",
		"changing speed": "l4-qwen2.5-0.5b?max_num_seqs=6&output=exponential:30&seed=3&" +
			"spells=1s:100ms-500ms:0.5&drift=-0.1:5s&wander=0.2:2s&modes=0.7:1s",
	} {
		t.Run(name, func(t *testing.T) { serverIsTheEngine(t, spec) })
	}
}

func serverIsTheEngine(t *testing.T, spec string) {
	cfg, err := ParseSpec(spec)
	if err != nil {
		t.Fatal(err)
	}
	const requests = 120
	arrivals := make([]time.Duration, requests)
	for i := range arrivals {
		arrivals[i] = time.Duration(i) * 37 * time.Millisecond
	}

	first, last := make([]time.Duration, requests), make([]time.Duration, requests)
	err = replay(cfg, func(i int) (arrival, bool) {
		if i == requests {
			return arrival{}, false
		}
		n, _ := cfg.Output.Draw(cfg.Seed, uint64(i), 200)
		return arrival{arrivals[i], 108, n}, true
	}, func(i int, _ arrival, f, l time.Duration) { first[i], last[i] = f, l })
	if err != nil {
		t.Fatal(err)
	}

	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, cfg)
		start := time.Now()
		var all sync.WaitGroup
		for i := range requests {
			all.Go(func() {
				time.Sleep(arrivals[i])
				list, err := events(post(t, c, "/v1/chat/completions", chatBody(100, 200, "")), start)
				if err != nil || len(list) < 4 {
					t.Errorf("%d events, %v", len(list), err)
					return
				}
				if got := list[1].at; got != first[i] {
					t.Errorf("request %d: first token at %v, the engine's at %v", i, got, first[i])
				}
				if got := list[len(list)-3].at; got != last[i] {
					t.Errorf("request %d: last token at %v, the engine's at %v", i, got, last[i])
				}
			})
		}
		all.Wait()
		synctest.Wait()
		for _, r := range s.Truth() {
			if want, _ := cfg.Output.Draw(cfg.Seed, r.Index, 200); r.OutputTokens != want {
				t.Errorf("request %d: %d tokens, drawn %d", r.Index, r.OutputTokens, want)
			}
		}
	})
}

func TestFaults(t *testing.T) {
	const itl, ttft = 5 * time.Millisecond, 30 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, Config{Fixed: true, TTFT: ttft, ITL: itl})
		ask := func(fault string) ([]timed, *http.Response, error) {
			start := time.Now()
			resp := post(t, c, "/v1/chat/completions", chatBody(5, 8, ignoreEOS), FaultHeader, fault)
			list, err := events(resp, start)
			return list, resp, err
		}

		if _, resp, _ := ask("status=429,retry-after=1500ms"); resp.StatusCode != 429 ||
			resp.Header.Get("Retry-After") != "2" {
			t.Errorf("status: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
		}
		if _, resp, _ := ask("melt"); resp.StatusCode != 400 {
			t.Errorf("an unknown fault: %d", resp.StatusCode)
		}
		if list, _, err := ask("slow-headers=1s"); err != nil || len(list) != 11 || list[1].at != time.Second+ttft {
			t.Errorf("slow headers: %v, %v", list, err)
		}
		list, _, err := ask("stall=2s@5")
		if err != nil || len(list) != 11 || list[4].at != ttft+3*itl || list[5].at != ttft+4*itl+2*time.Second ||
			list[10].at != list[5].at {
			t.Errorf("stall: %v, %v", list, err)
		}
		if list, _, err := ask("cut@7"); !errors.Is(err, io.ErrUnexpectedEOF) || len(list) != 7 {
			t.Errorf("cut: %d events, error %v", len(list), err)
		}
		if list, _, err := ask("garbage@3"); err != nil || len(list) != 12 || json.Valid([]byte(list[3].data)) {
			t.Errorf("garbage: %v, %v", list, err)
		}
		list, resp, err := ask("error@4")
		if err != nil || resp.StatusCode != 200 || len(list) != 6 ||
			list[4].data != `{"error":{"message":"Internal server error","type":"InternalServerError",`+
				`"param":null,"code":500}}` ||
			list[5].data != "[DONE]" {
			t.Errorf("error event: %v, %v", list, err)
		}
		synctest.Wait()
		var outcomes []string
		for _, r := range s.Truth() {
			outcomes = append(outcomes, fmt.Sprint(r.Outcome, " ", r.Status, " ", r.OutputTokens))
		}
		want := []string{
			"refused 429 0", "refused 400 0", "length 200 8", "length 200 8", "cut 200 6", "length 200 8",
			"error 200 3",
		}
		if !slices.Equal(outcomes, want) {
			t.Errorf("truth %q, want %q", outcomes, want)
		}
	})
}

func TestFaultsOfWholeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Fixed: true, TTFT: time.Millisecond, ITL: time.Millisecond})
		body := `{"prompt":"a b","max_tokens":4,"ignore_eos":true}`
		resp := post(t, c, "/v1/completions", body, FaultHeader, "error@2")
		if resp.Body.Close(); resp.StatusCode != 500 {
			t.Errorf("error: %d", resp.StatusCode)
		}
		resp = post(t, c, "/v1/completions", body, FaultHeader, "garbage@2")
		data, _ := io.ReadAll(resp.Body)
		if resp.Body.Close(); json.Valid(data) {
			t.Errorf("garbage: %s", data)
		}
		start := time.Now()
		resp = post(t, c, "/v1/completions", body, FaultHeader, "stall=2s@2")
		if resp.Body.Close(); time.Since(start) < 2*time.Second {
			t.Errorf("stall: answer after %v", time.Since(start))
		}
		r, _ := http.NewRequest(http.MethodPost, "http://sim/v1/completions", strings.NewReader(body))
		r.Header.Set(FaultHeader, "cut@2")
		if resp, err := c.Do(r); err == nil {
			resp.Body.Close()
			t.Errorf("cut: status %d", resp.StatusCode)
		}
	})
}

func TestEveryNthFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Fixed: true, Fault: Fault{Status: 503}, FaultEvery: 3})
		var statuses []int
		for range 7 {
			resp := post(t, c, "/v1/completions", `{"prompt":"a","max_tokens":1}`)
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			statuses = append(statuses, resp.StatusCode)
		}
		if !slices.Equal(statuses, []int{200, 200, 503, 200, 200, 503, 200}) {
			t.Errorf("statuses %v", statuses)
		}
	})
}

func TestClientGoneFreesTheEngine(t *testing.T) {
	for _, name := range []string{"fixed?ttft=50ms", "slow"} {
		synctest.Test(t, func(t *testing.T) {
			cfg, err := ParseSpec(name)
			if err != nil {
				t.Fatal(err)
			}
			s, c := bubble(t, cfg)
			ctx, cancel := context.WithCancel(context.Background())
			for i := range 12 { // more than slow has slots
				body := strings.NewReader(chatBody(5, 100_000%30_000, ignoreEOS))
				r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://sim/v1/chat/completions", body)
				go func() {
					resp, err := c.Do(r)
					if err != nil {
						t.Errorf("request %d: %v", i, err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}()
			}
			time.Sleep(3 * time.Second)
			if s.metrics.running.Load() == 0 {
				t.Error("nothing runs")
			}
			cancel()
			time.Sleep(3 * time.Second)
			if n, w := s.metrics.running.Load(), s.metrics.waiting.Load(); n != 0 || w != 0 {
				t.Errorf("%d running and %d waiting after all clients left", n, w)
			}
			truth := s.Truth()
			if len(truth) != 12 {
				t.Errorf("%d records", len(truth))
			}
			for _, r := range truth {
				if r.Outcome != "abort" {
					t.Errorf("outcome %q", r.Outcome)
				}
			}
		})
	}
}

// A client that does not read fills its buffers; that must not hold up the others, and nothing must be lost.
func TestSlowClientHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, Config{Fixed: true, TTFT: 10 * time.Millisecond, ITL: time.Millisecond})
		const tokens = 12_000 // some 2.4 MB, of which the network in memory takes 1 MiB
		slow := post(t, c, "/v1/chat/completions", chatBody(5, tokens, ignoreEOS))
		time.Sleep(8 * time.Second)
		start := time.Now()
		list, err := events(post(t, c, "/v1/chat/completions", chatBody(5, 100, ignoreEOS)), start)
		if err != nil || len(list) != 103 || list[1].at != 10*time.Millisecond || list[100].at != 109*time.Millisecond {
			t.Errorf("beside a slow client: %d events, %v", len(list), err)
		}
		time.Sleep(8 * time.Second)
		all, err := events(slow, start)
		if err != nil || len(all) != tokens+3 || all[tokens+2].data != "[DONE]" {
			t.Errorf("the slow client got %d events, %v", len(all), err)
		}
		synctest.Wait()
		for _, r := range s.Truth() {
			if r.OutputTokens != 100 && r.OutputTokens != tokens {
				t.Errorf("record %+v", r)
			}
		}
	})
}

func TestTruthFileAndLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, Config{Fixed: true, TruthTokens: true, TruthLimit: 3})
		var file bytes.Buffer
		s.WriteTruth(&file)
		for i := range 5 {
			resp := post(t, c, "/v1/completions", `{"prompt":"a","max_tokens":2,"stream":true}`, "X-Request-Id",
				fmt.Sprint("r", i))
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		kept := s.Truth()
		if len(kept) != 3 || kept[0].RequestID != "r2" || kept[2].RequestID != "r4" {
			t.Errorf("kept %+v", kept)
		}
		lines := 0
		for scan := bufio.NewScanner(&file); scan.Scan(); lines++ {
			var r Truth
			if err := json.Unmarshal(scan.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if r.RequestID != fmt.Sprint("r", lines) || r.Index != uint64(lines) ||
				r.ID != "cmpl-r"+fmt.Sprint(lines) ||
				len(r.Tokens) != 2 ||
				!r.Stream {
				t.Errorf("line %d: %s", lines, scan.Text())
			}
		}
		if lines != 5 {
			t.Errorf("%d lines", lines)
		}
	})
}

func TestTruthWriteErrorIsReported(t *testing.T) {
	s, err := NewServer(Config{Fixed: true})
	if err != nil {
		t.Fatal(err)
	}
	s.WriteTruth(failingWriter{})
	w := httptest.NewRecorder()
	s.ServeHTTP(w,
		httptest.NewRequest(http.MethodPost, "/v1/completions", strings.NewReader(`{"prompt":"a","max_tokens":1}`)))
	if err := s.Close(); !errors.Is(err, errDisk) {
		t.Errorf("close: %v", err)
	}
}

var errDisk = errors.New("disk full")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errDisk }
