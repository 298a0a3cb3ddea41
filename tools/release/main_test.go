package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write writes a file and the folders above it, and returns its path.
func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// args are the arguments of a release in a new folder, of a version at a time, and the folder that it is written to.
func args(t *testing.T) (out string, args []string) {
	in := t.TempDir()
	out = filepath.Join(t.TempDir(), "release")
	write(t, filepath.Join(in, "files", "LICENSE"), "licence", 0o600)
	write(t, filepath.Join(in, "files", "man", "man1", "openloop.1"), "page", 0o644)
	bom := write(t, filepath.Join(in, "bom"),
		"#!/bin/sh\nwhile [ \"$1\" != -output ]; do shift; done\ncp \"$3\" \"$2\"\n", 0o755)
	return out, []string{"-o", out, "-files", filepath.Join(in, "files"), "-bom", bom, "-created", "1700000000",
		"linux/amd64=" + write(t, filepath.Join(in, "amd64"), "program A", 0o644),
		"darwin/arm64=" + write(t, filepath.Join(in, "arm64"), "program B", 0o644)}
}

// contents are the files of an archive, as one line each.
func contents(t *testing.T, path string) string {
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	zipped, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for r := tar.NewReader(zipped); ; {
		header, err := r.Next()
		if err == io.EOF {
			return lines.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%v %d:%d %d %s %q\n", header.FileInfo().Mode(), header.Uid, header.Gid,
			header.ModTime.Unix(), header.Name, data)
	}
}

func TestTwoReleasesAreEqual(t *testing.T) {
	names := []string{checksums, "openloop_darwin_arm64.cdx.json", "openloop_darwin_arm64.tar.gz",
		"openloop_linux_amd64.cdx.json", "openloop_linux_amd64.tar.gz"}
	var first map[string][]byte
	for range 2 {
		out, args := args(t)
		if err := run(args); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		made := map[string][]byte{}
		for _, entry := range entries {
			if made[entry.Name()], err = os.ReadFile(filepath.Join(out, entry.Name())); err != nil {
				t.Fatal(err)
			}
		}
		if len(made) != len(names) {
			t.Errorf("made %v", entries)
		}
		for _, name := range names {
			if len(made[name]) == 0 || first != nil && !bytes.Equal(made[name], first[name]) {
				t.Errorf("%s is not there, or differs", name)
			}
			if line := fmt.Sprintf("%x  %s\n", sha256.Sum256(made[name]), name); name != checksums &&
				!strings.Contains(string(made[checksums]), line) {
				t.Errorf("%s lacks %s", checksums, line)
			}
		}
		want := `-rw-r--r-- 0:0 1700000000 LICENSE "licence"
-rw-r--r-- 0:0 1700000000 man/man1/openloop.1 "page"
-rwxr-xr-x 0:0 1700000000 openloop "program B"
`
		if got := contents(t, filepath.Join(out, "openloop_darwin_arm64.tar.gz")); got != want {
			t.Errorf("the archive holds\n%swanted\n%s", got, want)
		}
		first = made
	}
}

func TestWhatIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(out string, args []string)
		want   string
	}{
		"a folder that holds something": {func(out string, _ []string) {
			write(t, filepath.Join(out, "old.tar.gz"), "old", 0o644)
		}, "is not empty"},
		"an empty file": {func(_ string, args []string) {
			write(t, filepath.Join(args[3], "completions", "openloop.bash"), "", 0o644)
		}, "openloop.bash is empty"},
		"no SBOM": {func(_ string, args []string) {
			write(t, args[5], "#!/bin/sh\necho broken\nexit 1\n", 0o755)
		}, "broken"},
		"no platform": {func(_ string, args []string) { args[8] = "linux" }, "is not OS/ARCH=PROGRAM"},
		"no program":  {func(_ string, args []string) { args[8] = "linux/amd64=none" }, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			out, args := args(t)
			c.change(out, args)
			if err := run(args); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, wanted %q", err, c.want)
			}
		})
	}
}
