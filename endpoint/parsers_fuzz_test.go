package endpoint

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/openloop/openloop/loadgen/stream"
)

// escape writes every character of a text in the form that the next of some bytes names, as it is where they have
// ended: the escapes of JSON, of URLs and of HTML.
func escape(text string, forms []byte) string {
	var b strings.Builder
	for i, r := range text {
		form := byte(0)
		if i < len(forms) {
			form = forms[i]
		}
		if form %= 9; r == '\\' && form == 7 {
			form = 0 // what escapes with backslashes doubles them
		}
		if form == 2 && strings.Contains(text, `\`) {
			form = 1 // and again for JSON in JSON
		}
		switch form {
		case 0:
			quoted, _ := json.Marshal(string(r))
			b.Write(quoted[1 : len(quoted)-1])
		case 1:
			fmt.Fprintf(&b, `\u%04x`, r)
		case 2:
			fmt.Fprintf(&b, `\\u%04X`, r)
		case 3:
			b.WriteString(url.QueryEscape(string(r)))
		case 4:
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "%%%02x", c)
			}
		case 5:
			fmt.Fprintf(&b, "&#%d;", r)
		case 6:
			fmt.Fprintf(&b, "&#x%X;", r)
		case 7:
			b.WriteString(html.EscapeString(string(r)))
		case 8:
			if r < ' ' || r == '"' || r == '\\' {
				quoted := strconv.Quote(string(r))
				b.WriteString(quoted[1 : len(quoted)-1])
			} else {
				b.WriteString(`\` + string(r)) // as PHP does a slash
			}
		}
	}
	return b.String()
}

// FuzzEscapedSecret: a secret does not survive in a text, in whatever form each of its characters is written, and a
// text that can't hold it stays as it is.
func FuzzEscapedSecret(f *testing.F) {
	for _, inside := range []string{"", "/", `"`, `\`, "é", "<&>", "+ %", "日本", "a=b;c=d", "\t", "'", "%41"} {
		for _, forms := range []string{"", "\x01", "\x08\x08\x08", "\x02\x03\x04\x05\x06\x07\x08", "\x05\x06\x05\x06"} {
			f.Add("before ", inside, " after", []byte(strings.Repeat(forms, 9)))
		}
	}
	f.Add(`{"a":"\`, "x", `\"}`, []byte{0})
	f.Add("%", "&", ";", []byte{4, 7})
	const canary = "Q7xZ-Q7xZ"
	f.Fuzz(func(t *testing.T, before, inside, after string, forms []byte) {
		secret := inside + canary + inside
		switch {
		case len(before)+len(inside)+len(after) > 4096, !utf8.ValidString(secret):
			return
		case strings.ContainsAny(inside, "[]"), strings.TrimSpace(secret) != secret:
			return // "[redacted]" itself would be a part of one, and headers are trimmed
		case strings.ContainsFunc(inside, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }):
			return // in no header
		case strings.Contains(secret+secret, `\\`) && len(forms) > 0:
			return // of several backslashes, each in a form of its own, any number may be meant
		case strings.Contains(before+after, "Q"), strings.ContainsFunc(inside, isBeyond16Bits):
			return
		}
		for name, r := range map[string]Redactor{
			"alone": NewRedactor(NewSecret(secret)), "bearer": NewRedactor(NewSecret("Bearer " + secret)),
			"basic": NewRedactor(login(url.UserPassword("me", secret))),
		} {
			if name == "basic" && strings.Contains(secret, ":") {
				continue // net/http cuts at the first one, which is another password
			}
			for _, form := range []string{secret, escape(secret, forms)} {
				text := before + form + after
				got := r.Redact(text)
				if strings.Contains(got, form) || strings.Contains(got, canary) {
					t.Fatalf("%s: %q became %q, with the secret %q in it", name, text, got, secret)
				}
				if again := r.Redact(got); again != got {
					t.Fatalf("%s: %q became %q, and then %q", name, text, got, again)
				}
			}
			// No form of a Q in it: nor 51 or 81, its number.
			if text := before + after; !strings.Contains(text, "51") && !strings.Contains(text, "81") {
				if got := r.Redact(text); got != text {
					t.Fatalf("%s: %q, which does not hold %q, became %q", name, text, secret, got)
				}
			}
		}
	})
}

// isBeyond16Bits tells the characters that JSON escapes as two.
func isBeyond16Bits(r rune) bool { return r > 0xffff }

// FuzzBaseURL: a base URL that is taken ends in /v1, says nothing else than what was given, and can be asked.
func FuzzBaseURL(f *testing.F) {
	for _, s := range []string{
		"http://host:8000", "http://host:8000/", "https://host/v1", "http://[::1]:8000/v1///", "HTTP://HOST/x/v1",
		"http://h/v1/chat/completions", "http://h/completions/", "http://h/a%2Fb/v1", "http://h/%76%31",
		"http://h/v1/v1",
		"http://me:p%40w@h/v1", "http://h?x", "http://h#x", "http://h/%zz", "http://h:99999", "http://h:",
		"http://:80",
		"http://h/\x00", "http://h/a b", "http://[fe80::1%25eth0]/", "http://h/..//v1/../v1", "http://h/;x",
		"http://ü.de",
		"http://h\\@x", "http:///h", "http:h", "//h", "http://h/v1/completions/completions", "http://@h",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, secret, err := ParseBase(s)
		if err != nil {
			if !a.IsZero() || !secret.IsEmpty() {
				t.Fatalf("%q: %v, and yet %q", s, err, a)
			}
			return
		}
		given, err := url.Parse(s)
		if err != nil {
			t.Fatalf("%q is taken as %s, and net/url says: %v", s, a, err)
		}
		u, err := url.Parse(a.String())
		if err != nil || !strings.HasSuffix(u.Path, "/v1") || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
			u.Host != given.Host || u.Scheme != given.Scheme {
			t.Fatalf("%q became %q (%v)", s, a, err)
		}
		name, password := "", ""
		if given.User != nil {
			name = given.User.Username()
			password, _ = given.User.Password()
		}
		want := ""
		if name+password != "" {
			want = "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
		}
		if secret.Reveal() != want {
			t.Fatalf("%q has the login %q, want %q", s, secret.Reveal(), want)
		}
		path := strings.TrimSuffix(a.String(), "/v1")
		for _, same := range []string{
			a.String(), a.String() + "/", a.String() + "/chat/completions", a.String() + "/completions", path,
			path + "/",
		} {
			if again, _, err := ParseBase(same); err != nil || again.String() != a.String() {
				if strings.HasSuffix(path, "/v1") || strings.HasSuffix(path, "/completions") ||
					strings.HasSuffix(path, "/") {
					continue // which is then taken for the end that it looks like
				}
				t.Fatalf("%q became %q, and %q becomes %q (%v)", s, a, same, again, err)
			}
		}
		models := a.Join("/models").String()
		req, err := http.NewRequest(http.MethodGet, models, nil)
		if err != nil {
			t.Fatalf("%q: %s can't be asked: %v", s, models, err)
		}
		if line := req.URL.RequestURI(); strings.ContainsAny(line, " \t\r\n\x00\x7f") {
			t.Fatalf("%q: it would be asked for %q", s, line)
		}
	})
}

