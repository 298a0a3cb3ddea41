package loadgen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// No credential may come back out of a server's answer, however it is wrapped.
func TestSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("padding ", 35) // so that the limit on an error's length falls into the key
	answers := map[string]string{
		"bearer":             `{"error":{"message":"Incorrect API key provided: ` + canary + `."}}`,
		"whole header":       `{"detail":"Bearer ` + canary + ` is not known"}`,
		"cut by length":      `{"message":"` + long + `0123456789 ` + canary + `"}`,
		"cut by length, raw": long + "0123456789 " + canary + " and more",
		"JSON escapes":       `{"message":"key \u0073k` + canary[2:] + `"}`,
		"other header":       `{"message":"token tok-` + canary + ` expired"}`,
		"basic":              `{"message":"password ` + "pw-" + canary + ` is wrong"}`,
	}
	for name, body := range answers {
		for _, response := range []string{
			fmt.Sprintf("HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
			fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				len(body), body),
			chunkedHead + chunked("event: error\ndata: "+body+"\n\n"),
			chunkedHead + chunked("data: {\"error\":"+fmt.Sprintf("%q", body)+"}\n\n"),
			chunkedHead + chunked("data: "+body+"\n\n"),
			chunkedHead + chunked(completion(canary, " ", canary)),
			chunkedHead + chunked(strings.ReplaceAll(completion("a"), "cmpl-1", canary)),
			body,
			"HTTP/1.1 " + body + "\r\n\r\n",
			"HTTP/1.1 200 " + canary + "\r\nTransfer-Encoding: " + canary + "\r\n\r\n",
			"HTTP/1.1 503 No\r\nRetry-After: " + canary + "\r\nContent-Length: 0\r\n\r\n",
		} {
			target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
				request(r)
				io.WriteString(c, response)
			})
			target.Redact = func(s string) string { return strings.ReplaceAll(s, canary, "[redacted]") }
			a := post(t.Context(), t, newClient(t, target), "{}")
			if text := a.Error + a.Output + a.ResponseID; strings.Contains(text, canary[:8]) {
				t.Errorf("%s: %q gives %q", name, response, text)
			}
			if a.Status == Errored && a.Error == "" {
				t.Errorf("%s: %q gives an error without words", name, response)
			}
		}
	}
	for _, bad := range []string{"ftp://user:" + canary + "@host/", "http://user:" + canary + "@host:port/",
		"http://user:" + canary + "/x@host:bad/", "user:" + canary + "@host",
		"http://user:" + canary + "@host/", "http://" + canary + "@host/",
		"http://user:" + canary + "@", "http://user:" + canary + "%zz@host/", "://" + canary + "@x"} {
		if _, err := NewClient(Target{URL: bad}); err == nil {
			t.Errorf("%q is taken for a target", bad)
		} else if strings.Contains(err.Error(), canary[:8]) {
			t.Errorf("%v", err)
		}
	}
}

// One client's connections are used by any number of goroutines.
func TestManyAtOnce(t *testing.T) {
	s := httptest.NewServer(streamHandler("a", "b", "c"))
	defer s.Close()
	c := newClient(t, Target{URL: s.URL})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 5 {
				if a := post(t.Context(), t, c, "{}"); a.Status != Completed || a.Output != "abc" ||
					a.OutputTokens != 3 {
					t.Errorf("%v %q: %+v", a.Status, a.Error, a)
				}
			}
		})
	}
	all.Wait()
	if n := c.routes[0].transport.Connections(); n == 0 || n > 50 {
		t.Errorf("%d idle connections after 50 goroutines", n)
	}
}

var errNoDial = errors.New("no dialling here")

func TestNewClientRefuses(t *testing.T) {
	for _, target := range []string{"", "host:80", "http://", "http:///path", "https://:443", "ftp://host",
		"http://host:port", "http://ho st"} {
		if _, err := NewClient(Target{URL: target}); err == nil {
			t.Errorf("%q is taken for a target", target)
		}
	}
	for target, address := range map[string]string{
		"http://host": "host:80", "https://host/": "host:443", "http://host:8000/v1": "host:8000",
		"http://[::1]:8000": "[::1]:8000", "https://[::1]": "[::1]:443",
	} {
		var dialled string
		c := newClient(t, Target{URL: target, Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = address
			return nil, errNoDial
		}})
		if a := post(t.Context(), t, c, "{}"); a.Err != ErrConnect || dialled != address {
			t.Errorf("%s: dialled %q, want %q (%v)", target, dialled, address, a.Error)
		}
	}
}
