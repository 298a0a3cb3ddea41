package bucket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/openloop/openloop/internal/memnet"
)

// The secrets that no error may hold.
const (
	canarySecret = "se/cret+canary0123456789"
	canaryToken  = "tok/en+canary0123456789=="
	canaryID     = "AKIACANARY0123456789"
)

func TestMain(m *testing.M) {
	for _, name := range os.Environ() { // of whoever runs the tests
		name, _, _ := strings.Cut(name, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// setEnv gives the test the variables of a server, and credentials.
func setEnv(t *testing.T, server string) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": server, "AWS_ACCESS_KEY_ID": canaryID, "AWS_SECRET_ACCESS_KEY": canarySecret,
		"AWS_SESSION_TOKEN": canaryToken, "HOME": home,
	} {
		t.Setenv(name, value)
	}
}

// newFake makes a server of object storage that holds the bucket "results".
func newFake(t *testing.T) (*s3mem.Backend, http.Handler) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("results"); err != nil {
		t.Fatal(err)
	}
	return backend, gofakes3.New(backend).Server()
}

// keys are the keys of the bucket.
func keys(t *testing.T, backend *s3mem.Backend) []string {
	t.Helper()
	list, err := backend.ListBucket("results", &gofakes3.Prefix{}, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, c := range list.Contents {
		all = append(all, c.Key)
	}
	return all
}

// writeFiles writes files of so many bytes, of which no two are alike.
func writeFiles(t *testing.T, sizes map[string]int) []File {
	t.Helper()
	dir := t.TempDir()
	var all []File
	for name, size := range sizes {
		content := bytes.Repeat([]byte(name+" "), size/(len(name)+1)+1)[:size]
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		all = append(all, File{Name: path, Key: name, Size: int64(size)})
	}
	return all
}

// sameObjects checks that the objects of a folder are the files, byte for byte.
func sameObjects(t *testing.T, backend *s3mem.Backend, folder string, files []File) {
	t.Helper()
	for _, f := range files {
		want, err := os.ReadFile(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		object, err := backend.GetObject("results", folder+"/"+f.Key, nil)
		if err != nil {
			t.Errorf("%s: %v", f.Key, err)
			continue
		}
		got, err := io.ReadAll(object.Contents)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d", f.Key, len(got), err, len(want))
		}
	}
}

// checkError checks that an error says what it should, with what to do about it, and no secret.
func checkError(t *testing.T, err error, text, hint string) {
	t.Helper()
	var found *Error
	if !errors.As(err, &found) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if !strings.Contains(found.Error(), text) || !strings.Contains(found.Hint, hint) {
		t.Errorf("got %q, hint %q; want %q, hint %q", found, found.Hint, text, hint)
	}
	all := found.Error() + found.Hint
	for err := error(found); err != nil; err = errors.Unwrap(err) {
		all += err.Error()
	}
	for _, secret := range []string{canarySecret, canaryToken, canaryID, canarySecret[:10], canaryToken[:10]} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in %q", secret, all)
		}
	}
	if strings.ContainsFunc(all, unicode.IsControl) {
		t.Errorf("control characters are in %q", all)
	}
}

func TestUpload(t *testing.T) {
	backend, handler := newFake(t)
	var mu sync.Mutex // parts come several at a time
	var order, kinds []string
	parts := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			mu.Lock()
			if r.URL.Query().Has("partNumber") {
				parts++
			} else {
				order, kinds = append(order, r.URL.Path), append(kinds, r.Header.Get("Content-Type"))
			}
			mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	setEnv(t, server.URL)
	trust(t, server)
	store, err := Open(t.Context(), Location{"results", "ci/nightly"})
	if err != nil {
		t.Fatal(err)
	}
	if got := keys(t, backend); len(got) != 0 {
		t.Errorf("the check left %v", got)
	}
	order, kinds = nil, nil
	// The last is sent in parts of 16 MiB.
	files := writeFiles(t, map[string]int{"benchmarks.json": 40 << 20, "report.html": 100_000, "small.csv": 1,
		"openloop.yaml": 300})
	n, err := store.Upload(t.Context(), "run-1", files)
	if err != nil || n != len(files) {
		t.Fatalf("%d files, %v", n, err)
	}
	sameObjects(t, backend, "ci/nightly/run-1", files)
	if len(keys(t, backend)) != len(files) || parts != 3 {
		t.Errorf("the bucket holds %v, the largest in %d parts", keys(t, backend), parts)
	}
	want := "/results/ci/nightly/run-1/small.csv /results/ci/nightly/run-1/openloop.yaml " +
		"/results/ci/nightly/run-1/report.html"
	if strings.Join(order, " ") != want {
		t.Errorf("the order was %v", order)
	}
	if got := kinds[2]; !strings.HasPrefix(got, "text/html") {
		t.Errorf("the page is %q: a browser would not show it", got)
	}
}

