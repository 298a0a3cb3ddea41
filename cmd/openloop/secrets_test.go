package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// The key and the password hold what every kind of escaping changes.
const (
	canaryKey      = `sk-canary/0123+4&5=6"7<8`
	canaryPassword = `pw-canary/0123+4&5=6"7<8`
)

// formsOf are the ways in which a server may repeat a secret.
func formsOf(secret string) []string {
	quoted, _ := json.Marshal(secret)
	inJSON := strings.Trim(string(quoted), `"`)
	var numbers strings.Builder
	for _, r := range secret {
		fmt.Fprintf(&numbers, `\u%04x`, r)
	}
	return []string{
		secret, inJSON, strings.ReplaceAll(inJSON, "/", `\/`), numbers.String(),
		strings.Trim(strconv.Quote(secret), `"`),
		url.QueryEscape(secret), url.PathEscape(secret), url.QueryEscape(url.QueryEscape(secret)),
		url.QueryEscape(inJSON), html.EscapeString(secret), html.EscapeString(inJSON),
		hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret)),
		base64.RawURLEncoding.EncodeToString([]byte("x" + secret)),
	}
}

// echo is the secret of a request in every form.
func echo(r *http.Request) string {
	secret := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, password, ok := r.BasicAuth(); ok {
		secret = password
	}
	return strings.Join(formsOf(secret), " ")
}

func quoted(s string) string {
	q, _ := json.Marshal(s)
	return string(q)
}

const (
	wholeAnswer = `{"choices":[{"message":{"content":%s},"finish_reason":"length"}],` +
		`"usage":{"prompt_tokens":%d,"completion_tokens":4}}`
	streamedToken = "data: {\"id\":%s,\"model\":%s,\"choices\":[{\"delta\":{\"content\":%s}}]}\n\n"
	streamedEnd   = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n" +
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n"
)

// echoing is an endpoint that does well in all but one of its answers, in which it repeats the secret.
func echoing(t *testing.T, where, how string) *httptest.Server {
	t.Helper()
	var completions atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		place := "metrics"
		isStream := bytes.Contains(body, []byte(`"stream":true`))
		switch {
		case strings.HasSuffix(r.URL.Path, "/models"):
			place = "models"
		case strings.HasSuffix(r.URL.Path, "/tokenize"):
			place = "tokenize"
		case strings.HasSuffix(r.URL.Path, "/completions") && !isStream:
			place = "usage"
		case strings.HasSuffix(r.URL.Path, "/completions"):
			place = "load"
			if completions.Add(1) == 1 {
				place = "trial"
			}
		}
		if place == where {
			repeat(w, r, how)
			return
		}
		switch place {
		case "models":
			io.WriteString(w, `{"data":[{"id":"m"}]}`)
		case "usage":
			fmt.Fprintf(w, wholeAnswer, `"a"`, 40)
		case "load", "trial":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, strings.Repeat(fmt.Sprintf(streamedToken, `"i"`, `"m"`, `"a"`), 4)+streamedEnd)
		case "metrics":
			io.WriteString(w, "vllm:num_requests_running 0\n")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// repeat answers with the secret of the request.
func repeat(w http.ResponseWriter, r *http.Request, how string) {
	text := echo(r)
	switch how {
	case "text":
		io.WriteString(w, "no: "+text)
	case "error text":
		http.Error(w, text, http.StatusUnauthorized)
	case "error":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":{"message":%s}}`, quoted("bad key "+text))
	case "raw error": // with the escapes that the forms have, one layer less
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":{"code":%s,"why":"%s"}}`, quoted(text), formsOf(strings.Fields(text)[0])[2])
	case "location":
		w.Header().Set("Location", "http://other.invalid/?key="+text)
		w.WriteHeader(http.StatusFound)
	case "content type":
		w.Header().Set("Content-Type", "text/"+text)
		io.WriteString(w, "x")
	case "retry after":
		w.Header().Set("Retry-After", text)
		w.WriteHeader(http.StatusServiceUnavailable)
	case "encoding":
		w.Header().Set("Content-Encoding", text)
	case "head":
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			fmt.Fprintf(c, "HTTP/1.1 403 %s\r\n%s\r\n\r\n", text, text)
			c.Close()
		}
	case "status":
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			fmt.Fprintf(c, "HTTP/1.1 403 %s\r\nContent-Length: 0\r\n\r\n", text)
			c.Close()
		}
	case "id":
		fmt.Fprintf(w, `{"data":[{"id":%s}]}`, quoted("model of "+text))
	case "metrics":
		fmt.Fprintf(w, "vllm:num_requests_running{k=%s} 1\n%s\n", quoted(text), text)
	case "stream":
		w.Header().Set("Content-Type", "text/event-stream")
		text = quoted(text)
		io.WriteString(w, strings.Repeat(fmt.Sprintf(streamedToken, text, text, text), 4)+streamedEnd)
	case "stream error":
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: {\"error\":{\"message\":%s}}\n\n", quoted(text))
	case "stream text":
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: %s\n\n", text)
	}
}

