package infile

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func pack(t *testing.T, text io.Reader) *bytes.Buffer {
	t.Helper()
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return &packed
}

func TestGunzip(t *testing.T) {
	const large = LargeMB << 20
	for _, c := range []struct {
		name string
		text io.Reader
		want int64 // −1: refused
	}{
		{"small, and zeros alone", io.LimitReader(zeros{}, large), large},
		{"large, and zeros alone", io.LimitReader(zeros{}, large+1<<20), -1},
		{"large, and not far from what it was packed to", io.MultiReader(
			io.LimitReader(rand.NewChaCha8([32]byte{}), 4<<20), io.LimitReader(zeros{}, large)), large + 4<<20},
	} {
		r, err := Gunzip(pack(t, c.text))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if c.want >= 0 && (err != nil || n != c.want) {
			t.Errorf("%s: %d bytes, %v", c.name, n, err)
		}
		if c.want < 0 && (err == nil || n > large+1<<20 ||
			!strings.Contains(err.Error(), "larger than 256 MB and than 200 times its size")) {
			t.Errorf("%s: %d bytes, %v", c.name, n, err)
		}
	}
	if _, err := Gunzip(strings.NewReader("no gzip at all")); err == nil {
		t.Error("no gzip was unpacked")
	}
}

func TestOpen(t *testing.T) {
	folder := t.TempDir()
	file, pipe := filepath.Join(folder, "file"), filepath.Join(folder, "pipe")
	if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	for name, want := range map[string]string{
		file: "", pipe: "is a pipe, and only a regular file", folder: "is a directory", os.DevNull: "is a device",
		filepath.Join(folder, "none"): "no such file",
	} {
		f, err := Open(name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
	if text, err := ReadAll(file, 4); string(text) != "text" || err != nil {
		t.Errorf("%q %v", text, err)
	}
	if _, err := ReadAll(file, 3); err == nil || !strings.Contains(err.Error(), "the limit") {
		t.Error(err)
	}
}