// answering is a server that gives every request one answer.
func answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		if body == "echo" { // what was sent, as some servers do
			body = fmt.Sprintf("<Error><Code>AccessDenied</Code><Message>no: %s %s\u009b31m %s %s</Message></Error>",
				r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token"), canarySecret,
				base64.StdEncoding.EncodeToString([]byte(canaryToken)))
		}
		_, _ = io.WriteString(w, body)
	}
}

func s3Error(code, message string) string {
	return "<Error><Code>" + code + "</Code><Message>" + message + "</Message></Error>"
}

// What is wrong with the bucket is found before any load, and said with what to do about it.
func TestRefused(t *testing.T) {
	_, fake := newFake(t)
	for name, c := range map[string]struct {
		handler    http.Handler
		text, hint string
	}{
		"no bucket": {fake, "NoSuchBucket", "is the bucket's name right"},
		"denied": {answering(403, s3Error("AccessDenied", "Access Denied.")),
			"HTTP 403 AccessDenied: Access Denied.", "s3:PutObject on arn:aws:s3:::other/a/*"},
		"denied without a word": {answering(403, ""), "HTTP 403 AccessDenied", "s3:PutObject"},
		"unknown key": {answering(403, s3Error("InvalidAccessKeyId", "no such key")), "no such key",
			"not accepted"},
		"expired": {answering(400, s3Error("InvalidToken", "expired")), "expired", "not accepted"},
		"clock":   {answering(403, s3Error("RequestTimeTooSkewed", "skew")), "skew", "clock"},
		"another region": {answering(301, s3Error("PermanentRedirect", "elsewhere")), "elsewhere",
			"AWS_REGION names the bucket's region"},
		"a web server":          {answering(405, "<h1>no</h1>"), "HTTP 405", "does it speak S3"},
		"a web server's yes":    {answering(200, "<h1>ok</h1>"), "no ETag", "the right server"},
		"a server that repeats": {answering(403, "echo"), "HTTP 403 AccessDenied: no: ", "s3:PutObject"},
		"a long text": {answering(400, s3Error("Odd", strings.Repeat("x", 1<<20))), "HTTP 400 Odd: xxx…",
			""},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			setEnv(t, server.URL)
			_, err := Open(t.Context(), Location{"other", "a"})
			if name == "a long text" {
				if err == nil || len(err.Error()) > 600 {
					t.Errorf("got %d bytes", len(fmt.Sprint(err)))
				}
				return
			}
			checkError(t, err, c.text, c.hint)
		})
	}
	t.Run("not there", func(t *testing.T) {
		server := httptest.NewServer(fake)
		server.Close()
		setEnv(t, server.URL)
		_, err := Open(t.Context(), Location{"results", ""})
		checkError(t, err, "connection refused", "AWS_ENDPOINT_URL_S3 names it")
	})
	t.Run("an unknown authority", func(t *testing.T) {
		server := httptest.NewUnstartedServer(fake)
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // that the client breaks off is what is tested
		server.StartTLS()
		defer server.Close()
		setEnv(t, server.URL)
		_, err := Open(t.Context(), Location{"results", ""})
		checkError(t, err, "unknown authority", "AWS_CA_BUNDLE")
	})
	t.Run("interrupted", func(t *testing.T) {
		server := httptest.NewServer(fake)
		defer server.Close()
		setEnv(t, server.URL)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(io.ErrClosedPipe)
		if _, err := Open(ctx, Location{"results", ""}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v", err)
		}
	})
}

// trust makes the certificate of a server one that is trusted, and returns the file that holds it.
func trust(t *testing.T, server *httptest.Server) string {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	return bundle
}

func TestAuthorities(t *testing.T) {
	backend, handler := newFake(t)
	server := httptest.NewTLSServer(handler)
	defer server.Close()
	setEnv(t, server.URL)
	bundle := trust(t, server)
	store, err := Open(t.Context(), Location{"results", ""})
	if err != nil {
		t.Fatal(err)
	}
	files := writeFiles(t, map[string]int{"a": 10})
	if _, err := store.Upload(t.Context(), "run", files); err != nil {
		t.Fatal(err)
	}
	sameObjects(t, backend, "run", files)

	if err := os.WriteFile(bundle, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Location{"results", ""})
	checkError(t, err, "holds no certificate", "")
}

