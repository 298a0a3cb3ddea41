package endpoint

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/openloop/openloop/loadgen/stream"
)

// moved says where a redirect leads, in words, and the base at which the API is by it: the zero Address where it is not
// to be followed, be it that it leads to another host, away from TLS, or to something else. path is what was asked for,
// below the base.
func (e *Endpoint) moved(path string, resp *http.Response) (to Address, text string) {
	const shown = 300
	location := resp.Header.Get("Location")
	if location == "" {
		return Address{}, ""
	}
	text = "the endpoint redirects to " + stream.Shorten(e.Redact(hideUserinfo(location)), shown)
	u, err := resp.Request.URL.Parse(location)
	if err != nil {
		return Address{}, text
	}
	from := &e.config.Address.url
	base, same := strings.CutSuffix(u.Path, path)
	switch {
	case !strings.EqualFold(u.Hostname(), from.Hostname()):
		return Address{}, text + ", which is another host: nothing is sent there, and no credentials"
	case from.Scheme == "https" && u.Scheme != "https":
		return Address{}, text + ", which is without TLS: nothing is sent there, and no credentials"
	case u.Scheme != from.Scheme && (u.Scheme != "https" || port(from) != "80" || port(u) != "443" ||
		e.config.Address.socket != ""), u.Scheme == from.Scheme && port(u) != port(from):
		return Address{}, text + ", which is another port of its host: nothing is sent there, and no credentials"
	case !same || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return Address{}, fmt.Sprintf("%s, which does not end in %s", text, path)
	case resp.StatusCode == http.StatusSeeOther:
		return Address{}, text
	}
	to = e.config.Address
	to.url.Scheme, to.url.Host, to.url.Path, to.url.RawPath = u.Scheme, u.Host, base, ""
	if to == e.config.Address {
		return Address{}, text
	}
	return to, text
}

// port is that of a URL, its scheme's where it names none.
func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// MoveTo is the endpoint at another base, to which it has redirected (Error.Moved).
func (e *Endpoint) MoveTo(to Address) (*Endpoint, error) {
	c := e.config
	c.Address = to
	return Open(c)
}
