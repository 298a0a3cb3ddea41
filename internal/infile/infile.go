// Package infile reads files that somebody else wrote, within limits: none is waited for without an end, and none takes
// all of the memory.
package infile

import (
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Open opens a file that is to be read more than once. What is no regular file, such as a pipe, can't be, and opening
// it might wait for ever.
func Open(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is %s, and only a regular file can be read more than once", name, Kind(info.Mode()))
	}
	return os.Open(name)
}

// Kind says what kind of file a mode is of.
func Kind(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "a regular file"
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// ReadAll reads a whole file of at most so many bytes.
func ReadAll(name string, limit int64) ([]byte, error) {
	f, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d MB, the limit", name, limit>>20)
	}
	return text, err
}

// The limits of Gunzip. A file that is both is not data but an attack on the reader: gzip makes a thousandth of zeros,
// and a tenth of most text.
const (
	LargeMB = 256 // a text beyond this is large
	Times   = 200 // of what is packed, a large text may be so many times as much
)

// Gunzip unpacks. It fails where the text is larger than LargeMB and than Times what is packed.
func Gunzip(packed io.Reader) (io.Reader, error) {
	u := &unpacker{}
	u.packed.from = packed
	var err error
	u.text, err = gzip.NewReader(&u.packed)
	return u, err
}

// unpacker counts what comes and what goes.
type unpacker struct {
	packed counter
	text   *gzip.Reader
	gave   int64
}

// Read implements io.Reader.
func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.text.Read(p)
	if u.gave += int64(n); u.gave > LargeMB<<20 && u.gave > Times*u.packed.read {
		return 0, fmt.Errorf("what gzip packed is larger than %d MB and than %d times its size, the limit: "+
			"is it data? Unpack it to read it all the same", LargeMB, Times)
	}
	return n, err
}

// counter counts what was read. The unpacker reads ahead of what it unpacks, by a buffer that does not matter.
type counter struct {
	from io.Reader
	read int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.read += int64(n)
	return n, err
}
