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

// A full disk is an error at whatever step it shows: in a write, in the last flush, in the sync or in the close.
func TestFullDisk(t *testing.T) {
	const size = 200_000
	for name, f := range map[string]*fullDisk{
		"at once": {}, "half way": {room: size / 2}, "in the last flush": {room: size - 1},
		"in the sync": {room: size, atSync: true}, "in the close": {room: size, atEnd: true},
	} {
		err := fill(f, func(w io.Writer) error {
			for range size / 100 {
				if _, err := w.Write(make([]byte, 100)); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, syscall.ENOSPC) || f.closed != 1 {
			t.Errorf("%s: got %v, closed %d times", name, err, f.closed)
		}
	}
	if err := fill(&fullDisk{room: size}, func(w io.Writer) error {
		_,
			err := w.Write(make([]byte, size))
		return err
	}); err != nil {
		t.Errorf("a disk with room: %v", err)
	}
}
