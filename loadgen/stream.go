package loadgen

import (
	"bytes"
	"errors"
)

// maxEvent bounds one line of a stream, and the data of one event: a server that never ends them must not fill the memory.
const maxEvent = 16 << 20

var (
	errChunk     = errors.New("bad chunked transfer encoding")
	errLongEvent = errors.New("a line or an event of the stream exceeds 16 MiB")
)

// eventSplitter cuts a stream of bytes, fed in any pieces, into server-sent events (WHATWG HTML, section 9.2.6), without
// allocating once its buffers have grown. go-sse's Read is its oracle in the tests; here events are handed on while the
// read that brought them is known, which is what their times hang on.
type eventSplitter struct {
	// emit is called with the data of every event that has data; it must not keep the slice.
	emit func(data []byte, isError bool)

	lines int32 // lines seen, blank ones included

	line    []byte // the beginning of a line whose end has not come yet
	data    []byte // the event's data where it cannot be a view: several data lines, or lines from several feeds
	view    []byte // the event's data inside what is being fed
	hasData bool
	isError bool // the event's type is "error"
	skipLF  bool // the last line ended with \r; a \n that follows belongs to it
	begun   bool
}

// reset makes it ready for another stream; its buffers are kept.
func (s *eventSplitter) reset() {
	*s = eventSplitter{emit: s.emit, line: s.line[:0], data: s.data[:0]}
}

// feed takes the next bytes of the stream.
func (s *eventSplitter) feed(p []byte) error {
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
			if len(s.line)+len(p) > maxEvent {
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
	if len(s.data) > maxEvent {
		return errLongEvent
	}
	return nil
}

// keepView copies the event's data, which so far is a view into bytes that are about to go.
func (s *eventSplitter) keepView() {
	if s.view != nil {
		s.data = append(s.data[:0], s.view...)
		s.view = nil
	}
}

// endLine takes one whole line without its end.
func (s *eventSplitter) endLine(line []byte) {
	if !s.begun {
		s.begun = true
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	s.lines++
	if len(line) == 0 {
		if s.hasData {
			data := s.data
			if s.view != nil {
				data = s.view
			}
			s.emit(data, s.isError)
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

// rest returns the data of an event that the stream ended before its blank line. The standard discards it, and so must
// whoever gets it, unless it is the [DONE] of a server that does not end its last event.
func (s *eventSplitter) rest() []byte {
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

// framing takes an HTTP/1.1 body out of its transfer encoding, fed in any pieces.
type framing struct {
	chunked bool
	left    int64 // bytes left of the chunk, or of the body (−1: until the connection closes)
	state   chunkState
	digits  int
	done    bool
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerLine
	trailerLF
)

// next returns the first run of body bytes in p, a view into it, and how many bytes of p it used up. With done set the
// body has ended and the rest of p is not part of it.
func (f *framing) next(p []byte) (body []byte, used int, err error) {
	if f.done {
		return nil, 0, nil
	}
	if !f.chunked {
		if f.left < 0 {
			return p, len(p), nil
		}
		n := min(int64(len(p)), f.left)
		f.left -= n
		f.done = f.left == 0
		return p[:n], int(n), nil
	}
	for used < len(p) {
		b := p[used]
		switch f.state {
		case chunkSize:
			switch digit := hexDigit(b); {
			case digit >= 0:
				if f.digits++; f.digits > 15 {
					return nil, used, errChunk
				}
				f.left = f.left<<4 | int64(digit)
			case f.digits == 0:
				return nil, used, errChunk
			case b == '\r':
				f.state = chunkSizeLF
			case b == '\n':
				f.endSize()
			case b == ';' || b == ' ' || b == '\t':
				f.state = chunkExtension
			default:
				return nil, used, errChunk
			}
			used++
		case chunkExtension:
			if b == '\n' {
				f.endSize()
			}
			used++
		case chunkSizeLF:
			if b != '\n' {
				return nil, used, errChunk
			}
			f.endSize()
			used++
		case chunkData:
			n := int(min(int64(len(p)-used), f.left))
			body = p[used : used+n]
			if f.left -= int64(n); f.left == 0 {
				f.state = chunkDataCR
			}
			return body, used + n, nil
		case chunkDataCR:
			switch b {
			case '\r':
				f.state = chunkDataLF
			case '\n':
				f.state = chunkSize
			default:
				return nil, used, errChunk
			}
			used++
		case chunkDataLF:
			if b != '\n' {
				return nil, used, errChunk
			}
			f.state = chunkSize
			used++
		case trailerStart:
			switch b {
			case '\n':
				f.done = true
				return nil, used + 1, nil
			case '\r':
				f.state = trailerLF
			default:
				f.state = trailerLine
			}
			used++
		case trailerLine:
			if b == '\n' {
				f.state = trailerStart
			}
			used++
		case trailerLF:
			if b != '\n' {
				return nil, used, errChunk
			}
			f.done = true
			return nil, used + 1, nil
		}
	}
	return nil, used, nil
}

// endSize is called at the end of a chunk's size line.
func (f *framing) endSize() {
	f.digits = 0
	f.state = chunkData
	if f.left == 0 {
		f.state = trailerStart
	}
}

func hexDigit(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'a' && b <= 'f':
		return int(b-'a') + 10
	case b >= 'A' && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}
