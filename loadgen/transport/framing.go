package transport

import (
	"errors"
	"fmt"
)

var (
	errChunk = errors.New("bad chunked transfer encoding")
	errExtra = fmt.Errorf("a chunk's extension or the trailers exceed %d KiB", maxExtra>>10)
)

// framing takes an HTTP/1.1 body out of its transfer encoding, fed in any pieces.
type framing struct {
	chunked bool
	left    int64 // bytes left of the chunk, or of the body (−1: until the connection closes)
	state   chunkState
	digits  int
	extra   int // bytes of the extension, or of the trailers, so far
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
			if f.extra++; f.extra > maxExtra {
				return nil, used, errExtra
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
			if f.extra++; f.extra > maxExtra {
				return nil, used, errExtra
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
	f.digits, f.extra = 0, 0
	f.state = chunkData
	if f.left == 0 {
		f.state = trailerStart
	}
}

// hexDigit returns the value of a hexadecimal digit, −1 if it is not one.
func hexDigit(b byte) int {
	if b >= '0' && b <= '9' {
		return int(b - '0')
	}
	if b |= 'a' - 'A'; b >= 'a' && b <= 'f' {
		return int(b-'a') + 10
	}
	return -1
}