// A bucket that is elsewhere than the variables say names its region, and is asked there.
func TestRegionIsFollowed(t *testing.T) {
	backend, handler := newFake(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "/eu-north-1/s3/") {
			answering(400, "<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong</Message>"+
				"<Region>eu-north-1</Region></Error>")(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	setEnv(t, server.URL)
	t.Setenv("AWS_REGION", "us-west-2")
	store, err := Open(t.Context(), Location{"results", ""})
	if err != nil {
		t.Fatal(err)
	}
	files := writeFiles(t, map[string]int{"a": 10})
	if _, err := store.Upload(t.Context(), "run", files); err != nil {
		t.Fatal(err)
	}
	sameObjects(t, backend, "run", files)
}

// inMemory opens a store at a server in memory, in a bubble, after which the server answers with another handler.
func inMemory(t *testing.T, first, then http.Handler) (*Store, func()) {
	t.Helper()
	setEnv(t, "http://store:9000")
	wire := memnet.Listen()
	var checked atomic.Bool
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if checked.Load() {
			then.ServeHTTP(w, r)
			return
		}
		first.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(wire) }()
	store, err := open(t.Context(), Location{"results", ""}, wire.Dial)
	if err != nil {
		t.Fatal(err)
	}
	checked.Store(true)
	return store, func() {
		store.http.CloseIdleConnections()
		server.Close()
		time.Sleep(2 * forever)
	}
}

// forever is longer than anything waits.
const forever = time.Hour

// hang answers nothing, for good.
func hang(_ http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(forever): // the server sees the end of a connection only where it reads from it
	}
}

// hangAtEnd reads all, and answers nothing.
func hangAtEnd(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	hang(w, r)
}

// cut is a server that closes the connection after some bytes of the body, so many times, and then goes on.
func cut(times int, after int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || times == 0 {
			next.ServeHTTP(w, r)
			return
		}
		times--
		_, _ = io.CopyN(io.Discard, r.Body, after)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	})
}

// An upload that is cut in the middle is sent again, whole. One that always is fails in the end.
func TestCutInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		times int
		text  string // of the error; "": none
	}{{1, ""}, {3, ""}, {-1, "the server closed the connection"}} {
		t.Run(fmt.Sprint(c.times), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backend, handler := newFake(t)
				files := writeFiles(t, map[string]int{"report.html": 300_000})
				store, end := inMemory(t, handler, cut(c.times, 70_000, handler))
				defer end()
				n, err := store.Upload(t.Context(), "run", files)
				if c.text != "" {
					checkError(t, err, c.text, "")
					if n != 0 || !strings.Contains(err.Error(), "writing report.html to s3://results at ") {
						t.Errorf("%d files, %v", n, err)
					}
					return
				}
				if err != nil || n != 1 {
					t.Fatalf("%d files, %v", n, err)
				}
				sameObjects(t, backend, "run", files)
			})
		})
	}
}

// A bucket that lets the check through and then refuses.
func TestRefusedAtTheUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, handler := newFake(t)
		store, end := inMemory(t, handler, answering(403, "echo"))
		defer end()
		n, err := store.Upload(t.Context(), "run", writeFiles(t, map[string]int{"a": 10, "b": 20}))
		checkError(t, err, "writing a to s3://results at http://store:9000: HTTP 403 AccessDenied", "s3:PutObject")
		if n != 0 {
			t.Errorf("%d files were uploaded", n)
		}
	})
}

// A server that takes nothing more, or does not answer, is given up.
func TestStalled(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"reads nothing": hang, "answers nothing": hangAtEnd,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, fake := newFake(t)
				store, end := inMemory(t, fake, handler)
				defer end()
				began := time.Now()
				_, err := store.Upload(t.Context(), "run", writeFiles(t, map[string]int{"a": 4 << 20}))
				checkError(t, err, "writing a to", "")
				if took := time.Since(began); took < stalled || took > retries*(stalled+2*time.Second) {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// A signal during the upload leaves it a while.
func TestUploadAfterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fake := newFake(t)
		store, end := inMemory(t, fake, http.HandlerFunc(hangAtEnd))
		defer end()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		_, err := store.Upload(ctx, "run", writeFiles(t, map[string]int{"a": 10}))
		checkError(t, err, "it took longer than 20s", "")
		if took := time.Since(began); took != AfterEnd {
			t.Errorf("it took %v, want %v", took, AfterEnd)
		}
	})
	// One that needs no more than that is not cut short.
	synctest.Test(t, func(t *testing.T) {
		backend, fake := newFake(t)
		store, end := inMemory(t, fake, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(15 * time.Second)
			fake.ServeHTTP(w, r)
		}))
		defer end()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		files := writeFiles(t, map[string]int{"a": 10})
		if n, err := store.Upload(ctx, "run", files); err != nil || n != 1 {
			t.Errorf("%d files, %v", n, err)
		}
		sameObjects(t, backend, "run", files)
	})
}

// A server that does not answer the check is not waited for.
func TestCheckEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		setEnv(t, "http://store:9000")
		began := time.Now()
		_, err := open(t.Context(), Location{"results", ""}, func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(forever) // packets are dropped; net/http leaves a connection that nobody waits for to itself
			return nil, os.ErrDeadlineExceeded
		})
		defer time.Sleep(2 * forever)
		checkError(t, err, "it took longer than 20s", "is there a way to the server")
		if took := time.Since(began); took != checkPatience {
			t.Errorf("it took %v, want %v", took, checkPatience)
		}
	})
}
