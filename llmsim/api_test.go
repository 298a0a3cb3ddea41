package llmsim

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzRequest sends any body to all endpoints: a request is refused with 400 or 404, or fits the engine.
func FuzzRequest(f *testing.F) {
	f.Add(chatBody(5, 3, ignoreEOS), uint8(chatAPI))
	f.Add(`{"prompt":["a"],"max_tokens":3,"stream":true,"stream_options":{"include_usage":true}}`, uint8(textAPI))
	f.Add(`{"prompt":[1,2,3],"min_tokens":-1}`, uint8(textAPI))
	f.Add(`{"messages":[{"role":"user","content":null}],"max_tokens":null,"max_completion_tokens":7,"n":1}`,
		uint8(chatAPI))
	f.Add(`{"input":"a b","instructions":"c","max_output_tokens":3,"stream":true}`, uint8(responsesAPI))
	f.Add(`{"input":[{"role":"user","content":[{"type":"input_text","text":"a"}]}]}`, uint8(responsesAPI))
	f.Add(`{"messages":[{"role":"user","content":"a"}],"system":"s","max_tokens":3}`, uint8(messagesAPI))
	s, err := NewServer(Config{MaxModelLen: 64, KVCacheTokens: 64})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, body string, kind uint8) {
		by := api(kind) % (messagesAPI + 1)
		req, refused := s.parseRequest(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)), by)
		if refused != nil {
			if refused.status != 400 && refused.status != 404 {
				t.Fatalf("status %d", refused.status)
			}
			return
		}
		if req.promptTokens < 1 || req.maxTokens < 1 || req.promptTokens+req.maxTokens > 64 ||
			req.minTokens > req.maxTokens {
			t.Fatalf("%q is taken as %+v", body, req)
		}
	})
}

func FuzzParseOutputLengths(f *testing.F) {
	f.Add("pareto:128:1.5", 100)
	f.Add("lognormal:1e9:5", 1)
	f.Add("max", 7)
	f.Add(":1", 7)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		o, err := ParseOutputLengths(text)
		if err != nil || limit < 1 {
			return
		}
		if again, err := ParseOutputLengths(o.String()); err != nil || again != o {
			t.Fatalf("%q is written %q, read again as %+v, %v", text, o, again, err)
		}
		for i := range uint64(20) {
			if n, _ := o.Draw(1, i, limit); n < 1 || n > limit {
				t.Fatalf("%s: drew %d of at most %d", o, n, limit)
			}
		}
	})
}

// What is owed at the same time goes out in one write, and shares its time.
func TestTokensOwedTogetherShareAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, Config{Fixed: true, TTFT: 10 * time.Millisecond, TruthTokens: true})
		list, err := events(post(t, c, "/v1/chat/completions", chatBody(5, 50, ignoreEOS)), time.Now())
		if err != nil || len(list) != 53 {
			t.Errorf("%d events, %v", len(list), err)
		}
		synctest.Wait()
		r := s.Truth()[0]
		if r.OutputTokens != 50 || len(r.Tokens) != 50 || r.LastToken-r.Read != int64(10*time.Millisecond) {
			t.Errorf("record %+v", r)
		}
	})
}

// min_tokens holds a sequence that would have stopped.
func TestMinTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, Config{Fixed: true, Output: OutputLengths{Kind: LengthFixed, Mean: 5}})
		for _, x := range []struct {
			body    string
			tokens  int
			outcome string
		}{
			{`{"prompt":"a","max_tokens":20}`, 5, "stop"},
			{`{"prompt":"a","max_tokens":20,"min_tokens":9}`, 9, "stop"},
			{`{"prompt":"a","max_tokens":20,"ignore_eos":true}`, 20, "length"},
			{`{"prompt":"a","max_tokens":3}`, 3, "length"},
			{`{"prompt":"a"}`, 5, "stop"},
		} {
			resp := post(t, c, "/v1/completions", x.body)
			resp.Body.Close()
			synctest.Wait()
			all := s.Truth()
			if r := all[len(all)-1]; r.OutputTokens != x.tokens || r.Outcome != x.outcome {
				t.Errorf("%s: %d tokens, %s", x.body, r.OutputTokens, r.Outcome)
			}
		}
	})
}
