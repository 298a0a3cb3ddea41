package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The image as "make image-tar" builds it, twice, from two copies of the tree in folders of different names.
func TestTwoBuildsInTwoFoldersAreOneImage(t *testing.T) {
	var outputs [2]string
	var archives [2]string
	for i, folder := range []string{"one", "a-longer-name/two"} {
		tree := filepath.Join(t.TempDir(), folder)
		copyTree(t, filepath.Join("..", ".."), tree)
		make := exec.Command("make", "--no-print-directory", "image-tar", "IMAGE=example.com/team/openloop:v1.2.3",
			"VERSION=v1.2.3", "REVISION=0123456789abcdef", "SOURCE_DATE_EPOCH=1700000000")
		make.Dir = tree
		make.Stderr = os.Stderr
		output, err := make.Output()
		if err != nil {
			t.Fatalf("make image-tar: %v\n%s", err, output)
		}
		outputs[i] = string(output)
		archives[i] = filepath.Join(tree, "bin", "openloop-image.tar")
	}
	t.Logf("%s", outputs[0])
	if outputs[0] != outputs[1] {
		t.Errorf("the second build prints\n%s", outputs[1])
	}
	if a, b := sumOf(t, archives[0]), sumOf(t, archives[1]); a != b {
		t.Errorf("the archives differ: %x, %x", a, b)
	}

	unpacked := t.TempDir()
	unpack(t, archives[0], unpacked)
	top, err := layout.ImageIndexFromPath(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("index.json has %d images", len(manifest.Manifests))
	}
	described := manifest.Manifests[0]
	if got := described.Annotations["io.containerd.image.name"]; got != "example.com/team/openloop:v1.2.3" {
		t.Errorf("its name is %q", got)
	}
	if !strings.HasSuffix(outputs[0], described.Digest.String()+"\n") {
		t.Errorf("its digest is %v, which is not what was printed last", described.Digest)
	}
	index, err := top.ImageIndex(described.Digest)
	if err != nil {
		t.Fatal(err)
	}
	checkIndex(t, index)
	checkDockerManifest(t, unpacked)
}

// checkIndex looks into the image of each platform.
func checkIndex(t *testing.T, index v1.ImageIndex) {
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, described := range manifest.Manifests {
		platforms = append(platforms, described.Platform.String())
		image, err := index.Image(described.Digest)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(described.Platform.Architecture, func(t *testing.T) { checkImage(t, image, *described.Platform) })
	}
	if got := fmt.Sprint(platforms); got != "[linux/amd64 linux/arm64]" {
		t.Errorf("platforms %v", got)
	}
}

func checkImage(t *testing.T, image v1.Image, platform v1.Platform) {
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != platform.OS || config.Architecture != platform.Architecture {
		t.Errorf("its configuration is for %s/%s", config.OS, config.Architecture)
	}
	if got := config.Created.Unix(); got != 1700000000 {
		t.Errorf("created at %v", config.Created)
	}
	c := config.Config
	if c.User != "65532:65532" || fmt.Sprint(c.Entrypoint) != "[/openloop]" || c.WorkingDir != "/results" {
		t.Errorf("user %q, entrypoint %q, working folder %q", c.User, c.Entrypoint, c.WorkingDir)
	}
	if want := (about{version: "v1.2.3", revision: "0123456789abcdef"}).labels(); !maps.Equal(c.Labels, want) {
		t.Errorf("labels %v", c.Labels)
	}

	files, compressed := filesOf(t, image)
	if compressed > maxCompressed {
		t.Errorf("%d bytes compressed", compressed)
	}
	want := map[string]string{
		"etc/": "drwxr-xr-x 0:0", "etc/ssl/": "drwxr-xr-x 0:0", "etc/ssl/certs/": "drwxr-xr-x 0:0",
		"etc/ssl/certs/ca-certificates.crt": "-rw-r--r-- 0:0",
		"results/":                          "drwxrwxr-x 65532:0",
		"tmp/":                              "dtrwxrwxrwx 65532:0",
		"openloop":                          "-rwxr-xr-x 0:0",
	}
	got := map[string]string{}
	for name, file := range files {
		got[name] = fmt.Sprintf("%v %d:%d", file.FileInfo().Mode(), file.Uid, file.Gid)
		if file.ModTime.Unix() != 1700000000 {
			t.Errorf("%s is of %v", name, file.ModTime)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("files\n%v\nwanted\n%v", got, want)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"].data) {
		t.Error("no certificates in it")
	}
	if err := checkStatic(files["openloop"].data, platform); err != nil {
		t.Error(err)
	}
	if runtime.GOOS+"/"+runtime.GOARCH != platform.String() {
		return
	}
	program := filepath.Join(t.TempDir(), "openloop")
	if err := os.WriteFile(program, files["openloop"].data, 0o755); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command(program, "version").CombinedOutput()
	if err != nil || string(output) != "openloop v1.2.3\n" {
		t.Errorf("openloop version: %v, %q", err, output)
	}
}

// checkDockerManifest reads manifest.json as a Docker without containerd's image store does: by the paths in it.
func checkDockerManifest(t *testing.T, dir string) {
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest tarball.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, image := range manifest {
		names = append(names, image.RepoTags...)
		for _, path := range append(image.Layers, image.Config) {
			if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
				t.Error(err)
			}
		}
	}
	if got := fmt.Sprint(names); got != "[example.com/team/openloop:v1.2.3 example.com/team/openloop:v1.2.3-arm64]" {
		t.Errorf("names %v", got)
	}
}

