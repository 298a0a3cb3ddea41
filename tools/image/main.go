// Command image writes openloop's container image as an archive, or pushes it to a registry, without a container
// engine. What goes into the image is in image.go; the same inputs give the same bytes.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/github"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// maxCompressed is what one platform's image may take in bytes, compressed: what a node pulls before a run.
const maxCompressed = 20_000_000

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("image", flag.ExitOnError)
	out := flags.String("o", "", "write an OCI archive to this file")
	push := flags.Bool("push", false, "push the image to the registry in its name")
	imageName := flags.String("name", "openloop:dev", "name and tag of the image")
	about := about{}
	flags.StringVar(&about.version, "version", "devel", "version of the program")
	flags.StringVar(&about.revision, "revision", "", "commit that the program was built from")
	created := flags.Int64("created", 0, "time of the image and of all its files, in seconds since 1970")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: image [-o FILE] [-push] [flags] OS/ARCH=BINARY…")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	about.created = time.Unix(*created, 0).UTC()

	tag, err := name.NewTag(*imageName)
	if err != nil {
		return err
	}
	if *out == "" && !*push {
		return errors.New("neither -o nor -push: there is nothing to do")
	}
	images, err := buildAll(flags.Args(), about)
	if err != nil {
		return err
	}
	index, err := newIndex(images, about)
	if err != nil {
		return err
	}
	if *out != "" {
		if err := writeFile(*out, index, images, tag); err != nil {
			return err
		}
	}
	if *push {
		if err := pushIndex(index, tag); err != nil {
			return err
		}
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	for _, image := range images {
		fmt.Printf("%s: %.1f MB compressed\n", image.platform, float64(image.size)/1e6)
	}
	if *out != "" {
		fmt.Printf("%s, in %s\n", familiar(tag), *out)
	}
	if *push {
		fmt.Printf("%s, pushed\n", familiar(tag))
	}
	fmt.Println(digest)
	return nil
}

// pushIndex pushes the image to the registry in its name, by what "docker login" left, or for ghcr.io by GITHUB_TOKEN.
func pushIndex(index v1.ImageIndex, tag name.Tag) error {
	keys := authn.NewMultiKeychain(authn.DefaultKeychain, github.Keychain)
	return remote.WriteIndex(tag, index, remote.WithAuthFromKeychain(keys))
}

// buildAll makes an image of each OS/ARCH=BINARY.
func buildAll(args []string, about about) ([]platformImage, error) {
	if len(args) == 0 {
		return nil, errors.New("no binary given: linux/amd64=bin/openloop-linux-amd64")
	}
	var images []platformImage
	for _, arg := range args {
		platformName, binary, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not OS/ARCH=BINARY", arg)
		}
		platform, err := v1.ParsePlatform(platformName)
		if err != nil {
			return nil, err
		}
		image, err := newImage(*platform, binary, about)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", platformName, err)
		}
		if image.size > maxCompressed {
			return nil, fmt.Errorf("%s: %.1f MB compressed, more than the %.0f MB that an image may take: see what is "+
				"in the program (docs/releasing.md)", platformName, float64(image.size)/1e6, maxCompressed/1e6)
		}
		images = append(images, image)
	}
	return images, nil
}

// writeFile writes the archive beside its name first, so that a file of that name is always a whole archive.
func writeFile(path string, index v1.ImageIndex, images []platformImage, tag name.Tag) (err error) {
	part := path + ".part"
	file, err := os.Create(part)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(part)
		}
	}()
	w := bufio.NewWriter(file)
	if err := writeArchive(w, index, images, tag); err != nil {
		file.Close()
		return err
	}
	if err := w.Flush(); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(part, path)
}
