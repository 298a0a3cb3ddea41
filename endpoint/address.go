package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode"
)

// Address is the URL of an endpoint, without a name and a password: those become a Secret when it is parsed. The zero
// value is no address.
type Address struct {
	url    url.URL
	socket string // path of the Unix socket that leads there; "": the host of the URL does
}

// unixScheme begins the address of a Unix socket. Where requests have a path of their own, it follows after a colon:
// unix:///run/vllm.sock:/v1
const unixScheme = "unix://"

// socketHost stands in the URL of requests over a Unix socket, and is what their Host header says.
const socketHost = "localhost"

// parseSocket reads the address of a Unix socket, without its scheme.
func parseSocket(s string) (Address, error) {
	shown := unixScheme + s
	socket, path, found := strings.Cut(s, ":/")
	switch {
	case strings.ContainsAny(s, "@?#%") || strings.ContainsFunc(s, unicode.IsControl):
		return Address{}, fmt.Errorf("%q holds @ ? # %% or a control character, which the address of a Unix socket "+
			"can't", hideLogin(shown))
	case !strings.HasPrefix(socket, "/") || strings.HasSuffix(socket, "/"):
		return Address{}, fmt.Errorf("%q names no Unix socket: write unix:///path/to.sock", shown)
	}
	a := Address{url: url.URL{Scheme: "http", Host: socketHost}, socket: socket}
	if found {
		a.url.Path = "/" + path
	}
	return a, nil
}

// ErrLogin means that a URL holds something before its host that is not a name and a password as a URL has them.
var ErrLogin = errors.New("what stands before its @ is not NAME:PASSWORD, escaped as in a URL")

// ParseAddress reads an http or https URL as people write it, or unix:///path/to.sock. A name and a password in it are
// returned as the value of an Authorization header, and are in the address no more. No error shows them, nor what may
// be one: a URL whose login can't be read, or has no password, is refused, since a key is easily taken for a name.
func ParseAddress(s string) (Address, Secret, error) {
	if rest, ok := strings.CutPrefix(s, unixScheme); ok {
		a, err := parseSocket(rest)
		return a, Secret{}, err
	}
	shown := hideLogin(s)
	if !strings.Contains(s, "://") {
		return Address{}, Secret{}, fmt.Errorf("%q has no scheme: write http://%s or https://%s", shown, shown, shown)
	}
	u, err := url.Parse(s)
	if err != nil {
		var detail *url.Error
		switch {
		case loginIsWrong(s):
			return Address{}, Secret{}, fmt.Errorf("%q is not a URL: %w", shown, ErrLogin)
		case shown == s && errors.As(err, &detail): // what is wrong is no secret
			return Address{}, Secret{}, fmt.Errorf("%q is not a URL: %w", s, detail.Err)
		}
		if strings.HasSuffix(shown, ":"+redacted) {
			return Address{}, Secret{}, fmt.Errorf("%q is not a URL: what follows the colon is not a port", shown)
		}
		return Address{}, Secret{}, fmt.Errorf("%q is not a URL", shown)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return Address{}, Secret{}, fmt.Errorf("%q has the scheme %q: it must be http, https or unix", shown, u.Scheme)
	case u.Hostname() == "":
		return Address{}, Secret{}, fmt.Errorf("%q names no host: write http://host:port", shown)
	}
	// In "http://me:12/34@host" the password ends the host early, and would stay in the path.
	for _, part := range []string{u.EscapedPath(), u.RawQuery, u.EscapedFragment(), u.Host} {
		if strings.Contains(part, "@") {
			return Address{}, Secret{}, fmt.Errorf("%q has an @ after its host: "+
				"write %%40 where it belongs to the path, and / ? # of a password as %%2F %%3F %%23", shown)
		}
	}
	var secret Secret
	if u.User != nil {
		secret = login(u.User)
		if _, ok := u.User.Password(); !ok || secret.IsEmpty() {
			return Address{}, Secret{}, fmt.Errorf("%q: %w", shown, ErrLogin)
		}
	}
	a := Address{url: *u}
	a.url.User = nil
	if _, err := url.Parse(a.url.String()); err != nil { // net/url takes zones of IPv6 that it does not take back
		return Address{}, Secret{}, fmt.Errorf("%q is not a URL", shown)
	}
	return a, secret, nil
}

// loginIsWrong says whether a text would be a URL without what stands before its last @.
func loginIsWrong(s string) bool {
	scheme, rest, _ := strings.Cut(s, "://")
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return false
	}
	_, err := url.Parse(scheme + "://" + rest[at+1:])
	return err == nil
}

