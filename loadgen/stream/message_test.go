package stream

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestShorten(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""}, {"  a \n\t b ", "a b"}, {"0123456789", "0123456789"}, {"0123 5678901", "0123 …"},
		{"0123456789 1", "0123456789…"}, {"012345678901", "…"}, {"éééé éééééé", "éééé ééééé…"},
		{"a\xffb", "a\ufffdb"}, {"{\"key\":\"sk-1234\"}", "{\"key\":\"…"},
	} {
		if got := Shorten(test.in, 10); got != test.want {
			t.Errorf("Shorten(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestErrorMessage(t *testing.T) {
	for _, test := range []struct{ body, want string }{
		{`{"error":{"message":"a"}}`, "a"}, {`{"error":"a"}`, "a"}, {`{"message":"a"}`, "a"}, {`{"detail":"a"}`, "a"},
		{`{"error":{"code":7}}`, `{"code":7}`},
		{`{"detail":[{"loc":["body"],"msg":"x"}]}`, `[{"loc":["body"],"msg":"x"}]`},
		{`{"object":"error","message":"old vLLM"}`, "old vLLM"},
		{`{"x":1}`, `{"x":1}`}, {`<h1>502  Bad
Gateway</h1>`, "<h1>502 Bad Gateway</h1>"}, {``, ``}, {`null`, `null`},
	} {
		if got := ErrorMessage([]byte(test.body), nil); got != test.want {
			t.Errorf("ErrorMessage(%q) = %q, want %q", test.body, got, test.want)
		}
	}
}

// A secret that Shorten would cut in half is taken out before.
func TestMessagesAreRedactedBeforeTheyAreShortened(t *testing.T) {
	const secret = "pa!ss!wo!rd!of!some!length"
	redact := func(s string) string { return strings.ReplaceAll(s, secret, "[redacted]") }
	long := strings.Repeat("padding ", 36) + "0123456789 " + secret
	for _, body := range []string{
		long, `{"error":{"message":"` + long + `"}}`, `{"detail":"` + strings.ReplaceAll(long, "!", "\\u0021") + `"}`,
	} {
		text := StatusError(401, http.Header{"Retry-After": {long}}, []byte(body), redact).Error()
		if strings.Contains(text, "pa!ss") {
			t.Errorf("%q gives %q", body, text)
		}
	}
}

func TestCutRetryAfter(t *testing.T) {
	after := func(value string) string {
		return StatusError(429, http.Header{"Retry-After": {value}}, []byte(`{"message":"slow down"}`), nil).Error()
	}
	for text, want := range map[string]time.Duration{
		after("7"): 7 * time.Second, after("0"): 0, after("Wed, 21 Oct 2020 07:28:00 GMT"): 0, after("-1"): -1,
		after("9999999999"): -1, after("1.5"): -1, "HTTP 429 (Retry-After: 7": -1, "HTTP 429": -1, "": -1,
	} {
		before, got, ok := CutRetryAfter(text)
		switch {
		case ok != (want >= 0) || ok && got != want:
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		case ok && before != "HTTP 429 Too Many Requests: slow down" || !ok && before != text:
			t.Errorf("%q: %q is left", text, before)
		}
	}
}

// FuzzCutRetryAfter: what is cut off is what StatusError put there.
func FuzzCutRetryAfter(f *testing.F) {
	for _, seed := range []string{"7", "0", "-1", "07", "1) (Retry-After: 2", ")", "9999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		text := StatusError(429, http.Header{"Retry-After": {value}}, nil, nil).Error()
		before, after, ok := CutRetryAfter(text)
		if !ok && before != text || after < 0 || after > 1<<31*time.Second || !strings.HasPrefix(text, before) {
			t.Errorf("%q: %q, %v, %v", text, before, after, ok)
		}
	})
}