// shownKey is what a fuzzed answer has in the place of the key that was sent.
const shownKey = "KEY"

// fuzzedServer answers every request with what the fuzzing engine made, the key put in.
type fuzzedServer struct {
	server   *httptest.Server
	endpoint *Endpoint
	status   atomic.Int32
	kind     atomic.Pointer[string] // of every header that is looked at
	body     atomic.Pointer[string]
}

func newFuzzedServer(f *testing.F) *fuzzedServer {
	s := &fuzzedServer{}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for _, name := range []string{"Content-Type", "Location", "Retry-After"} {
			w.Header().Set(name, *s.kind.Load())
		}
		w.WriteHeader(int(s.status.Load()))
		io.WriteString(w, *s.body.Load())
	}))
	f.Cleanup(s.server.Close)
	base, _, err := ParseBase(s.server.URL)
	if err != nil {
		f.Fatal(err)
	}
	c := Config{Address: base, Headers: []Header{{"Authorization", NewSecret("Bearer " + canary)}}}
	if s.endpoint, err = Open(c); err != nil {
		f.Fatal(err)
	}
	return s
}

// answer sets the answer and returns its body.
func (s *fuzzedServer) answer(status int, kind, body string) string {
	kind, body = strings.ReplaceAll(kind, shownKey, canary), strings.ReplaceAll(body, shownKey, canary)
	s.status.Store(int32(status))
	s.kind.Store(&kind)
	s.body.Store(&body)
	return body
}

