package endpoint

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Address is the URL of an endpoint, without a name and a password: those become a Secret when it is parsed. The zero
// value is no address.
type Address struct{ url url.URL }

// ParseAddress reads an http or https URL as people write it. A name and a password in it are returned as the value of
// an Authorization header, and are in the address no more. No error shows them.
func ParseAddress(s string) (Address, Secret, error) {
	shown := hideUserinfo(s)
	if !strings.Contains(s, "://") {
		return Address{}, Secret{}, fmt.Errorf("%q has no scheme: write http://%s or https://%s", shown, shown, shown)
	}
	u, err := url.Parse(s)
	if err != nil {
		var detail *url.Error
		if errors.As(err, &detail) && !strings.Contains(s, "@") { // what is wrong may be in the password
			return Address{}, Secret{}, fmt.Errorf("%q is not a URL: %w", s, detail.Err)
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
	}
	a := Address{*u}
	a.url.User = nil
	return a, secret, nil
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
		base, _, _ := strings.Cut(hideUserinfo(s), "#")
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
	u.RawPath = ""
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
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	// An unescaped slash in the password ends the authority early, so the last @ counts, wherever it stands.
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return s
	}
	if rest = redacted + rest[at:]; ok {
		rest = scheme + "://" + rest
	}
	return rest
}
