package endpoint

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

func TestSecretIsNeverShown(t *testing.T) {
	s := NewSecret("sk-canary")
	held := struct {
		S Secret
		P *Secret
	}{s, &s}
	text, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", held, held, held), string(text),
		fmt.Errorf("%w, %v", fmt.Errorf("%s", s), s).Error(), fmt.Sprint(Header{"Authorization", s}),
		fmt.Sprintf("%#v", Config{Headers: []Header{{"Authorization", s}}}),
	} {
		if NewRedactor(s).Redact(shown) != shown ||
			NewRedactor(NewSecret(fmt.Sprintf("%x", "sk-canary"))).Redact(shown) != shown {
			t.Errorf("%s", shown)
		}
	}
	if s.Reveal() != "sk-canary" || s.IsEmpty() || !(Secret{}).IsEmpty() || (Secret{}).String() != "" {
		t.Error("the secret is lost, or the empty one is shown")
	}
}

func TestRedactor(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("name:pa!ss word"))
	key := "Basic " + base64.StdEncoding.EncodeToString([]byte("sk-as-name:"))
	r := NewRedactor(NewSecret("Bearer sk-canary"), NewSecret("sk-canary-longer"), NewSecret(basic), NewSecret(key),
		NewSecret("abc"), Secret{})
	for in, want := range map[string]string{
		"":                              "",
		"nothing in it":                 "nothing in it",
		"key sk-canary is wrong":        "key [redacted] is wrong",
		"Bearer sk-canary":              "[redacted]",
		"sk-canary-longer":              "[redacted]", // the longest first
		"sk-canarysk-canary":            "[redacted][redacted]",
		"name:pa!ss word":               "[redacted]",
		"pa!ss word":                    "[redacted]",
		basic:                           "[redacted]",
		basic[len("Basic "):]:           "[redacted]",
		"no sk-as-name":                 "no [redacted]",
		"abc is too short to be looked": "abc is too short to be looked",
	} {
		if got := r.Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
	if got := (Redactor{}).Redact("sk-canary"); got != "sk-canary" {
		t.Errorf("the zero value changes %q", got)
	}
}

// Whichever way a server writes the secret, it is found.
func TestRedactorFindsEscapedForms(t *testing.T) {
	const secret = `k/é"y&<1 2\3'`
	r := NewRedactor(NewSecret("Bearer "+secret), NewSecret("session=cookie-value; theme=dark"))
	for name, text := range map[string]string{
		"as it is":          secret,
		"Go's JSON":         `k/é\"y\u0026\u003c1 2\\3'`,
		"PHP's JSON":        `k\/\u00e9\"y&<1 2\\3'`,
		"Python's JSON":     `k/\u00e9\"y&<1 2\\3'`,
		"JSON in JSON":      `k\\/\\u00e9\\\"y&<1 2\\\\3'`,
		"every character":   `\u006B\u002F\u00E9\u0022\u0079\u0026\u003C\u0031\u0020\u0032\u005C\u0033\u0027`,
		"a Go string":       strings.Trim(strconv.QuoteToASCII(secret), `"`),
		"a URL":             url.QueryEscape(secret),
		"a URL's path":      url.PathEscape(secret),
		"in lower case":     strings.ToLower(url.PathEscape(secret)),
		"HTML":              html.EscapeString(secret),
		"HTML's names":      "k/&#xE9;&quot;y&amp;&lt;1 2\\3&apos;",
		"value of a cookie": "cookie-value",
	} {
		got := r.Redact("before " + text + " after")
		if got != "before [redacted] after" {
			t.Errorf("%s: %q became %q", name, text, got)
		}
	}
	for _, text := range []string{`50 % of \u0041 & more`, "a+b", `C:\keys`, "the theme is light"} {
		if got := r.Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}
