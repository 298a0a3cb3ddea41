package stream

import (
	"net/http"
	"strings"
	"testing"
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
