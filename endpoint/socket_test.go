package endpoint

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

func TestSocketAddress(t *testing.T) {
	for in, want := range map[string]string{
		"unix:///run/vllm.sock":                             "unix:///run/vllm.sock:/v1",
		"unix:///run/vllm.sock:/":                           "unix:///run/vllm.sock:/v1",
		"unix:///run/vllm.sock:/v1":                         "unix:///run/vllm.sock:/v1",
		"unix:///run/vllm.sock:/openai":                     "unix:///run/vllm.sock:/openai/v1",
		"unix:///run/vllm.sock:/openai/v1/completions":      "unix:///run/vllm.sock:/openai/v1",
		"unix:///run/my server:1.sock:/v1/chat/completions": "unix:///run/my server:1.sock:/v1",
	} {
		a, login, err := ParseBase(in)
		if err != nil || a.String() != want || !login.IsEmpty() || a.IsTLS() || a.IsZero() {
			t.Errorf("ParseBase(%q) = %q, %v; want %q", in, a, err, want)
			continue
		}
		if u := a.URL(); !strings.HasPrefix(u, "http://localhost/") || !strings.HasSuffix(u, "/v1") {
			t.Errorf("%q: requests go to %q", in, u)
		}
		socket, _, _ := strings.Cut(want, ":/v1")
		socket, _, _ = strings.Cut(socket, ":/openai")
		if got := a.Root("/metrics").String(); got != socket+":/metrics" {
			t.Errorf("%q has its metrics at %q", in, got)
		}
		text, err := json.Marshal(a)
		var back Address
		if err != nil || json.Unmarshal(text, &back) != nil || back != a {
			t.Errorf("%s is read back as %+v, %v", text, back, err)
		}
	}
	for in, want := range map[string]string{
		"unix://":                   "write unix:///path/to.sock",
		"unix:///":                  "write unix:///path/to.sock",
		"unix://run/a.sock":         "write unix:///path/to.sock",
		"unix:///run/a/":            "write unix:///path/to.sock",
		"unix://me:hidden@/a.sock":  "can't",
		"unix:///a.sock?key=hidden": "can't",
		"unix:///a\nb":              "can't",
	} {
		if a, _, err := ParseBase(in); err == nil || !strings.Contains(err.Error(), want) || !a.IsZero() ||
			strings.Contains(err.Error(), "hidden") {
			t.Errorf("ParseBase(%q) = %q, %v; want an error with %q", in, a, err, want)
		}
	}
}

// An endpoint on a Unix socket, and one on an IPv6 address, is asked, tried and loaded.
func TestSocketAndIPv6(t *testing.T) {
	var hosts []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		hosts = append(hosts, r.Host)
		if r.URL.Path == "/v1/models" {
			io.WriteString(w, `{"data":[{"id":"m"}]}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, event(`{"choices":[{"index":0,"delta":{"content":"w"},"finish_reason":"length"}],`+
			`"usage":{"prompt_tokens":1,"completion_tokens":1}}`)+event("[DONE]"))
	})
	serve := func(l net.Listener) {
		s := httptest.NewUnstartedServer(handler)
		s.Listener.Close()
		s.Listener = l
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serve(l)
	addresses := map[string]string{"unix://" + socket: "localhost"}
	if l, err = net.Listen("tcp", "[::1]:0"); err == nil { // there are machines without IPv6
		serve(l)
		addresses["http://"+l.Addr().String()] = l.Addr().String()
	}
	for address, host := range addresses {
		for _, http2 := range []bool{false, true} {
			hosts = nil
			e := open(t, address, func(c *Config) { c.HTTP2 = http2 })
			if ids, err := e.Models(t.Context()); err != nil || len(ids) != 1 {
				t.Errorf("%s: models: %v, %v", address, ids, err)
			}
			if trial, err := e.Try(t.Context(), "/chat/completions", []byte("{}"), time.Minute); err != nil ||
				trial.Tokens != 1 {
				t.Errorf("%s: trial: %+v, %v", address, trial, err)
			}
			target := e.Target("/chat/completions")
			m := load(t, target)
			if got := m.Records[0]; got.Status != loadgen.Completed {
				t.Errorf("%s: load: %v %+v", address, got.Status, m.Details)
			}
			if strings.HasPrefix(address, "unix") && m.Records[0].Flags&loadgen.KernelStamped != 0 {
				t.Error("kernel stamps from a Unix socket")
			}
			if len(hosts) != 3 || hosts[0] != host || hosts[1] != host || hosts[2] != host {
				t.Errorf("%s: the Host headers are %q", address, hosts)
			}
		}
	}
	for _, file := range []string{socket + "-not", t.TempDir()} {
		_, err = open(t, "unix://"+file).Models(t.Context())
		wantCause(t, err, map[bool]Cause{true: CauseSocket, false: CauseRefused}[strings.HasSuffix(file, "-not")],
			"GET unix://"+file+":/v1/models: ")
	}
}
