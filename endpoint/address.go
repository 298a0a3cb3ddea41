package endpoint

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Address is the URL of an endpoint, without a name and a password: those become a Secret when it is parsed. The zero
// value is no address.
type Address struct{ url url.URL }

// ErrLogin means that a URL holds something before its host that is not a name and a password as a URL has them.
var ErrLogin = errors.New("what stands before its @ is not NAME:PASSWORD, escaped as in a URL")

// ParseAddress reads an http or https URL as people write it. A name and a password in it are returned as the value of
// an Authorization header, and are in the address no more. No error shows them, nor what may be one: a URL whose login
// can't be read, or has no password, is refused, since a key is easily taken for a name.
func ParseAddress(s string) (Address, Secret, error) {
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
		return Address{}, Secret{}, fmt.Errorf("%q has the scheme %q: it must be http or https", shown, u.Scheme)
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
	a := Address{*u}
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
	for _, end := range []string{"/chat/completions", "/completions"} {
		u.Path = strings.TrimSuffix(u.Path, end)
	}
	if !strings.HasSuffix(u.Path, "/v1") {
		u.Path += "/v1"
	}
	u.RawPath, u.ForceQuery = "", false // "http://h?" has a query that is empty
	return a, login, nil
}

// String is the URL.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return a.url.String()
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
	return Address{url.URL{Scheme: a.url.Scheme, Host: a.url.Host, Path: path}}
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
