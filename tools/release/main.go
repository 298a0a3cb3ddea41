// Command release packs what is downloaded: an archive of each platform's program with its documents, completions and
// man pages, an SBOM of each, and the checksums of them all. The same inputs give the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var r release
	flags := flag.NewFlagSet("release", flag.ExitOnError)
	out := flags.String("o", "", "folder to write to, new or empty")
	files := flags.String("files", "", "folder of what is in every archive, beside the program")
	created := flags.Int64("created", 0, "time of all files in the archives, in seconds since 1970")
	flags.StringVar(&r.version, "version", "devel", "version of the program")
	bom := flags.String("bom", "", "command that writes an SBOM: it is run as COMMAND bin … -output FILE PROGRAM")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: release -o FOLDER -files FOLDER -bom COMMAND [flags] OS/ARCH=PROGRAM…")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || *files == "" || *bom == "" || flags.NArg() == 0 {
		flags.Usage()
		return errors.New("-o, -files, -bom and a program are needed")
	}
	r.created, r.bom = time.Unix(*created, 0), *bom
	var err error
	if r.files, err = filesBelow(*files); err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	if there, err := os.ReadDir(*out); err != nil || len(there) > 0 {
		return errors.Join(err, fmt.Errorf("%s is not empty", *out))
	}
	for _, arg := range flags.Args() {
		platform, program, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not OS/ARCH=PROGRAM", arg)
		}
		if err := r.pack(*out, platform, program); err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
	}
	return writeChecksums(*out)
}

// release is what the archives have in common.
type release struct {
	version string
	created time.Time
	files   []file
	bom     string
}

// file is a file of an archive.
type file struct {
	name string // in the archive, with slashes
	mode int64
	data []byte
}

// filesBelow reads all files below a folder.
func filesBelow(folder string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if len(data) == 0 {
			return fmt.Errorf("%s is empty", path)
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		files = append(files, file{name: filepath.ToSlash(name), mode: 0o644, data: data})
		return nil
	})
	return files, err
}

// pack writes the archive of a platform, and the SBOM of its program. Neither has the version in its name: the newest
// release's are then always at the same address.
func (r *release) pack(folder, platform, program string) error {
	base := filepath.Join(folder, "openloop_"+strings.ReplaceAll(platform, "/", "_"))
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	all := append(slices.Clone(r.files), file{name: "openloop", mode: 0o755, data: data})
	archive, err := pack(all, r.created)
	if err != nil {
		return err
	}
	if err := os.WriteFile(base+".tar.gz", archive, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %.1f MB\n", base+".tar.gz", float64(len(archive))/1e6)
	// Without a serial number and a time it is the same from every build.
	make := exec.Command(r.bom, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", r.version,
		"-output", base+".cdx.json", program)
	if output, err := make.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", make, err, output)
	}
	return nil
}

// pack is a compressed tar file of files, sorted by their names.
func pack(files []file, created time.Time) ([]byte, error) {
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	var packed bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(zipped)
	for _, f := range files {
		header := &tar.Header{
			Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: created,
			Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// checksums is the file that "sha256sum --check" reads.
const checksums = "checksums.txt"

// writeChecksums writes the SHA-256 of all files in a folder.
func writeChecksums(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(data), entry.Name())
	}
	return os.WriteFile(filepath.Join(folder, checksums), []byte(text.String()), 0o644)
}
