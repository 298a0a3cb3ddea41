// Package layout breaks texts for people into lines, and points at places in them.
package layout

import (
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Wrap breaks a text between words into lines of at most width columns: the first behind a head, the others behind an
// indent. A word that is too long has a line for itself.
func Wrap(head, indent, text string, width int) []string {
	var lines []string
	line, used := head, ansi.StringWidth(head)
	begun := false
	for word := range strings.FieldsSeq(text) {
		n := ansi.StringWidth(word)
		switch {
		case !begun:
		case used+1+n > width:
			lines = append(lines, line)
			line, used = indent, ansi.StringWidth(indent)
		default:
			line, used = line+" ", used+1
		}
		line, used, begun = line+word, used+n, true
	}
	return append(lines, strings.TrimRight(line, " "))
}

// PointAt is a text with a caret below the character at an offset in bytes, in two lines, both indented.
func PointAt(text string, offset int) string {
	line := strings.Map(func(r rune) rune { // so that the caret stands below its character
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
	return "  " + line + "\n  " + strings.Repeat(" ", utf8.RuneCountInString(text[:offset])) + "^"
}
