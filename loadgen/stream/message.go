package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Redact takes secrets out of a text that came from the server; nil takes nothing.
type Redact func(string) string

func (r Redact) text(s string) string {
	if r == nil {
		return s
	}
	return r(s)
}

// StatusError turns an HTTP status into words, with the message that came with it. Secrets are taken out before the
// message is shortened: half of one could no longer be found.
func StatusError(status int, header http.Header, body []byte, redact Redact) error {
	text := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", status, http.StatusText(status)))
	if message := ErrorMessage(body, redact); message != "" {
		text += ": " + message
	}
	if after, ok := RetryAfter(header, time.Now()); ok {
		text += fmt.Sprintf(" (Retry-After: %d)", (after+time.Second-1)/time.Second)
	} else if after := header.Get("Retry-After"); after != "" {
		text += " (Retry-After: " + Shorten(redact.text(after), messageLength) + ")"
	}
	return errors.New(text)
}

// RetryAfter is how long the head of a response asks to wait (RFC 9110, section 10.2.3): so many seconds, or until a
// date, which counts by the clock of the server where the response has its Date, else from now. ok is false where it
// says neither.
func RetryAfter(header http.Header, now time.Time) (after time.Duration, ok bool) {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if s, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(s) * time.Second, true
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	if sent, err := http.ParseTime(header.Get("Date")); err == nil {
		now = sent
	}
	return max(until.Sub(now), 0), true
}

// CutRetryAfter takes what a server asked to wait off the text of a StatusError. ok is false where it named none, or
// none in seconds.
func CutRetryAfter(text string) (before string, after time.Duration, ok bool) {
	rest, closed := strings.CutSuffix(text, ")")
	at := strings.LastIndex(rest, " (Retry-After: ")
	if !closed || at < 0 {
		return text, 0, false
	}
	s, err := strconv.ParseUint(rest[at+len(" (Retry-After: "):], 10, 31)
	if err != nil {
		return text, 0, false
	}
	return rest[:at], time.Duration(s) * time.Second, true
}

// messageLength is the most runes that are kept of a server's message.
const messageLength = 300

// ErrorMessage finds the message in an error body: OpenAI's {"error":{"message":…}}, a bare {"message":…} or
// {"detail":…}, else the text itself; without secrets, and shortened to one line.
func ErrorMessage(body []byte, redact Redact) string {
	var e struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	message := string(body)
	if json.Unmarshal(body, &e) == nil {
		if e.Message == "" && len(e.Error) > 0 {
			var inner struct {
				Message string `json:"message"`
			}
			if json.Unmarshal(e.Error, &inner) == nil && inner.Message != "" {
				e.Message = inner.Message
			} else if json.Unmarshal(e.Error, &e.Message) != nil {
				e.Message = string(e.Error)
			}
		}
		if e.Message == "" && len(e.Detail) > 0 && json.Unmarshal(e.Detail, &e.Message) != nil {
			e.Message = string(e.Detail)
		}
		if e.Message != "" {
			message = e.Message
		}
	}
	return Shorten(redact.text(message), messageLength)
}

// Clean takes out of a text from elsewhere what a terminal would obey: control characters, line breaks and tabs among
// them, and those that turn the direction of writing. Each becomes one mark, for without any the rest could join to
// what was looked for in vain.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// Shorten keeps a text from elsewhere to one line of at most so many runes, and cleans it. It never cuts inside what
// may be a credential (RFC 6750's b64token).
func Shorten(s string, most int) string {
	s = Clean(strings.Join(strings.Fields(s), " "))
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	inToken := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' ||
			strings.ContainsRune("-._~+/=", r)
	}
	for most > 0 && inToken(r[most-1]) && inToken(r[most]) {
		most--
		for most > 0 && inToken(r[most-1]) {
			most--
		}
	}
	return string(r[:most]) + "…"
}

// ContentCoding is how a body is encoded (RFC 9110, section 8.4), "" where it stands as it is. Nothing here asks for a
// coding, and nothing undoes one: tokens that wait in a compressor have no time of their own.
func ContentCoding(header http.Header) string {
	coding := strings.Join(header.Values("Content-Encoding"), ", ")
	if strings.EqualFold(coding, "identity") {
		return ""
	}
	return coding
}
