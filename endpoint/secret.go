package endpoint

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// redacted stands wherever a secret would.
const redacted = "[redacted]"

// Secret is a text that must not be seen: printed, formatted or stored in any way it is "[redacted]". The zero value is
// no secret.
type Secret struct {
	// A pointer, since fmt prints what an unexported field of another type holds without asking its methods.
	text *string
}

// NewSecret makes a secret of a text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text, for the wire alone.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsEmpty says whether there is nothing to hide.
func (s Secret) IsEmpty() bool { return s.Reveal() == "" }

// String implements fmt.Stringer, GoString fmt.GoStringer, MarshalText encoding.TextMarshaler: none shows the text.
func (s Secret) String() string {
	if s.IsEmpty() {
		return ""
	}
	return redacted
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the text from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Redactor takes secrets out of texts that came from elsewhere: some servers repeat the key that they refuse. The zero
// value changes nothing.
type Redactor struct {
	secrets []string // the longest first
	escaped *finder
}

// shortestSecret is the fewest bytes that are looked for: the shorter stand in ordinary words.
const shortestSecret = 4

// shortestValue is the same for the values within a header, many of which are words: "theme=dark".
const shortestValue = 8

// NewRedactor looks for the given secrets; of one of the form "Bearer sk-…" for its last word too, of a basic
// authentication for the password in it, and of "name=value; name=value" for the values.
func NewRedactor(secrets ...Secret) Redactor {
	var all []string
	for _, s := range secrets {
		text := s.Reveal()
		all = append(all, text)
		if _, token, ok := strings.Cut(text, " "); ok {
			all = append(all, token)
		}
		h := http.Request{Header: http.Header{"Authorization": {text}}}
		if name, password, ok := h.BasicAuth(); ok {
			all = append(all, password, name+":"+password)
			if password == "" { // a key in place of a name
				all = append(all, name)
			}
			continue
		}
		for _, pair := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("; ,", r) }) {
			if _, value, ok := strings.Cut(pair, "="); ok && len(value) >= shortestValue {
				all = append(all, strings.Trim(value, `"`))
			}
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < shortestSecret })
	for _, s := range slices.Clone(all) {
		if len(s) >= shortestValue {
			all = append(all, encoded(s)...)
		}
	}
	// One secret may be a part of another.
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	all = slices.Compact(all)
	return Redactor{all, newFinder(all)}
}

// Redact returns the text without the secrets, whatever their escaping.
func (r Redactor) Redact(text string) string {
	for _, s := range r.secrets {
		text = strings.ReplaceAll(text, s, redacted)
	}
	if len(r.secrets) == 0 || !strings.ContainsAny(text, escapes) {
		return text
	}
	spans := r.escaped.spans(text)
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.from-b.from, b.to-a.to) })
	var b strings.Builder
	end := 0 // of what was dealt with
	for _, s := range spans {
		switch {
		case s.to <= end:
		case s.from < end: // it overlaps with the one before, which has its mark
			end = s.to
		default:
			b.WriteString(text[end:s.from])
			b.WriteString(redacted)
			end = s.to
		}
	}
	b.WriteString(text[end:])
	return b.String()
}
