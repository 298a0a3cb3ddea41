package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func folderHolds(t *testing.T, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the folder holds %v, want %v", got, want)
	}
}

func TestWrite(t *testing.T) {
	folder := t.TempDir()
	name := filepath.Join(folder, "report.json")
	for _, content := range []string{"first", "second, longer than the first"} {
		if err := Write(name, func(w io.Writer) error {
			_, err := io.WriteString(w,
				content)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); string(got) != content {
			t.Errorf("got %q %v, want %q", got, err, content)
		}
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	folderHolds(t, folder, "report.json")
}

// A write that fails half way leaves the old file, and no other.
func TestWriteFails(t *testing.T) {
	folder := t.TempDir()
	name := filepath.Join(folder, "report.json")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := Write(name, func(w io.Writer) error {
		w.Write(make([]byte, 1<<20))
		return syscall.ENOSPC
	})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(name); string(got) != "old" {
		t.Errorf("the old file holds %q", got)
	}
	folderHolds(t, folder, "report.json")

	err = Write(filepath.Join(folder, "none", "report.json"), func(io.Writer) error { return nil })
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	// The name is a folder's: the rename fails, after all was written.
	if err := Write(folder, func(io.Writer) error { return nil }); err == nil {
		t.Error("a folder was replaced by a file")
	}
	folderHolds(t, filepath.Dir(folder), filepath.Base(folder))
}

// fullDisk is a file on a disk that fills up after so many bytes, which shows at one of several steps.
type fullDisk struct {
	room          int
	atSync, atEnd bool
	closed        int
}

func (f *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (f *fullDisk) Chmod(os.FileMode) error { return nil }

func (f *fullDisk) Sync() error {
	if f.atSync {
		return syscall.ENOSPC
	}
	return nil
}

func (f *fullDisk) Close() error {
	f.closed++
	if f.atEnd {
		return syscall.ENOSPC
	}
	return nil
}

// A full disk is an error at whatever step it shows: in a write, in the sync or in the close.
func TestFullDisk(t *testing.T) {
	const size = 200_000
	for name, c := range map[string]struct {
		disk *fullDisk
		want error
	}{
		"at once":      {&fullDisk{}, syscall.ENOSPC},
		"half way":     {&fullDisk{room: size / 2}, syscall.ENOSPC},
		"at the last":  {&fullDisk{room: size - 1}, syscall.ENOSPC},
		"in the sync":  {&fullDisk{room: size, atSync: true}, syscall.ENOSPC},
		"in the close": {&fullDisk{room: size, atEnd: true}, syscall.ENOSPC},
		"never":        {&fullDisk{room: size}, nil},
	} {
		folder := t.TempDir()
		f := &File{out: c.disk, name: filepath.Join(folder, "report.json"), part: filepath.Join(folder, "part")}
		if err := os.WriteFile(f.part, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := f.Write(make([]byte, size))
		if err != nil {
			f.Abandon()
		} else {
			err = f.Commit()
		}
		if !errors.Is(err, c.want) || c.disk.closed != 1 {
			t.Errorf("%s: got %v, closed %d times", name, err, c.disk.closed)
		}
		if c.want == nil {
			folderHolds(t, folder, "report.json")
		} else {
			folderHolds(t, folder)
		}
	}
}

// What had the name is there until the new file is whole, and an error speaks of that name.
func TestCommit(t *testing.T) {
	folder := t.TempDir()
	name := filepath.Join(folder, "load.jsonl")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Create(name)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("new"))
	if got, _ := os.ReadFile(name); string(got) != "old" {
		t.Errorf("before the end it holds %q", got)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "new" {
		t.Errorf("at the end it holds %q", got)
	}
	folderHolds(t, folder, "load.jsonl")

	if f, err = Create(name); err != nil {
		t.Fatal(err)
	}
	f.Abandon()
	folderHolds(t, folder, "load.jsonl")
	if _, err := Create(filepath.Join(folder, "none", "f")); err == nil || strings.Contains(err.Error(), "part") {
		t.Errorf("no folder: %v", err)
	}
	if _, err := Create(folder); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("a folder: %v", err)
	}
}

// Devices and pipes are written to, and never replaced; a pipe that nobody reads is not waited for.
func TestDevices(t *testing.T) {
	folder := t.TempDir()
	pipe := filepath.Join(folder, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	text := func(w io.Writer) error {
		_, err := io.WriteString(w, "text")
		return err
	}
	if err := Write(pipe, text); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("a pipe without a reader: %v", err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := Write(pipe, text); err != nil {
		t.Error(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(reader, got); err != nil || string(got) != "text" {
		t.Errorf("the pipe gave %q %v", got, err)
	}
	if _, err := os.Stat("/dev/full"); err == nil {
		link := filepath.Join(folder, "full") // so that a failure of this test does no harm to the machine
		if err := os.Symlink("/dev/full", link); err != nil {
			t.Fatal(err)
		}
		if err := Write(link, text); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("/dev/full: %v", err)
		}
	}
	folderHolds(t, folder, "full", "pipe")
}

// A program that ends at once leaves no part of a file.
func TestRemoveParts(t *testing.T) {
	defer func() { parts.ended = false }()
	folder := t.TempDir()
	name := filepath.Join(folder, "report.json")
	f, err := Create(name)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("half"))
	RemoveParts()
	folderHolds(t, folder)
	if _, err := Create(name); err == nil {
		t.Error("another was begun")
	}
	if err := f.Commit(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("committed after all: %v", err)
	}
	folderHolds(t, folder)
}
