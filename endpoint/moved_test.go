package endpoint

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Which redirects may be followed, and what is said of the others.
func TestMoved(t *testing.T) {
	for _, c := range []struct {
		from, location string
		status         int
		to             string // "": it is not followed
		text           string // of the error
	}{
		{"http://h", "/new/v1/models", 301, "http://h/new/v1", ""},
		{"http://h", "http://h:80/v1/models", 302, "http://h:80/v1", ""},
		{"http://h", "https://h/v1/models", 308, "https://h/v1", ""},
		{"http://h:80", "https://H:443/a/v1/models", 307, "https://H:443/a/v1", ""},
		{"https://h:8443/a", "https://h:8443/b/v1/models", 307, "https://h:8443/b/v1", ""},
		{"unix:///run/x.sock", "/b/v1/models", 307, "unix:///run/x.sock:/b/v1", ""},
		{"unix:///run/x.sock", "https://localhost/v1/models", 307, "", "another port"},
		{"http://[::1]:8", "http://[::1]:8/b/v1/models", 307, "http://[::1]:8/b/v1", ""},
		{"http://h", "https://other/v1/models", 307, "", "another host"},
		{"http://h", "//other/v1/models", 307, "", "another host"},
		{"http://h", "https://h.other/v1/models", 307, "", "another host"},
		{"https://h", "http://h/v1/models", 307, "", "without TLS"},
		{"http://h:8000", "https://h:8443/v1/models", 307, "", "another port"},
		{"http://h:8000", "https://h/v1/models", 307, "", "another port"},
		{"http://h", "http://h:81/v1/models", 307, "", "another port"},
		{"http://h", "/login", 302, "", "does not end in /models"},
		{"http://h", "/v1/models?next=1", 302, "", "does not end in /models"},
		{"http://h", "http://me:word@h/b/v1/models", 302, "", "does not end in /models"},
		{"http://h", "/b/v1/models", 303, "", ""},
		{"http://h", "/v1/models", 307, "", ""},
		{"http://h", "ftp://h/v1/models", 307, "", "another port"},
		{"http://h", "%zz", 307, "", ""},
		{"http://h", "", 307, "", ""},
	} {
		base, _, err := ParseBase(c.from)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Open(Config{Address: base})
		if err != nil {
			t.Fatal(err)
		}
		asked, _ := url.Parse(base.Join("/models").URL())
		to, text := e.moved("/models", &http.Response{
			StatusCode: c.status, Header: http.Header{"Location": {c.location}}, Request: &http.Request{URL: asked},
		})
		if to.String() != c.to || !strings.Contains(text, c.text) || strings.Contains(text, "word") {
			t.Errorf("%s to %s: %q, %q; want %q", c.from, c.location, to, text, c.to)
		}
	}
}
