package endpoint

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// escapers are ways in which servers, proxies and logs write a text.
var escapers = []struct {
	name   string
	escape func(string) string
}{
	{"as it is", func(s string) string { return s }},
	{"Go's JSON", func(s string) string { b, _ := json.Marshal(s); return strings.Trim(string(b), `"`) }},
	{"PHP's JSON", func(s string) string { return strings.Trim(strings.ReplaceAll(quoteASCII(s), "/", `\/`), `"`) }},
	{"a string of Go", func(s string) string { return strings.Trim(strconv.Quote(s), `"`) }},
	{"a query", url.QueryEscape},
	{"a path", url.PathEscape},
	{"a path in lower case", func(s string) string { return escapeEach(s, "%%%02x") }},
	{"HTML", html.EscapeString},
	{"HTML's numbers", func(s string) string { return escapeEach(s, "&#%d;") }},
	{"HTML's hex numbers", func(s string) string { return escapeEach(s, "&#x%04X;") }},
	{"JSON's numbers", func(s string) string { return escapeEach(s, `\u%04x`) }},
	{"hex numbers", func(s string) string { return escapeEach(s, `\x%02X`) }},
	{"JavaScript's numbers", func(s string) string { return escapeEach(s, `\u{%x}`) }},
	{"octal numbers", func(s string) string { return escapeEach(s, `\%03o`) }},
	{"Python's long numbers", func(s string) string { return escapeEach(s, `\U%08x`) }},
}

func escapeEach(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

func quoteASCII(s string) string { return strconv.QuoteToASCII(s) }

// encoders write a text in such a way that it may be a part of a longer one.
var encoders = []func(string) string{
	func(s string) string { return s },
	func(s string) string { return hex.EncodeToString([]byte(s)) },
	func(s string) string { return fmt.Sprintf("%X", s) },
	func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
	func(s string) string { return base64.StdEncoding.EncodeToString([]byte("a" + s + "bc")) },
	func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("ab" + s + "c")) },
}

// A key stays hidden under every pair of escapings, and under an encoding in an escaping.
func TestRedactorFindsNestedEscapes(t *testing.T) {
	const secret = `sk-can/ary+0&1=2%41"x\y`
	r := NewRedactor(NewSecret("Bearer " + secret))
	check := func(what, text string) {
		if got := r.Redact("<" + text + ">"); got != "<[redacted]>" {
			t.Errorf("%s: %q became %q", what, text, got)
		}
	}
	for _, inner := range escapers {
		for _, outer := range escapers {
			check(inner.name+" in "+outer.name, outer.escape(inner.escape(secret)))
		}
	}
	for i, encode := range encoders {
		for _, outer := range escapers {
			text := outer.escape(encode(secret))
			// A few characters of what stands before and after stay, and those that share a group of bits with them.
			most := len(redacted) + 2*len(outer.escape("AAAA"))
			if got := r.Redact(text); !strings.Contains(got, redacted) || len(got) > most {
				t.Errorf("encoding %d in %s: %q became %q", i, outer.name, text, got)
			}
		}
	}
}

// A key that a server hides under up to three escapings is found, whatever stands around it.
func FuzzRedactor(f *testing.F) {
	for i := range escapers {
		f.Add("before ", " after", `/"&<+%`, uint8(i), uint8(i+1), uint8(0), uint8(i))
	}
	f.Add(`\`, `\`, `\\`, uint8(1), uint8(1), uint8(1), uint8(0))
	f.Add(`%`, `41;`, `%41`, uint8(4), uint8(7), uint8(1), uint8(0))
	f.Fuzz(func(t *testing.T, before, after, within string, first, second, third, encoder uint8) {
		for _, c := range []byte(within) {
			if c < ' ' || c >= 0x7f { // no header may hold it
				return
			}
		}
		if strings.ContainsAny(within, `\`) && len(within) > 1 {
			return // of several backslashes JSON in JSON leaves any number: they are taken for one
		}
		secret := "sk-canary" + within + "0123456789"
		hidden := encoders[int(encoder)%len(encoders)](secret)
		for _, n := range []uint8{first, second, third} {
			hidden = escapers[int(n)%len(escapers)].escape(hidden)
		}
		// What stands before must not make another escape of it.
		if strings.TrimRight(before, `\%&0123456789abcdefABCDEFuUx#{;`) != before {
			return
		}
		got := NewRedactor(NewSecret("Bearer " + secret)).Redact(before + hidden + after)
		if strings.Contains(before+after, hidden) {
			return
		}
		if strings.Contains(got, hidden) || strings.Contains(got, "sk-canary"+within) {
			t.Errorf("%q with %q: got %q", secret, hidden, got)
		}
	})
}

// What is not a secret stays, and redaction does not fail on any text.
func FuzzRedactorKeeps(f *testing.F) {
	f.Add(`{"a":"\u0041%41&amp;&#x41;\x41\101"}`)
	f.Add(`\u{`)
	f.Add(`&#x;%%%\`)
	f.Fuzz(func(t *testing.T, text string) {
		const secret = "sk-canary-0123456789abcdef"
		if got := NewRedactor(NewSecret(secret)).Redact(text); got != text && !strings.Contains(got, redacted) {
			t.Errorf("%q became %q", text, got)
		}
	})
}

// An address never shows what stands before its host, and no error shows anything that may be a password.
func FuzzParseBase(f *testing.F) {
	for _, s := range []string{
		"http://me:%s@host", "http://%s@host", "http://me:%s", "http://h:%s/v1", "%s@host", "http:/me:%s@host",
		"http//me:%s@h://x", "http://me:%s%%40host:1/", "http://h/?k=%s", "http://h/#%s", "//me:%s@h", "http://%s:@h",
		"http://me:a#%s@h", "http://me:a/%s@h", "http://[::1]:%s", "http://me:%s@[::1]:80/v1",
	} {
		before, after, _ := strings.Cut(strings.ReplaceAll(s, "%%", "%"), "%s")
		f.Add(before, after)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "canary7"
		if strings.Contains(before+after, secret) {
			return
		}
		given := before + secret + after
		a, login, err := ParseBase(given)
		shown := fmt.Sprint(a, login, err)
		rest := given
		if _, r, ok := strings.Cut(given, "://"); ok {
			rest = r
		}
		if !strings.Contains(rest, secret) {
			return // in the scheme
		}
		if i := strings.LastIndexByte(before, '@'); i >= 0 && !strings.Contains(after, "@") {
			rest = given[i+1:] // in the host, or after it
		}
		authority, _, _ := strings.Cut(rest, "/")
		if strings.HasPrefix(authority, "[") {
			return // an IPv6 address has colons of its own
		}
		mayBeSecret := strings.Contains(after, "@") || strings.Contains(authority, ":") &&
			strings.Index(authority, secret) > strings.Index(authority, ":")
		if mayBeSecret && strings.Contains(shown, secret) {
			t.Errorf("%q: %s", given, shown)
		}
	})
}
