package recorder

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// file is what is recorded, line by line. After an error it holds whole lines alone.
type file struct {
	out  *os.File
	size int64 // of whole lines
	buf  []byte
}

// createFile makes a new file that only its owner can read: it is about people. A device or a pipe is written to.
func createFile(name string) (*file, error) {
	if info, err := os.Stat(name); err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		out, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		return &file{out: out}, nil
	}
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &file{out: out}, nil
}

// flush writes what waits.
func (f *file) flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	n, err := f.out.Write(f.buf)
	if err != nil {
		if n > 0 {
			_ = f.out.Truncate(f.size) // a line of which only a part found room
		}
		f.buf = nil
		return err
	}
	f.size += int64(n)
	f.buf = f.buf[:0]
	return nil
}

// close puts the file on the disk.
func (f *file) close() error {
	err := f.out.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, fs.ErrInvalid) {
		err = nil // of a device or a pipe
	}
	return errors.Join(err, f.out.Close())
}