// login is the value of an Authorization header (RFC 7617) for a name and a password; "" for neither.
func login(user *url.Userinfo) Secret {
	password, _ := user.Password()
	if user.Username()+password == "" {
		return Secret{}
	}
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user.Username(), password)
	return NewSecret(r.Header.Get("Authorization"))
}

// ParseBase reads the base URL of an OpenAI-compatible API as people write it: with or without /v1, with or without a
// slash, even with the path of a request. The address that it returns ends in /v1.
func ParseBase(s string) (Address, Secret, error) {
	a, login, err := ParseAddress(s)
	if err != nil {
		return a, login, err
	}
	u := &a.url
	if u.RawQuery != "" || u.Fragment != "" {
		base, _, _ := strings.Cut(hideLogin(s), "#")
		base, _, _ = strings.Cut(base, "?") // a key may stand there
		return Address{}, Secret{}, fmt.Errorf("%q is followed by a query or fragment: give the base URL alone", base)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	for _, end := range []string{"/chat/completions", "/completions", "/responses", "/messages", "/embeddings",
		"/rerank"} {
		u.Path = strings.TrimSuffix(u.Path, end)
	}
	if !strings.HasSuffix(u.Path, "/v1") {
		u.Path += "/v1"
	}
	u.RawPath, u.ForceQuery = "", false // "http://h?" has a query that is empty
	return a, login, nil
}

// String is the address as people write it.
func (a Address) String() string {
	switch {
	case a.IsZero():
		return ""
	case a.socket == "":
		return a.url.String()
	case a.url.Path == "":
		return unixScheme + a.socket
	}
	return unixScheme + a.socket + ":" + a.url.Path
}

// URL is the URL of a request, whatever leads there.
func (a Address) URL() string { return a.url.String() }

// Dial opens connections to the Unix socket of the address; nil where it has none.
func (a Address) Dial() func(ctx context.Context, network, address string) (net.Conn, error) {
	if a.socket == "" {
		return nil
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", a.socket)
	}
}

// Query is the query of the URL, which may hold a token; empty for none.
func (a Address) Query() Secret { return NewSecret(a.url.RawQuery) }

// IsZero says whether there is no address.
func (a Address) IsZero() bool { return a.url.Host == "" }

// IsTLS says whether the address asks for TLS.
func (a Address) IsTLS() bool { return a.url.Scheme == "https" }

// Join is the address with a path added to it.
func (a Address) Join(path string) Address {
	a.url.Path = strings.TrimRight(a.url.Path, "/") + path
	a.url.RawPath = ""
	return a
}

// Root is the scheme and host alone, with a path in place of the address's own.
func (a Address) Root(path string) Address {
	return Address{url: url.URL{Scheme: a.url.Scheme, Host: a.url.Host, Path: path}, socket: a.socket}
}

// WithQuery is the address with this query, "" for none.
func (a Address) WithQuery(query string) Address {
	a.url.RawQuery = query
	return a
}

// MarshalText writes the URL.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads a URL; a name and a password in it are dropped.
func (a *Address) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = Address{}
		return nil
	}
	var err error
	*a, _, err = ParseAddress(string(text))
	return err
}

// hideUserinfo takes name and password out of what may be a URL, well formed or not.
func hideUserinfo(s string) string {
	// An unescaped slash in the password ends the authority early, so the last @ counts, wherever it stands.
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return s
	}
	if begin := strings.Index(s, "://"); begin >= 0 && begin < at {
		return s[:begin] + "://" + redacted + s[at:]
	}
	return redacted + s[at:]
}

// hideLogin takes out as well what stands in the place of the port and is no port, for where the @ is missing, or
// escaped, a password stands there; and the query and the fragment, which may hold a key.
func hideLogin(s string) string {
	s = hideUserinfo(s)
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i+1] + redacted
	}
	begin := 0
	if i := strings.Index(s, "://"); i >= 0 {
		begin = i + len("://")
	}
	if at := strings.LastIndexByte(s, '@'); at > begin {
		begin = at + 1
	}
	authority, _, _ := strings.Cut(s[begin:], "/")
	if i := strings.IndexAny(authority, "?#"); i >= 0 {
		authority = authority[:i]
	}
	afterBracket := 0
	if end := strings.IndexByte(authority, ']'); end > 0 && authority[0] == '[' {
		if _, err := netip.ParseAddr(authority[1:end]); err == nil { // an IPv6 address
			afterBracket = end
		}
	}
	colon := strings.IndexByte(authority[afterBracket:], ':')
	if colon < 0 {
		return s
	}
	port := begin + afterBracket + colon + 1
	end := begin + len(authority)
	if strings.Trim(s[port:end], "0123456789") == "" {
		return s
	}
	return s[:port] + redacted
}
