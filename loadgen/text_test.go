package loadgen

import "testing"

func countPieces(pieces ...[]byte) (c textCount) {
	for _, p := range pieces {
		c.add(p)
	}
	return c
}

func TestCountWords(t *testing.T) {
	// Counted by CPython 3.11: len(s.split()), len(s).
	for _, test := range []struct {
		text         string
		words, chars int32
	}{
		{"", 0, 0}, {"   ", 0, 3}, {"one", 1, 3}, {" two  words ", 2, 12}, {"a\tb\nc\r\nd\ve\ff", 6, 12},
		{"a\x1cb\x1db\x1ec\x1fd", 5, 9}, {"a\u00a0b\u2003c\u3000d\u0085e", 5, 9}, {"a\u200bb", 1, 3},
		{"a\u180eb", 1, 3}, {"畋쯧 \U0001F600", 2, 4},
		{"a\u2028b\u2029c\u202fd\u205fe\u1680f", 6, 11}, {"a\x00b", 1, 3},
	} {
		if c := countPieces([]byte(test.text)); c.words != test.words || c.chars != test.chars {
			t.Errorf("%q has %d words and %d characters, want %d and %d",
				test.text, c.words, c.chars, test.words, test.chars)
		}
		// In pieces, as tokens come.
		for i := range test.text {
			c := countPieces([]byte(test.text[:i]), []byte(test.text[i:]))
			if c.words != test.words || c.chars != test.chars {
				t.Errorf("%q, %q have %d words and %d characters", test.text[:i], test.text[i:], c.words, c.chars)
			}
		}
	}
}
