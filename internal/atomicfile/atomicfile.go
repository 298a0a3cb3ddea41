// Package atomicfile writes files whole or not at all.
package atomicfile

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Write writes a file by way of another name in the same folder: whatever goes wrong, the file is either whole or as it
// was before, and nothing else is left in the folder. The content is on the disk when Write returns nil. The error is
// that of write, or of the file system. The file is readable by all (0644).
func Write(name string, write func(io.Writer) error) error {
	f, err := Create(name)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<16)
	if err := write(out); err != nil {
		f.Abandon()
		return err
	}
	if err := out.Flush(); err != nil {
		f.Abandon()
		return err
	}
	return f.Commit()
}

// File is a file that is being written. It gets its name when it is whole: see Commit. Until then it is in the same
// folder as NAME.part-N, which is also where a killed program leaves it.
type File struct {
	out  file
	name string
	part string // "" where the name is of a device or a pipe, which is written to as it is
}

// file is what File needs of an *os.File.
type file interface {
	io.WriteCloser
	Chmod(os.FileMode) error
	Sync() error
}

// Create begins a file. What already has its name stays as it is until Commit.
func Create(name string) (*File, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.EISDIR}
	} else if err == nil && !info.Mode().IsRegular() {
		// A device or a pipe can't be written beside. A pipe that nobody reads is an error and not waited for.
		out, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		return &File{out: out, name: name}, nil
	}
	parts.Lock()
	defer parts.Unlock()
	if parts.ended {
		return nil, &fs.PathError{Op: "create", Path: name, Err: os.ErrClosed}
	}
	out, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-*")
	if err != nil {
		return nil, underName(err, name)
	}
	parts.names[out.Name()] = true
	return &File{out: out, name: name, part: out.Name()}, nil
}

// Name is the name that the file is to have.
func (f *File) Name() string { return f.name }

// Write implements io.Writer. It is not buffered.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.out.Write(p)
	return n, underName(err, f.name)
}

// Truncate takes back what was written beyond so many bytes. Of a device or a pipe nothing can be taken back.
func (f *File) Truncate(size int64) error {
	out, ok := f.out.(interface {
		Truncate(int64) error
		io.Seeker
	})
	if f.part == "" || !ok {
		return nil
	}
	err := out.Truncate(size)
	if err == nil {
		_, err = out.Seek(size, io.SeekStart)
	}
	return underName(err, f.name)
}

// Commit ends the file and gives it its name, in the place of what had it. The content is on the disk when it returns
// nil; else nothing is left of it, and what had the name is still there.
func (f *File) Commit() error {
	err := f.finish()
	if err == nil && f.part != "" {
		err = os.Rename(f.part, f.name)
	}
	if err != nil {
		f.remove()
		return underName(err, f.name)
	}
	if f.part != "" {
		f.forget()
		syncFolder(filepath.Dir(f.name))
	}
	return nil
}

// Abandon ends the file and removes it.
func (f *File) Abandon() {
	f.out.Close()
	f.remove()
}

// finish writes what there is to the disk and closes the file in any case.
func (f *File) finish() (err error) {
	defer func() {
		if closeErr := f.out.Close(); err == nil {
			err = closeErr
		}
	}()
	if f.part == "" {
		return nil
	}
	if err := f.out.Chmod(0o644); err != nil { // CreateTemp's files are readable by their owner alone
		return err
	}
	return f.out.Sync() // a full disk may show itself only here
}

func (f *File) remove() {
	if f.part != "" {
		os.Remove(f.part)
		f.forget()
	}
}

func (f *File) forget() {
	parts.Lock()
	defer parts.Unlock()
	delete(parts.names, f.part)
}

// parts are the files of the program that are not whole. They are known to all, since a program that is to end at once
// has nobody left to ask who was writing what.
var parts = struct {
	sync.Mutex
	names map[string]bool
	ended bool // no other may begin
}{names: map[string]bool{}}

// RemoveParts removes all files that are not whole, and lets no other begin: for a program that ends at once.
func RemoveParts() {
	parts.Lock()
	defer parts.Unlock()
	parts.ended = true
	for name := range parts.names {
		os.Remove(name)
	}
}

// underName is an error of the file system about a file by the name that it is to have.
func underName(err error, name string) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return &fs.PathError{Op: path.Op, Path: name, Err: path.Err}
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return &fs.PathError{Op: link.Op, Path: name, Err: link.Err}
	}
	return err
}

// syncFolder puts the new name on the disk, too. Not every file system can; the content is safe without it.
func syncFolder(name string) {
	if folder, err := os.Open(name); err == nil {
		_ = folder.Sync()
		folder.Close()
	}
}
