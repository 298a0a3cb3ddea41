package layout

import (
	"slices"
	"testing"
)

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		head, indent, text string
		width              int
		want               []string
	}{
		{"", "", "", 10, []string{""}},
		{"! ", "  ", "", 10, []string{"!"}},
		{"! ", "  ", "one two three", 9, []string{"! one two", "  three"}},
		{"! ", "  ", "one two three", 8, []string{"! one", "  two", "  three"}},
		{"", "", "a wordthatistoolong b", 5, []string{"a", "wordthatistoolong", "b"}},
		{"", "", "  spaces \n\t go ", 80, []string{"spaces go"}},
		{"", "", "世界 世界", 8, []string{"世界", "世界"}}, // each is four columns wide
	} {
		if got := Wrap(c.head, c.indent, c.text, c.width); !slices.Equal(got, c.want) {
			t.Errorf("%q in %d: got %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestPointAt(t *testing.T) {
	for _, c := range []struct {
		text   string
		offset int
		want   string
	}{
		{"a>b", 1, "  a>b\n   ^"},
		{"é\tb", 3, "  é b\n    ^"},
		{"", 0, "  \n  ^"},
		{"ab", 2, "  ab\n    ^"},
	} {
		if got := PointAt(c.text, c.offset); got != c.want {
			t.Errorf("%q at %d: got %q, want %q", c.text, c.offset, got, c.want)
		}
	}
}
