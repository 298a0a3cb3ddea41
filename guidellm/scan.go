package guidellm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// inString follows JSON text through its strings.
type inString struct {
	open    bool // within a string
	escaped bool // a backslash precedes
}

// pass returns how many bytes of a chunk still belong to an open string, the closing quote included.
func (s *inString) pass(chunk []byte) int {
	i := 0
	for s.open && i < len(chunk) {
		switch {
		case s.escaped:
			s.escaped = false
		case chunk[i] == '"':
			s.open = false
		case chunk[i] == '\\':
			s.escaped = true
		}
		i++
	}
	return i
}

// quoteNaN puts the bare words NaN, Infinity and -Infinity, which Python writes and JSON does not have, between quotes.
type quoteNaN struct {
	in      *bufio.Reader
	string  inString
	pending []byte // what stands for a word
}

// Read implements io.Reader.
func (q *quoteNaN) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(q.pending) > 0 {
			n := copy(p, q.pending)
			q.pending = q.pending[n:]
			return n, nil
		}
		if _, err := q.in.Peek(1); err != nil {
			return 0, err
		}
		chunk, _ := q.in.Peek(min(q.in.Buffered(), len(p)))
		n := q.upToWord(chunk)
		if n == 0 {
			if word := q.word(); word != "" {
				q.in.Discard(len(word))
				q.pending = append(q.pending, `"`+word+`"`...)
				continue
			}
			n = 1                   // a minus, or a letter that has no place here: the parser will say so
			chunk, _ = q.in.Peek(n) // looking for a word may have moved what was peeked at before
		}
		copy(p, chunk[:n])
		q.in.Discard(n)
		return n, nil
	}
}

// upToWord returns how many bytes of a chunk come before what may be a bare word.
func (q *quoteNaN) upToWord(chunk []byte) int {
	i := q.string.pass(chunk)
	for ; i < len(chunk); i++ {
		switch c := chunk[i]; {
		case c == '"':
			q.string.open = true
			i += q.string.pass(chunk[i+1:])
		case c == 'N' || c == 'I':
			return i
		case c == '-' && (i+1 == len(chunk) || chunk[i+1] == 'I'):
			return i
		}
	}
	return i
}

func (q *quoteNaN) word() string {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if next, _ := q.in.Peek(len(word)); string(next) == word {
			return word
		}
	}
	return ""
}

// skipper passes over JSON text without looking at what it says, beyond strings and brackets.
type skipper struct{ in *bufio.Reader }

// toMember goes to the value of a member of the object that the text begins with, and says whether there is one.
func (s *skipper) toMember(wanted string) (found bool, err error) {
	if c, err := s.next(); err != nil || c != '{' {
		return false, unexpected(c, err)
	}
	for {
		switch c, err := s.next(); {
		case err != nil:
			return false, unexpected(c, err)
		case c == '}':
			return false, nil
		case c == ',':
			continue
		case c != '"':
			return false, unexpected(c, nil)
		}
		key, err := s.in.ReadSlice('"') // a name with an escape in it is not the one that is looked for
		if err != nil {
			return false, unexpected(0, err)
		}
		name := string(key[:len(key)-1])
		if backslashes := len(name) - len(strings.TrimRight(name, `\`)); backslashes%2 == 1 { // the quote was escaped
			if err := s.pass(inString{open: true}); err != nil {
				return false, err
			}
		}
		if c, err := s.next(); err != nil || c != ':' {
			return false, unexpected(c, err)
		}
		if name == wanted {
			return true, nil
		}
		if err := s.pass(inString{}); err != nil {
			return false, err
		}
	}
}

// next returns the next byte that is not a space.
func (s *skipper) next() (byte, error) {
	for {
		c, err := s.in.ReadByte()
		if err != nil || c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, err
		}
	}
}

// pass goes to the end of a value: before the comma or bracket that follows it. Given an open string, it goes to that
// one's end.
func (s *skipper) pass(text inString) error {
	depth, stringOnly := 0, text.open
	for {
		if _, err := s.in.Peek(1); err != nil {
			return unexpected(0, err)
		}
		chunk, _ := s.in.Peek(s.in.Buffered())
		i := text.pass(chunk)
		if stringOnly && !text.open {
			s.in.Discard(i)
			return nil
		}
		for ; i < len(chunk); i++ {
			switch chunk[i] {
			case '"':
				text.open = true
				i += text.pass(chunk[i+1:])
				continue
			case '{', '[':
				depth++
				continue
			case ',':
				if depth > 0 {
					continue
				}
			case '}', ']':
				if depth--; depth >= 0 {
					continue
				}
			default:
				continue
			}
			s.in.Discard(i)
			return nil
		}
		s.in.Discard(min(i, len(chunk)))
	}
}

func unexpected(c byte, err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	return fmt.Errorf("invalid character %q", c)
}
