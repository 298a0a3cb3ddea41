// Package stream reads what an OpenAI-compatible server answers: it cuts the bytes of a stream into server-sent events
// (splitter.go), finds in each what it says (delta.go: content, usage, finish, error), by a scanner that allocates
// nothing (scanner.go) and where that is not sure by encoding/json, which is the definition (decode.go), and puts a
// server's errors into words (message.go). It knows no clock and no connection.
package stream

import (
	"bytes"
	"errors"
)

// MaxEvent is the most bytes of one line of a stream, and of the data of one event: a server that never ends them must
// not fill the memory.
const MaxEvent = 16 << 20

var errLongEvent = errors.New("a line or an event of the stream exceeds 16 MiB")

// Splitter cuts a stream of bytes, fed in any pieces, into server-sent events (WHATWG HTML, section 9.2.6), without
// allocating once its buffers have grown. go-sse's Read is its oracle in the tests; here events are handed on while the
// read that brought them is known, which is what their times hang on.
type Splitter struct {
	// Emit is called with the data of every event that has data; it must not keep the slice.
	Emit func(data []byte, isError bool)

	// Lines counts the lines seen, blank ones included.
	Lines int32

	line    []byte // the beginning of a line whose end has not come yet
	data    []byte // the event's data where it cannot be a view: several data lines, or lines from several feeds
	view    []byte // the event's data inside what is being fed
	hasData bool
	isError bool // the event's type is "error"
	skipLF  bool // the last line ended with \r; a \n that follows belongs to it
	begun   bool
}

// Reset makes it ready for another stream; its buffers are kept.
func (s *Splitter) Reset() {
	*s = Splitter{Emit: s.Emit, line: s.line[:0], data: s.data[:0]}
}

// Trim lets go of buffers that hold more than so many bytes, between two streams.
func (s *Splitter) Trim(most int) {
	for _, buffer := range []*[]byte{&s.line, &s.data} {
		if cap(*buffer) > most {
			*buffer = nil
		}
	}
}

// Feed takes the next bytes of the stream.
func (s *Splitter) Feed(p []byte) error {
	for len(p) > 0 {
		if s.skipLF {
			s.skipLF = false
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		end := bytes.IndexByte(p, '\n')
		next := end + 1
		head := p
		if end >= 0 {
			head = p[:end]
		}
		if cr := bytes.IndexByte(head, '\r'); cr >= 0 {
			end, next = cr, cr+1
			if next == len(p) {
				s.skipLF = true
			} else if p[next] == '\n' {
				next++
			}
		}
		if end < 0 {
			if len(s.line)+len(p) > MaxEvent {
				return errLongEvent
			}
			s.line = append(s.line, p...)
			break
		}
		line := p[:end]
		if len(s.line) > 0 {
			s.line = append(s.line, line...)
			s.keepView() // the new line lies in a buffer that the next line will overwrite
			s.endLine(s.line)
			s.keepView()
			s.line = s.line[:0]
		} else {
			s.endLine(line)
		}
		p = p[next:]
	}
	s.keepView()
	if len(s.data) > MaxEvent {
		return errLongEvent
	}
	return nil
}

// keepView copies the event's data, which so far is a view into bytes that are about to go.
func (s *Splitter) keepView() {
	if s.view != nil {
		s.data = append(s.data[:0], s.view...)
		s.view = nil
	}
}

// endLine takes one whole line without its end.
func (s *Splitter) endLine(line []byte) {
	if !s.begun {
		s.begun = true
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	s.Lines++
	if len(line) == 0 {
		if s.hasData {
			data := s.data
			if s.view != nil {
				data = s.view
			}
			s.Emit(data, s.isError)
		}
		s.data, s.view, s.hasData, s.isError = s.data[:0], nil, false, false
		return
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) {
	case "data":
		switch {
		case !s.hasData:
			s.hasData = true
			s.view = value
			if value == nil { // a line "data" without a colon
				s.data = s.data[:0]
			}
		default:
			s.keepView()
			s.data = append(append(s.data, '\n'), value...)
		}
	case "event":
		s.isError = string(value) == "error"
	}
}

// Rest returns the data of an event that the stream ended before its blank line. The standard discards it, and so must
// whoever gets it, unless it is the [DONE] of a server that does not end its last event.
func (s *Splitter) Rest() []byte {
	if len(s.line) > 0 {
		s.keepView()
		s.endLine(s.line)
		s.keepView()
		s.line = s.line[:0]
	}
	if !s.hasData {
		return nil
	}
	return s.data
}
