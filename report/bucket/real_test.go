package bucket

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"
	"testing"

	"github.com/minio/minio-go/v7"
)

// The variables by which "make test-s3" names a real server, with the bucket "results".
const (
	realServer = "OPENLOOP_TEST_S3_SERVER"
	realID     = "OPENLOOP_TEST_S3_ID"
	realSecret = "OPENLOOP_TEST_S3_SECRET"
)

// A server that checks signatures takes the files, in one piece and in parts, and refuses another key.
func TestRealServer(t *testing.T) {
	server := os.Getenv(realServer)
	if server == "" {
		t.Skip(realServer + " names no server: see make test-s3")
	}
	setEnv(t, server)
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", os.Getenv(realSecret))
	t.Setenv("AWS_ACCESS_KEY_ID", os.Getenv(realID))
	folder := make([]byte, 8)
	_, _ = rand.Read(folder)
	store, err := Open(t.Context(), Location{"results", "openloop tests/" + hex.EncodeToString(folder)})
	if err != nil {
		t.Fatal(err)
	}
	files := writeFiles(t, map[string]int{"benchmarks.json": 40 << 20, "report.html": 100_000, "small ü+=&.csv": 1,
		"empty.csv": 0})
	if n, err := store.Upload(t.Context(), "run", files); err != nil || n != len(files) {
		t.Fatalf("%d files, %v", n, err)
	}
	for _, f := range files {
		want, err := os.ReadFile(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		key := store.Folder("run").Join(f.Key).Prefix
		object, err := store.client.GetObject(t.Context(), "results", key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(object)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d", f.Key, len(got), err, len(want))
		}
		if err := store.client.RemoveObject(t.Context(), "results", key, minio.RemoveObjectOptions{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := store.client.StatObject(t.Context(), "results", store.at.Join(checkName).Prefix,
		minio.StatObjectOptions{}); minio.ToErrorResponse(err).Code != minio.NoSuchKey {
		t.Errorf("the object of the check: %v", err)
	}

	_, err = Open(t.Context(), Location{"no-such-bucket", ""})
	checkError(t, err, "NoSuchBucket", "openloop makes no bucket")
	t.Setenv("AWS_SECRET_ACCESS_KEY", canarySecret)
	_, err = Open(t.Context(), Location{"results", ""})
	checkError(t, err, "SignatureDoesNotMatch", "not accepted")
}
