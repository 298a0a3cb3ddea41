package guidellm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
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

// longestName is how long the name of a member may be: none that is known comes near.
const longestName = 32 << 10

// only passes over the object that the text consists of, and returns the value of one of its members as it stands
// there, nil if there is none. No name may stand there twice: who reads the object would take one or the other value.
func (s *skipper) only(wanted string) (value []byte, err error) {
	if c, err := s.next(); err != nil || c != '{' {
		return nil, unexpected(c, err)
	}
	seen := map[string]bool{}
	for {
		switch c, err := s.next(); {
		case err != nil:
			return nil, unexpected(c, err)
		case c == '}':
			if c, err := s.next(); err == nil {
				return nil, fmt.Errorf("something follows the report: %q", c)
			} else if !errors.Is(err, io.EOF) {
				return nil, err
			}
			return value, nil
		case c == ',':
			continue
		case c != '"':
			return nil, unexpected(c, nil)
		}
		name, err := s.name()
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, fmt.Errorf("duplicate object member name %q", name)
		}
		seen[name] = true
		var kept *bytes.Buffer
		if name == wanted {
			kept = &bytes.Buffer{}
		}
		if err := s.pass(kept); err != nil {
			return nil, err
		}
		if kept != nil {
			value = kept.Bytes()
		}
	}
}

// name reads the rest of a name whose first quote was read, and the colon behind it.
func (s *skipper) name() (string, error) {
	quoted := []byte{'"'}
	for text := (inString{open: true}); text.open; {
		part, err := s.in.ReadSlice('"')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", unexpected(0, err)
		}
		text.pass(part)
		if quoted = append(quoted, part...); len(quoted) > longestName {
			return "", fmt.Errorf("a name that is longer than %d kB, the limit", longestName>>10)
		}
	}
	name, err := unquote(quoted)
	if err != nil {
		return "", err
	}
	if c, err := s.next(); err != nil || c != ':' {
		return "", unexpected(c, err)
	}
	return name, nil
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

// pass goes to the end of a value: before the comma or bracket that follows it. What it passes over it keeps, if it is
// told where.
func (s *skipper) pass(keep *bytes.Buffer) error {
	depth := 0
	var text inString
	for {
		if _, err := s.in.Peek(1); err != nil {
			return unexpected(0, err)
		}
		chunk, _ := s.in.Peek(s.in.Buffered())
		i, ended := 0, false
		for i = text.pass(chunk); i < len(chunk) && !ended; i++ {
			switch chunk[i] {
			case '"':
				text.open = true
				i += text.pass(chunk[i+1:])
			case '{', '[':
				depth++
			case ',':
				ended = depth == 0
			case '}', ']':
				depth--
				ended = depth < 0
			}
		}
		if ended {
			i-- // it is the next one's
		}
		i = min(i, len(chunk))
		if keep != nil {
			keep.Write(chunk[:i])
		}
		s.in.Discard(i)
		if ended {
			return nil
		}
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
