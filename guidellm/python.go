package guidellm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// pythonText writes a JSON value as Python's repr writes what json.loads makes of it. Where the text is not JSON, it is
// written as a Python string.
func pythonText(raw []byte) string {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var b strings.Builder
	if !appendPython(&b, d) {
		return pythonQuote(string(raw))
	}
	return b.String()
}

func appendPython(b *strings.Builder, d *json.Decoder) bool {
	token, err := d.Token()
	if err != nil {
		return false
	}
	switch t := token.(type) {
	case json.Delim:
		b.WriteRune(rune(t))
		for n := 0; d.More(); n++ {
			if n > 0 {
				b.WriteString(", ")
			}
			if !appendPython(b, d) {
				return false
			}
			if t == '{' {
				b.WriteString(": ")
				if !appendPython(b, d) {
					return false
				}
			}
		}
		end, err := d.Token()
		if err != nil {
			return false
		}
		b.WriteRune(rune(end.(json.Delim)))
	case string:
		b.WriteString(pythonQuote(t))
	case json.Number:
		b.WriteString(t.String())
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[t])
	default:
		b.WriteString("None")
	}
	return true
}

// pythonQuote is repr of a str: single quotes unless it holds some and no double ones, the usual escapes, and what
// cannot be printed by its number.
func pythonQuote(s string) string {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteRune(quote)
	return b.String()
}

// pythonList is the text of a Python list of strings.
func pythonList(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = pythonQuote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
