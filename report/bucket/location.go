// Package bucket puts the files of a run into object storage that speaks the S3 protocol.
package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Scheme begins the address of a folder in a bucket.
const Scheme = "s3://"

// Location is a bucket, and a folder in it.
type Location struct {
	Bucket string
	Prefix string // of the keys, without slashes at its ends; "" is the whole bucket
}

// longestPrefix is in bytes; a key has at most 1024, and the names of the run's folder and of its files come after it.
const longestPrefix = 512

// Is says whether a text is meant for an address in a bucket.
func Is(text string) bool { return strings.HasPrefix(text, Scheme) }

// Parse reads s3://BUCKET/PREFIX. The errors do not repeat what may be a password.
func Parse(text string) (Location, error) {
	var at Location
	rest, ok := strings.CutPrefix(text, Scheme)
	if !ok {
		return at, fmt.Errorf("it must begin with %s", Scheme)
	}
	at.Bucket, at.Prefix, _ = strings.Cut(rest, "/")
	switch {
	case at.Bucket == "":
		return at, errors.New("it names no bucket")
	case strings.ContainsRune(at.Bucket, '@'):
		return at, errors.New("a name, a password or a key has no place in it")
	case strings.ContainsRune(at.Bucket, ':'):
		return at, errors.New("a host or a port has no place in it: the bucket's name follows " + Scheme)
	}
	if err := s3utils.CheckValidBucketNameStrict(at.Bucket); err != nil {
		return at, fmt.Errorf("%q is not the name of a bucket: it has 3 to 63 small letters, digits, points and dashes",
			at.Bucket)
	}
	at.Prefix = strings.Trim(at.Prefix, "/")
	switch {
	case len(at.Prefix) > longestPrefix:
		return at, fmt.Errorf("the prefix has %d bytes; at most %d", len(at.Prefix), longestPrefix)
	case !utf8.ValidString(at.Prefix) || strings.ContainsFunc(at.Prefix, unicode.IsControl):
		return at, errors.New("the prefix holds characters that can't be printed")
	case strings.ContainsAny(at.Prefix, "?#"):
		return at, errors.New("the prefix holds ? or #: it is not a URL with a query")
	case at.Prefix != "" && path.Clean("/"+at.Prefix) != "/"+at.Prefix:
		return at, errors.New(`the prefix holds an empty part, "." or ".."`)
	}
	return at, nil
}

// Join is a folder or a file in the folder.
func (l Location) Join(name string) Location {
	return Location{l.Bucket, strings.TrimPrefix(path.Join(l.Prefix, name), "/")}
}

func (l Location) String() string {
	if l.Prefix == "" {
		return Scheme + l.Bucket
	}
	return Scheme + l.Bucket + "/" + l.Prefix
}

// parseEndpoint reads the address of a server: a scheme, a host and a port.
func parseEndpoint(text string) (host string, secure bool, err error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", false, errors.New("it is not a URL")
	case u.User != nil:
		return "", false, errors.New("a name and a password have no place in it")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Hostname() == "":
		return "", false, errors.New("it must be http://HOST:PORT or https://HOST:PORT")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", false, errors.New("it must have nothing after the host: the bucket is named in " + Scheme + "BUCKET")
	}
	return u.Host, u.Scheme == "https", nil
}
