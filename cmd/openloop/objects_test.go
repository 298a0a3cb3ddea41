package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openloop/openloop/report/bucket"
	"github.com/openloop/openloop/spec"
)

// stores are the running servers of object storage by their URL.
var stores sync.Map

// objectStore is a server of object storage with the bucket "results".
type objectStore struct {
	*s3mem.Backend
	hanging chan struct{} // closed at the first request that is not answered
}

// startStore starts a server of object storage and gives the script the variables that name it: s3server [MODE]. MODE
// says what becomes of a run's files, after the check before the load: "refuse", "hang", or "cut", of which each is cut
// once in the middle. With "denied" the check is refused, too.
func startStore(ts *testscript.TestScript, _ bool, args []string) {
	mode := strings.Join(args, " ")
	store := &objectStore{s3mem.New(), make(chan struct{})}
	ts.Check(store.CreateBucket("results"))
	next := gofakes3.New(store).Server()
	var mu sync.Mutex
	cut := map[string]bool{}
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isFile := r.Method == http.MethodPut && !strings.Contains(r.URL.Path, "whether-it-can-write-here")
		mu.Lock()
		first := !cut[r.URL.Path]
		cut[r.URL.Path] = true
		mu.Unlock()
		switch {
		case mode == "denied", mode == "refuse" && isFile:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>no: "+
				r.Header.Get("X-Amz-Security-Token")+"</Message></Error>")
		case mode == "hang" && isFile:
			_, _ = io.Copy(io.Discard, r.Body)
			once.Do(func() { close(store.hanging) })
			<-r.Context().Done()
		case mode == "cut" && isFile && first:
			_, _ = io.CopyN(io.Discard, r.Body, 100)
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				conn.Close()
			}
		default:
			next.ServeHTTP(w, r)
		}
	}))
	ts.Defer(server.Close)
	stores.Store(server.URL, store)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": server.URL, "AWS_ACCESS_KEY_ID": "AKIACANARY0123456789",
		"AWS_SECRET_ACCESS_KEY": "secret-canary-0123456789", "AWS_SESSION_TOKEN": "token-canary-0123456789",
	} {
		ts.Setenv(name, value)
	}
}

func storeOf(ts *testscript.TestScript) *objectStore {
	store, _ := stores.Load(ts.Getenv("AWS_ENDPOINT_URL_S3"))
	return store.(*objectStore)
}

// waitHanging waits until the store has left a request without an answer.
func waitHanging(ts *testscript.TestScript, _ bool, _ []string) { <-storeOf(ts).hanging }

// checkObjects checks what the bucket holds: objects PREFIX DIR. Below the prefix there must be one folder of the name
// that DIR has, with its files, byte for byte, and nothing else; without DIR, nothing at all.
func checkObjects(ts *testscript.TestScript, _ bool, args []string) {
	store := storeOf(ts)
	list, err := store.ListBucket("results", &gofakes3.Prefix{}, gofakes3.ListBucketPage{})
	ts.Check(err)
	var got, want []string
	for _, c := range list.Contents {
		got = append(got, c.Key)
	}
	if len(args) > 1 {
		dir, err := filepath.EvalSymlinks(ts.MkAbs(args[1]))
		ts.Check(err)
		entries, err := os.ReadDir(dir)
		ts.Check(err)
		for _, e := range entries {
			key := args[0] + "/" + filepath.Base(dir) + "/" + e.Name()
			want = append(want, key)
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			ts.Check(err)
			object, err := store.GetObject("results", key, nil)
			ts.Check(err)
			stored, err := io.ReadAll(object.Contents)
			ts.Check(err)
			if !bytes.Equal(stored, text) {
				ts.Fatalf("%s has %d bytes, the file has %d", key, len(stored), len(text))
			}
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		ts.Fatalf("the bucket holds %v, want %v", got, want)
	}
}

func TestParseDestination(t *testing.T) {
	for dir, want := range map[string]*bucket.Location{
		"": nil, ".": nil, "results": nil, "/tmp/s3:/x": nil, "./s3://x": nil,
		"s3://results/ci": {Bucket: "results", Prefix: "ci"},
	} {
		got, err := parseDestination(dir)
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q is %v, %v; want %v", dir, got, err, want)
		}
	}
	for _, dir := range []string{"s3://", "gs://bucket", "https://minio/bucket", "S3://bucket", "s3://me:pw@bucket"} {
		if got, err := parseDestination(dir); err == nil || strings.Contains(err.Error(), "pw@") {
			t.Errorf("%q is %v, %v", dir, got, err)
		}
	}
}

// What is uploaded is the folder of the run, and what could not be saved there; a newer file of the folder goes first.
func TestUploadedFiles(t *testing.T) {
	dir, rescue := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		filepath.Join(dir, "openloop.yaml"): "1", filepath.Join(dir, "report.html"): "22",
		filepath.Join(rescue, "report.html"): "333", filepath.Join(rescue, "benchmarks.json"): "4444",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sizes := map[string]int64{}
	for _, f := range (&resultFiles{dir: dir, rescue: rescue}).all() {
		sizes[f.Key] = f.Size
	}
	if len(sizes) != 3 || sizes["openloop.yaml"] != 1 || sizes["report.html"] != 2 || sizes["benchmarks.json"] != 4 {
		t.Errorf("got %v", sizes)
	}
	if got := (&resultFiles{dir: filepath.Join(dir, "gone"), rescue: rescue}).all(); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

// Where the working folder can't be written to, the local copy is in the folder for temporary files.
func TestLocalRuns(t *testing.T) {
	t.Chdir(t.TempDir())
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	if got, err := localRuns(); err != nil || got != runsFolder {
		t.Errorf("%s, %v", got, err)
	}
	if err := os.WriteFile(runsFolder, nil, 0o600); err != nil { // in the way, for root, too
		t.Fatal(err)
	}
	if got, err := localRuns(); err != nil || got != filepath.Join(temporary, runsFolder) {
		t.Errorf("%s, %v", got, err)
	}
	t.Setenv("TMPDIR", runsFolder)
	if got, err := localRuns(); err == nil {
		t.Errorf("%s was taken", got)
	}
	if _, err := openResultFiles(spec.Output{Dir: "s3://results", Earlier: spec.OverwriteEarlier}); err == nil {
		t.Error("--overwrite was taken")
	}
}
