package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is the user and group that the program runs as. It is a number, so that Kubernetes can see without a user
// database that it is not root (runAsNonRoot).
const user = 65532

// about is what an image says of the program in it.
type about struct {
	version, revision string
	created           time.Time // also of every file in the image
}

// labels are those of the Dockerfile.
func (a about) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title": "openloop",
		"org.opencontainers.image.description": "Finds the highest request rate at which an LLM serving endpoint " +
			"still meets its latency objectives",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.source":   "https://github.com/openloop/openloop",
		"org.opencontainers.image.version":  a.version,
		"org.opencontainers.image.revision": a.revision,
	}
}

// platformImage is the image of one platform.
type platformImage struct {
	v1.Image
	platform v1.Platform
	size     int64 // bytes of its layers, compressed
}

// newImage makes the image of one platform from its binary: a layer of what is the same everywhere, and the program.
func newImage(platform v1.Platform, binary string, about about) (platformImage, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return platformImage{}, err
	}
	if err := checkStatic(program, platform); err != nil {
		return platformImage{}, fmt.Errorf("%s: %w", binary, err)
	}
	layers := []struct {
		by      string
		entries []entry
	}{
		{"certificates, /results and /tmp", rootEntries()},
		{"openloop " + about.version, []entry{{name: "openloop", mode: 0o755, data: program}}},
	}

	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config, err := image.ConfigFile()
	if err != nil {
		return platformImage{}, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: about.created}
	config.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", user, user),
		Entrypoint: []string{"/openloop"},
		// The program writes to its working folder alone: with a volume there, the root file system may be read-only.
		WorkingDir: "/results",
		Labels:     about.labels(),
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return platformImage{}, err
	}
	made := platformImage{platform: platform}
	for _, l := range layers {
		layer, err := newLayer(l.entries, about.created)
		if err != nil {
			return platformImage{}, err
		}
		size, err := layer.Size()
		if err != nil {
			return platformImage{}, err
		}
		made.size += size
		image, err = mutate.Append(image, mutate.Addendum{
			Layer:     layer,
			MediaType: types.OCILayer,
			History:   v1.History{Created: v1.Time{Time: about.created}, CreatedBy: "make image-tar", Comment: l.by},
		})
		if err != nil {
			return platformImage{}, err
		}
	}
	made.Image = image
	return made, nil
}

// newIndex is the image of all platforms: what has the name, and the digest.
func newIndex(images []platformImage, about about) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &image.platform},
		})
	}
	annotated, ok := mutate.Annotations(index, about.labels()).(v1.ImageIndex)
	if !ok {
		return nil, errors.New("an index with annotations is not an index")
	}
	return annotated, nil
}

// checkStatic is an error if a program is not of the platform, or wants a dynamic linker, which the image lacks.
func checkStatic(program []byte, platform v1.Platform) error {
	machine, ok := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[platform.Architecture]
	if !ok || platform.OS != "linux" {
		return fmt.Errorf("there is no image for %s", platform)
	}
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("it is not a program for Linux: %w", err)
	}
	if file.Machine != machine {
		return fmt.Errorf("it is a program for %v", file.Machine)
	}
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP {
			return errors.New("it is not static: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// entry is a file of a layer, or a folder if its name ends with a slash.
type entry struct {
	name string // relative to the root
	mode int64
	uid  int // the group is 0
	data []byte
}

// rootEntries are the files of the image beside the program, parents first.
func rootEntries() []entry {
	return []entry{
		{name: "etc/", mode: 0o755},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: certificates()},
		// A named volume mounted there takes its owner and mode from it. Group 0 may write too, for platforms that
		// choose the user themselves and leave it in that group.
		{name: "results/", mode: 0o775, uid: user},
		// Where results are saved if /results can no longer be written to.
		{name: "tmp/", mode: 0o777 | 0o1000, uid: user},
	}
}

// certificates are Mozilla's roots as PEM, where Go looks for them. Those that Mozilla trusts only under a condition
// are left out: PEM cannot say the condition.
func certificates() []byte {
	var all []byte
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			block := &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}
			all = append(all, pem.EncodeToMemory(block)...)
		}
	}
	return all
}

// newLayer packs files into a layer.
func newLayer(entries []entry, created time.Time) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, e := range entries {
		header := &tar.Header{
			Name: e.name, Mode: e.mode, Uid: e.uid, Size: int64(len(e.data)), ModTime: created,
			Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		}
		if e.name[len(e.name)-1] == '/' {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching)
}
