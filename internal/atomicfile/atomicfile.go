// Package atomicfile writes files whole or not at all.
package atomicfile

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
)

// Write writes a file by way of another name in the same folder: whatever goes wrong, the file is either whole or as it
// was before, and nothing else is left in the folder. The content is on the disk when Write returns nil. The error is
// that of write, or of the file system. The file is readable by all (0644).
func Write(name string, write func(io.Writer) error) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(name), ".openloop-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp.Name())
		}
	}()
	if err := fill(temp, write); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return err
	}
	syncFolder(filepath.Dir(name))
	return nil
}

// file is what fill needs of an *os.File.
type file interface {
	io.WriteCloser
	Chmod(os.FileMode) error
	Sync() error
}

// fill writes a file's content to the disk and closes the file in any case.
func fill(f file, write func(io.Writer) error) (err error) {
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	out := bufio.NewWriterSize(f, 1<<16)
	if err := write(out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil { // CreateTemp's files are readable by their owner alone
		return err
	}
	return f.Sync() // a full disk may show itself only here
}

// syncFolder puts the new name on the disk, too. Not every file system can; the content is safe without it.
func syncFolder(name string) {
	if folder, err := os.Open(name); err == nil {
		_ = folder.Sync()
		folder.Close()
	}
}