// What is pushed is what a registry gives back, under the digest that was printed.
func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	images := []platformImage{testImage(t)}
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/openloop/openloop:v1")
	if err != nil {
		t.Fatal(err)
	}
	index, err := newIndex(images, about{version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := pushIndex(index, tag); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Get(tag)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := index.Digest(); got.Digest != want {
		t.Errorf("the registry has %v, pushed was %v", got.Digest, want)
	}
}

func TestWhatIsRefused(t *testing.T) {
	text := filepath.Join(t.TempDir(), "openloop")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "openloop")
	noise := elfProgram(t)
	for sum := sha256.Sum256(nil); len(noise) < maxCompressed+1<<20; sum = sha256.Sum256(sum[:]) {
		noise = append(noise, sum[:]...)
	}
	if err := os.WriteFile(large, noise, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ want, arg string }{
		{"no such file", "linux/amd64=" + filepath.Join(t.TempDir(), "none")},
		{"it is not a program for Linux", "linux/amd64=" + text},
		{"there is no image for windows/amd64", "windows/amd64=" + text},
		{"it is a program for", "linux/arm64=" + staticProgram(t)},
		{"MB compressed, more than the 20 MB", "linux/amd64=" + large},
		{"is not OS/ARCH=BINARY", "linux/amd64"},
	} {
		_, err := buildAll([]string{c.arg}, about{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", c.arg, err, c.want)
		}
	}
}

// The image that a container engine builds and this one are described alike.
func TestLabelsAreTheDockerfiles(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, label := range regexp.MustCompile(`(org\.opencontainers\.[a-z.]+)="([^"]*)"`).FindAllSubmatch(text, -1) {
		got[string(label[1])] = string(label[2])
	}
	if want := (about{version: "${VERSION}", revision: "${REVISION}"}).labels(); !maps.Equal(got, want) {
		t.Errorf("the Dockerfile has %v, wanted %v", got, want)
	}
}

// testImage is a small image of linux/amd64.
func testImage(t *testing.T) platformImage {
	image, err := newImage(v1.Platform{OS: "linux", Architecture: "amd64"}, staticProgram(t), about{version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// staticProgram is a file that is a static program for linux/amd64 by its head.
func staticProgram(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "openloop")
	if err := os.WriteFile(path, elfProgram(t), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// elfProgram is the head of a program for linux/amd64 without segments.
func elfProgram(t *testing.T) []byte {
	head := make([]byte, 64)
	copy(head, "\x7fELF\x02\x01\x01")
	head[16], head[18], head[20] = 2, 62, 1 // executable, x86-64, version 1
	head[52], head[54], head[58] = 64, 56, 64
	if err := checkStatic(head, v1.Platform{OS: "linux", Architecture: "amd64"}); err != nil {
		t.Fatal(err)
	}
	return head
}

// file is a file of a layer.
type file struct {
	*tar.Header
	data []byte
}

// filesOf are the files of an image by their names, and the bytes of its layers, compressed.
func filesOf(t *testing.T, image v1.Image) (map[string]file, int64) {
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]file{}
	compressed := int64(0)
	for _, layer := range layers {
		packed, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(packed)
		if err != nil {
			t.Fatal(err)
		}
		compressed += int64(len(raw))
		unzipped, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		for header, data := range tarFiles(t, unzipped) {
			files[header.Name] = file{header, data}
		}
	}
	return files, compressed
}

// tarFiles are the files of a tar file, in order.
func tarFiles(t *testing.T, from io.Reader) func(yield func(*tar.Header, []byte) bool) {
	return func(yield func(*tar.Header, []byte) bool) {
		r := tar.NewReader(from)
		for {
			header, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if !yield(header, data) {
				return
			}
		}
	}
}

// unpack writes the files of an archive below a folder.
func unpack(t *testing.T, archive, folder string) {
	packed, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	for header, data := range tarFiles(t, packed) {
		path := filepath.Join(folder, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sumOf(t *testing.T, path string) [sha256.Size]byte {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// copyTree copies the source without what git and the builds keep in it.
func copyTree(t *testing.T, from, to string) {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch relative {
		case ".git", "bin", ".cache", "openloop-results", "parity-results", "peers-results":
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		switch {
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, relative), 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, relative), data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
