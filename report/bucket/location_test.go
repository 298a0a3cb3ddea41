package bucket

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Location{
		"s3://bucket":                   {"bucket", ""},
		"s3://bucket/":                  {"bucket", ""},
		"s3://my.bucket-1/a/b c/ü=1/":   {"my.bucket-1", "a/b c/ü=1"},
		"s3://bucket/team/2026-11-24T1": {"bucket", "team/2026-11-24T1"},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                           "must begin with s3://",
		"bucket":                     "must begin with s3://",
		"S3://bucket":                "must begin with s3://",
		"s3://":                      "names no bucket",
		"s3:///prefix":               "names no bucket",
		"s3://ab":                    "is not the name of a bucket",
		"s3://Bucket":                "is not the name of a bucket",
		"s3://192.168.0.1/x":         "is not the name of a bucket",
		"s3://me:secret-word@bucket": "has no place in it",
		"s3://secret-word@bucket":    "has no place in it",
		"s3://minio:9000/bucket":     "a port has no place in it",
		"s3://bucket/../other":       `".."`,
		"s3://bucket/a/./b":          `".."`,
		"s3://bucket/a//b":           "an empty part",
		"s3://bucket/a?versionId=1":  "a query",
		"s3://bucket/a\x1b[31m":      "can't be printed",
		"s3://bucket/\xff":           "can't be printed",
		"s3://bucket/" + strings.Repeat("a", longestPrefix+1): "at most 512",
	} {
		got, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %+v, %v; want an error with %q", text, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%q: the error repeats it: %v", text, err)
		}
	}
}

func TestJoin(t *testing.T) {
	for _, at := range []Location{{"bucket", ""}, {"bucket", "a/b"}} {
		want := at.String() + "/run/report.html"
		if got := at.Join("run").Join("report.html").String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestParseEndpoint(t *testing.T) {
	for text, want := range map[string]string{
		"http://minio:9000": "minio:9000", "https://s3.example.com/": "s3.example.com",
		"http://[::1]:9000": "[::1]:9000",
	} {
		host, secure, err := parseEndpoint(text)
		if err != nil || host != want || secure != strings.HasPrefix(text, "https") {
			t.Errorf("%s is %s, %v, %v", text, host, secure, err)
		}
	}
	for _, text := range []string{"minio:9000", "minio", "ftp://minio", "http://", "http://:9000",
		"http://minio/bucket", "http://minio?x=1", "http://me:secret-word@minio", "http://secret-word\x7f"} {
		_, _, err := parseEndpoint(text)
		if err == nil || strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What is read as a location is written as one that is read as the same, and stays within its prefix.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"s3://bucket", "s3://bucket/a/b/", "s3://b.c-d/%2e%2e/x", "s3://me:pw@bucket",
		"s3:///", "s3://bucket/..", "gs://bucket"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(at.String())
		if err != nil || again != at {
			t.Errorf("%q is %+v, and that is %+v, %v", text, at, again, err)
		}
		if key := at.Join("run").Join("file").Prefix; !strings.HasSuffix(key, "run/file") ||
			!strings.HasPrefix(key, at.Prefix) || strings.HasPrefix(key, "/") {
			t.Errorf("%q: the key is %q", text, key)
		}
	})
}