// checkShown checks that an error is an *Error, and that neither it nor what it wraps shows the key.
func checkShown(t *testing.T, err error, more ...string) {
	t.Helper()
	var failed *Error
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("%T: %v", err, err)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		more = append(more, err.Error())
	}
	for _, text := range more {
		if strings.Contains(text, canary) {
			t.Fatalf("shows the key: %s", text)
		}
	}
}

// FuzzModels: the ids are those that encoding/json finds, and never hold the key.
func FuzzModels(f *testing.F) {
	for _, body := range []string{
		`{"data":[{"id":"a"},{"id":"b"}]}`, `{"data":[]}`, `{"data":null}`, `{"object":"list","data":[{"id":"KEY"}]}`,
		`<html>KEY</html>`, `{"data":[{"id":"` + "\x00\x1b[31m" + `"}]}`, `{"data":[{"id":1}]}`, `[]`, `null`, ``,
		`{"data":{}}`,
		`{"error":{"message":"KEY"}}`, `{"data":[{},{"id":""},{"ID":"x"}]}`, `{"data":[{"id":"a"}]}x`,
	} {
		for _, status := range []int{200, 401, 404, 429, 503} {
			f.Add(status, "application/json", body)
		}
	}
	f.Add(302, "KEY", "")
	s := newFuzzedServer(f)
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		if status < 200 || status > 999 || len(body) > 64<<10 {
			return
		}
		body = s.answer(status, kind, body)
		ids, err := s.endpoint.Models(t.Context())
		checkShown(t, err, ids...)
		if (err == nil) != (len(ids) > 0) {
			t.Fatalf("%d %q: %q, %v", status, body, ids, err)
		}
		if err != nil {
			return
		}
		var want struct{ Data []struct{ ID string } }
		if status != 200 || json.Unmarshal([]byte(body), &want) != nil || len(want.Data) != len(ids) {
			t.Fatalf("%d %q: %q, want %+v", status, body, ids, want)
		}
	})
}

