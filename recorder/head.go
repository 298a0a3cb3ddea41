package recorder

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// head is what is known of a request before its body.
type head struct {
	method, path string // the path without its query
	length       int64  // of the body, in bytes; -1: it comes in chunks
	upgrades     bool   // whatever it is from here on
	out          []byte // as it goes to the endpoint
}

// readHead reads the head of a request to an endpoint. Heads as all clients send them are read here, with the few looks
// that passing them on takes: net/http takes 70 µs for a request that comes by itself, since its code is not in the
// processor's caches then. It reads all others, and so judges what is no request.
func readHead(in *bufio.Reader, to *url.URL) (head, error) {
	text, err := headText(in)
	if err != nil {
		return head{}, err
	}
	if h, ok := plainHead(text, to); ok {
		return h, nil
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
	switch {
	case err != nil:
		return head{}, refusal{http.StatusBadRequest, err.Error()}
	case req.ProtoMajor != 1:
		return head{}, refusal{http.StatusHTTPVersionNotSupported, "HTTP/1.1 is spoken here"}
	}
	h := head{method: req.Method, path: req.URL.Path, length: req.ContentLength,
		upgrades: req.Header.Get("Upgrade") != "", out: address(text, req.Method, targetOf(req), req.Proto, to)}
	if len(req.TransferEncoding) > 0 {
		h.length = -1
	}
	return h, nil
}

// targetOf is what a request asks for, of a proxy, too.
func targetOf(req *http.Request) string {
	if !strings.HasPrefix(req.RequestURI, "/") && req.URL.Host != "" {
		return req.URL.RequestURI()
	}
	return req.RequestURI
}

// headText is a head as it came, up to the empty line behind it.
func headText(in *bufio.Reader) (text []byte, err error) {
	for {
		line, err := in.ReadSlice('\n')
		text = append(text, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return nil, err
		case len(bytes.TrimRight(line, "\r\n")) == 0:
			if len(text) > len(line) {
				return text, nil
			}
			text = text[:0] // an empty line before a request
		}
		if len(text) > mostHead {
			return nil, refusal{http.StatusRequestHeaderFieldsTooLarge, "the request's head is too large"}
		}
	}
}

// plainHead reads a head of HTTP/1.1 that has nothing uncommon about it; false where it may have, or is wrong.
func plainHead(text []byte, to *url.URL) (h head, ok bool) {
	first, rest, _ := bytes.Cut(text, []byte("\r\n"))
	method, line, _ := bytes.Cut(first, []byte(" "))
	target, proto, _ := bytes.Cut(line, []byte(" "))
	if string(method) != http.MethodPost && string(method) != http.MethodGet || string(proto) != "HTTP/1.1" ||
		len(target) == 0 || target[0] != '/' || !all(target, isPlainTarget) {
		return head{}, false
	}
	path, _, _ := bytes.Cut(target, []byte("?"))
	h = head{method: string(method), path: string(path)}
	hosts, lengths := 0, 0
	for len(rest) > 2 {
		line, after, _ := bytes.Cut(rest, []byte("\r\n"))
		name, value, isField := bytes.Cut(line, []byte(": "))
		if !isField || len(name) == 0 || !all(name, isNameByte) || !all(value, isValueByte) {
			return head{}, false
		}
		switch {
		case bytes.EqualFold(name, []byte("Host")):
			hosts++
		case bytes.EqualFold(name, []byte("Content-Length")):
			lengths++
			n, err := strconv.ParseUint(string(value), 10, 62)
			if err != nil {
				return head{}, false
			}
			h.length = int64(n)
		case bytes.EqualFold(name, []byte("Transfer-Encoding")), bytes.EqualFold(name, []byte("Upgrade")),
			bytes.EqualFold(name, []byte("Trailer")):
			return head{}, false
		}
		rest = after
	}
	h.out = address(text, h.method, string(target), string(proto), to)
	return h, string(rest) == "\r\n" && hosts == 1 && lengths <= 1
}

func all(text []byte, is func(byte) bool) bool {
	for _, c := range text {
		if !is(c) {
			return false
		}
	}
	return true
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func isPlainTarget(c byte) bool { return isNameByte(c) || strings.IndexByte("/.~?=&,", c) >= 0 }

func isValueByte(c byte) bool { return ' ' <= c && c <= '~' }

// address makes the head of a request one to the endpoint, and leaves everything else of it as it came.
func address(text []byte, method, target, proto string, to *url.URL) []byte {
	out := make([]byte, 0, len(text)+len(to.Host)+len(to.Path))
	for line := range bytes.Lines(text) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(out) == 0:
			if strings.HasPrefix(target, "/") {
				target = strings.TrimSuffix(to.EscapedPath(), "/") + target
			}
			out = fmt.Appendf(out, "%s %s %s\r\n", method, target, proto)
		case bytes.EqualFold(name, []byte("Host")):
			out = fmt.Appendf(out, "Host: %s\r\n", to.Host)
		default:
			out = append(out, line...)
		}
	}
	return out
}

// refusal is what a request that can't be passed on is answered.
type refusal struct {
	status int
	why    string
}

// Error implements error.
func (r refusal) Error() string { return r.why }