// A server that repeats the key or the password in any answer, in any escaping, gets it onto no screen and into no
// file, whichever way it was given. It runs beside no other test: many programs at once would delay the load of those.
func TestEchoedSecretsAreNowhere(t *testing.T) {
	places := map[string][]string{
		"models": {"text", "error text", "error", "raw error", "location", "content type", "retry after", "encoding",
			"head", "status", "id"},
		"trial": {"text", "error text", "error", "raw error", "location", "content type", "retry after", "encoding",
			"head", "stream", "stream error", "stream text"},
		"tokenize": {"text", "error", "location", "head", "stream"},
		"usage":    {"text", "error", "content type", "encoding"},
		"load": {"text", "error text", "error", "raw error", "retry after", "head", "stream", "stream error",
			"stream text"},
		"metrics": {"text", "error text", "location", "head", "status", "metrics"},
	}
	given := []string{"key", "file", "login", "metrics", "benchmark", "variable"}
	n := 0
	for where, ways := range places {
		for _, how := range ways {
			way := given[n%len(given)] // every way is met often enough
			n++
			t.Run(strings.Join([]string{where, how, way}, ", "), func(t *testing.T) {
				t.Parallel()
				if where == "metrics" {
					way = "metrics"
				}
				echoTo(t, echoing(t, where, how), where, way)
			})
		}
	}
	for _, way := range given {
		for _, at := range []string{"models", "trial", "load"} {
			how := "error text"
			t.Run(strings.Join([]string{at, how, way}, ", "), func(t *testing.T) {
				t.Parallel()
				echoTo(t, echoing(t, at, how), at, way)
			})
		}
	}
}

// echoTo runs the real program against a server and looks for the secret in all that it writes.
func echoTo(t *testing.T, server *httptest.Server, where, way string) {
	t.Helper()
	dir := t.TempDir()
	withLogin := func(at string) string {
		return strings.Replace(at, "://", "://"+url.UserPassword("me", canaryPassword).String()+"@", 1)
	}
	env := append(os.Environ(), "OPENAI_API_KEY=", "NO_PROXY=*")
	args := []string{"run", "--target", server.URL, "--output-tokens", "4", "--prompt-tokens", "32"}
	switch way {
	case "key":
		args = append(args, "--api-key", canaryKey)
	case "file":
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(canaryKey+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--api-key-file", file)
	case "login":
		args[2] = withLogin(server.URL)
	case "metrics":
		args = append(args, "--server-metrics", withLogin(server.URL)+"/metrics")
		env = append(env, "OPENAI_API_KEY="+canaryKey)
	case "benchmark":
		args = []string{"benchmark", "run", "--target=" + withLogin(server.URL),
			"--data", "prompt_tokens=32,output_tokens=4"}
	case "variable":
		args = []string{"benchmark", "run", "--data", "prompt_tokens=32,output_tokens=4"}
		env = append(env, "GUIDELLM_TARGET="+withLogin(server.URL))
	}
	outputs, files := "json,csv,yaml,html", 5 // with the configuration that repeats the run
	if args[0] == "benchmark" {               // it writes what GuideLLM writes
		outputs, files = "json,csv,yaml", 3
	}
	args = append(args, "--profile", "constant", "--rate", "40", "--max-requests", "3", "--allow-invalid",
		"--outputs", outputs, "--output-dir", filepath.Join(dir, "results"))
	cmd := exec.Command(os.Args[0])
	cmd.Args, cmd.Env = append([]string{"openloop"}, args...), env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // most runs are refused
	texts := map[string]string{"screen": out.String()}
	if out.Len() == 0 {
		t.Fatal("the program said nothing")
	}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		texts[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if sent := where == "tokenize" || where == "usage" || where == "load"; sent && len(texts) != 1+files {
		t.Errorf("no report was written: %s", out.String())
	}
	for _, secret := range []string{canaryKey, canaryPassword} {
		for _, form := range append(formsOf(secret), secret[:12]) {
			for name, text := range texts {
				for _, form := range []string{form, strings.Trim(quoted(form), `"`)} {
					if i := strings.Index(text, form); i >= 0 {
						t.Errorf("%s has %q in %q", name, form, text[max(0, i-100):min(len(text), i+100)])
					}
				}
			}
		}
	}
}