// FuzzTry: on whatever a server streams, the two parsers agree, and what they find is what is in it.
func FuzzTry(f *testing.F) {
	const stream, whole = "text/event-stream", "application/json"
	for _, s := range []struct {
		status     int
		kind, body string
	}{
		{200, stream, event(token) + "data:\n\n" + event(finish)},
		{200, stream, "data: \n\n" + event(token) + event(finish)},
		{200, stream, event(token) + "data:  \n\n" + event("[DONE]")},
		{200, stream, event(token) + event(finish) + event("[DONE]")}, {200, stream, event(token) + event(token)},
		{200, stream, event(`{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":1}}`) + event("[DONE]")},
		{200, stream, ": ping\n\nevent: error\ndata: {\"message\":\"KEY\"}\n\n"}, {200, stream, event("KEY")},
		{200, stream, "\ufeff" + event(token) + event("[DONE]")},
		{200, stream, strings.ReplaceAll(event(token)+event(finish), "\n", "\r\n")},
		{200, stream, event(token) + "data: [DONE]"},
		{200, stream, "data: {\ndata: \"choices\":[]}\n\n" + event(finish)},
		{200, stream, event(`{"error":{"message":"KEY"}}`)},
		{200, stream, event(token) + event("[DONE]") + event(token)},
		{200, stream, event(token) + event("null") + event(finish)},
		{200, stream, event(token) + event("[1]")},
		{200, stream, event(token) + event(`{"choices":[{"text":"KEY"}]}`)},
		{200, stream, event(token) + event(`{"usage":{"completion_tokens":1e9}}`) + event("[DONE]")},
		{200, whole, `{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}`},
		{200, whole, `{"KEY":"KEY"}`},
		{200, "KEY", "KEY"}, {500, "text/plain", "KEY"}, {404, whole, `{"detail":["KEY"]}`}, {302, "", "KEY"},
		{200, "text/event-stream; charset=utf-8", event(token) + event(finish)}, {200, stream, ""},
		{200, stream, "id: 1\n\n"},
	} {
		f.Add(s.status, s.kind, s.body)
	}
	s := newFuzzedServer(f)
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		if status < 200 || status > 999 || len(body) > 64<<10 {
			return
		}
		body = s.answer(status, kind, body)
		trial, err := s.endpoint.Try(t.Context(), "/chat/completions", []byte("{}"), time.Minute)
		checkShown(t, err)
		var failed *Error
		if errors.As(err, &failed) && failed.Cause == CauseReadersDiffer {
			t.Fatalf("%q: %v", body, err)
		}
		if (err == nil) != (trial != nil) {
			t.Fatalf("%q: %+v, %v", body, trial, err)
		}
		if err != nil {
			return
		}
		if status != 200 || trial.PromptTokens < -1 || trial.OutputTokens < -1 || trial.TTFT < 0 || !trial.Ended ||
			trial.Streamed && trial.Tokens > bytes.Count([]byte(body), []byte("data")) {
			t.Fatalf("%d %q: %+v", status, body, trial)
		}
	})
}

// FuzzRefused: whatever an error answer holds, its message is one short line without the key.
func FuzzRefused(f *testing.F) {
	for _, text := range []string{
		"", "KEY", `{"error":{"message":"KEY"}}`, `{"error":"KEY"}`, `{"message":"KEY"}`,
		`{"detail":[{"msg":"KEY"}]}`,
		`{"detail":"KEY"}`, "a\nb\r\nc\td", "\xff\xfe", `{"error":{"message":1}}`, "{", `{"error":"\u004b"}`,
		strings.Repeat("word ", 100) + "KEY", strings.Repeat("x", 280) + "KEY", strings.Repeat("日", 400),
	} {
		f.Add(text, text)
	}
	s := newFuzzedServer(f)
	f.Fuzz(func(t *testing.T, header, body string) {
		header, body = strings.ReplaceAll(header, shownKey, canary), strings.ReplaceAll(body, shownKey, canary)
		const most = 300 // runes, and what is around them
		message := stream.ErrorMessage([]byte(body), s.endpoint.Redact)
		if strings.ContainsAny(message, "\r\n\t") || !utf8.ValidString(message) ||
			utf8.RuneCountInString(message) > most+1 {
			t.Fatalf("%q: %q", body, message)
		}
		for _, status := range []int{302, 401, 404, 503, 999} {
			s.answer(status, header, body)
			_, err := s.endpoint.Models(t.Context())
			if err == nil {
				t.Fatalf("%d is taken", status)
			}
			checkShown(t, err, message)
			if strings.ContainsAny(err.Error(), "\r\n\t") || utf8.RuneCountInString(err.Error()) > 4*most {
				t.Fatalf("%q, %q: %v", header, body, err)
			}
		}
	})
}
