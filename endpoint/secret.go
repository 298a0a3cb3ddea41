package endpoint

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
type Redactor struct{ secrets []string }

// shortestSecret is the fewest bytes that are looked for: the shorter stand in ordinary words.
const shortestSecret = 4

// NewRedactor looks for the given secrets; of one of the form "Bearer sk-…" for its last word too, and of a basic
// authentication for the password in it.
func NewRedactor(secrets ...Secret) Redactor {
	var r Redactor
	for _, s := range secrets {
		text := s.Reveal()
		r.secrets = append(r.secrets, text)
		if _, token, ok := strings.Cut(text, " "); ok {
			r.secrets = append(r.secrets, token)
		}
		h := http.Request{Header: http.Header{"Authorization": {text}}}
		if name, password, ok := h.BasicAuth(); ok {
			r.secrets = append(r.secrets, password, name+":"+password)
			if password == "" { // a key in place of a name
				r.secrets = append(r.secrets, name)
			}
		}
	}
	for _, s := range slices.Clone(r.secrets) {
		r.secrets = append(r.secrets, quotedForms(s)...)
	}
	r.secrets = slices.DeleteFunc(r.secrets, func(s string) bool { return len(s) < shortestSecret })
	// The longest first: one secret may be a part of another.
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
	return r
}

// quotedForms are the ways in which a text with unusual characters stands inside JSON, a Go string or a URL.
func quotedForms(s string) []string {
	var forms []string
	inJSON, _ := json.Marshal(s) // a string never fails
	inGo := strconv.Quote(s)
	for _, form := range []string{
		string(inJSON[1 : len(inJSON)-1]), inGo[1 : len(inGo)-1], url.QueryEscape(s), url.PathEscape(s),
	} {
		if form != s && !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	return forms
}

// Redact returns the text without the secrets.
func (r Redactor) Redact(text string) string {
	for _, s := range r.secrets {
		text = strings.ReplaceAll(text, s, redacted)
	}
	return text
}
