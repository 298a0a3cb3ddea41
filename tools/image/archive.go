package main

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// writeArchive writes the image as an OCI image layout in a tar file, with the manifest.json beside it that a Docker
// without containerd's image store reads.
func writeArchive(w io.Writer, index v1.ImageIndex, images []platformImage, tag name.Tag) error {
	dir, err := os.MkdirTemp("", "openloop-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	written, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// The first name is read by containerd and Docker, the second by tools that follow the layout's specification.
	err = written.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          familiarHost(tag),
		"org.opencontainers.image.ref.name": tag.TagStr(),
	}))
	if err != nil {
		return err
	}
	manifest, err := dockerManifest(images, tag)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o644); err != nil {
		return err
	}
	return packFolder(w, os.DirFS(dir))
}

// dockerManifest is what manifest.json holds. It has no images of several platforms: the first one has the name, and
// any other a tag that ends with its architecture.
func dockerManifest(images []platformImage, tag name.Tag) ([]byte, error) {
	var manifest tarball.Manifest
	for i, image := range images {
		config, err := image.ConfigName()
		if err != nil {
			return nil, err
		}
		layers, err := image.Layers()
		if err != nil {
			return nil, err
		}
		described := tarball.Descriptor{Config: blobPath(config), RepoTags: []string{familiar(tag)}}
		if i > 0 {
			described.RepoTags[0] += "-" + image.platform.Architecture
		}
		for _, layer := range layers {
			digest, err := layer.Digest()
			if err != nil {
				return nil, err
			}
			described.Layers = append(described.Layers, blobPath(digest))
		}
		manifest = append(manifest, described)
	}
	return json.Marshal(manifest)
}

// blobPath is where an image layout has a blob.
func blobPath(digest v1.Hash) string { return path.Join("blobs", digest.Algorithm, digest.Hex) }

// familiarHost is a full name as Docker and containerd write it: Docker's own registry has another name there.
func familiarHost(tag name.Tag) string {
	return strings.Replace(tag.Name(), name.DefaultRegistry+"/", "docker.io/", 1)
}

// familiar is a name as Docker shows it: short for images of its own registry.
func familiar(tag name.Tag) string {
	return strings.TrimPrefix(strings.TrimPrefix(familiarHost(tag), "docker.io/"), "library/")
}

// packFolder writes a folder as a tar file: sorted, and without what differs between two machines. fs.WalkDir reads
// each folder in the order of its names.
func packFolder(w io.Writer, folder fs.FS) error {
	packed := tar.NewWriter(w)
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		header := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if entry.IsDir() {
			header.Name, header.Mode, header.Typeflag = name+"/", 0o755, tar.TypeDir
			return packed.WriteHeader(header)
		}
		data, err := fs.ReadFile(folder, name)
		if err != nil {
			return err
		}
		header.Size = int64(len(data))
		if err := packed.WriteHeader(header); err != nil {
			return err
		}
		if _, err := packed.Write(data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return packed.Close()
}
