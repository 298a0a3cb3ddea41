package endpoint

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// pki is an authority with certificates in files.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{dir: t.TempDir()}
	p.cert, p.key = p.sign(t, "ca", &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	})
	return p
}

// sign makes a certificate, NAME.pem, and its key, NAME.key. The first one signs itself.
func (p *pki) sign(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent, signer := p.cert, p.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, name+".pem", &pem.Block{Type: "CERTIFICATE", Bytes: der})
	p.write(t, name+".key", &pem.Block{Type: "PRIVATE KEY", Bytes: rawKey})
	return cert, key
}

func (p *pki) write(t *testing.T, name string, blocks ...*pem.Block) string {
	t.Helper()
	var text []byte
	for _, b := range blocks {
		text = append(text, pem.EncodeToMemory(b)...)
	}
	name = p.file(name)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }

// client makes a certificate for clients.
func (p *pki) client(t *testing.T, name string, notAfter time.Time) {
	p.sign(t, name, &x509.Certificate{
		NotAfter: notAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// serve starts a server for one name that takes no client without a certificate of this authority.
func (p *pki) serve(t *testing.T, name string, handler http.Handler, version uint16) *httptest.Server {
	t.Helper()
	p.sign(t, "server", &x509.Certificate{
		DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	pair, err := tls.LoadX509KeyPair(p.file("server.pem"), p.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AddCert(p.cert)
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: authorities, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: version, MaxVersion: version,
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// With a client's certificate and the name of the server's, the endpoint is asked, tried and loaded, over both ways of
// sending; without, or with another's, the server's alert is shown.
func TestClientCertificate(t *testing.T) {
	p, stranger := newPKI(t), newPKI(t)
	p.client(t, "client", time.Time{})
	p.client(t, "expired", time.Now().Add(-time.Minute))
	stranger.client(t, "client", time.Time{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" {
			io.WriteString(w, `{"data":[{"id":"m"}]}`)
			return
		}
		if r.TLS.ServerName != "vllm.internal" {
			w.WriteHeader(http.StatusMisdirectedRequest)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, event(`{"choices":[{"index":0,"delta":{"content":"w"},"finish_reason":"length"}],`+
			`"usage":{"prompt_tokens":1,"completion_tokens":1}}`)+event("[DONE]"))
	})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := p.serve(t, "vllm.internal", handler, version)
		with := func(from *pki, name string) func(*Config) {
			return func(c *Config) {
				c.CAFile, c.ServerName = p.file("ca.pem"), "vllm.internal"
				if from != nil {
					c.ClientCert, c.ClientKey = from.file(name+".pem"), from.file(name+".key")
				}
			}
		}
		for _, http2 := range []bool{false, true} {
			e := open(t, s.URL, with(p, "client"), func(c *Config) { c.HTTP2 = http2 })
			if ids, err := e.Models(t.Context()); err != nil || len(ids) != 1 {
				t.Errorf("models: %v, %v", ids, err)
			}
			if trial, err := e.Try(t.Context(), "/chat/completions", []byte("{}"), time.Minute); err != nil ||
				trial.Tokens != 1 {
				t.Errorf("trial: %+v, %v", trial, err)
			}
			m := load(t, e.Target("/chat/completions"))
			if got := m.Records[0]; got.Status != loadgen.Completed {
				t.Errorf("load: %v %+v", got.Status, m.Details)
			}
		}
		_, err := open(t, s.URL, with(nil, "")).Models(t.Context())
		wantCause(t, err, CauseWantsCertificate, "the server ended TLS with the alert")
		_, err = open(t, s.URL, with(stranger, "client")).Models(t.Context())
		wantCause(t, err, CauseClientRefused, `alert "`)
		_, err = open(t, s.URL, with(p, "expired")).Models(t.Context())
		wantCause(t, err, CauseClientRefused, `certificate"`)
		_, err = open(t, s.URL, with(p, "client"), func(c *Config) { c.ServerName = "" }).Models(t.Context())
		wantCause(t, err, CauseCertificate, "127.0.0.1")

		e := open(t, s.URL, with(nil, ""))
		m := load(t, e.Target("/chat/completions"))
		if d := m.Details[0]; !strings.Contains(d.Error, "remote error: tls: ") {
			t.Errorf("the load without a certificate: %q", d.Error)
		}
	}
	e := open(t, "https://one.example", func(c *Config) {
		c.ClientCert, c.ClientKey, c.ServerName = p.file("client.pem"), p.file("client.key"), "vllm.internal"
	})
	for address, want := range map[string]int{"https://one.example:9090/metrics": 1, "https://two.example": 0} {
		to, _, _ := ParseAddress(address)
		got := e.Transport(to).TLSClientConfig
		if len(got.Certificates) != want || (got.ServerName != "") != (want == 1) {
			t.Errorf("%s is shown %d certificates, and asked for the name %q", address, len(got.Certificates),
				got.ServerName)
		}
	}
}

// nginx says in HTML that it wants a certificate.
func TestNginxWantsCertificate(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, "<title>400 No required SSL certificate was sent</title>")
	}))
	defer s.Close()
	_, err := open(t, s.URL, func(c *Config) { c.Insecure = true }).Models(t.Context())
	wantCause(t, err, CauseWantsCertificate, "HTTP 400")
}

func TestClientCertificateFiles(t *testing.T) {
	p := newPKI(t)
	p.client(t, "one", time.Time{})
	p.client(t, "two", time.Time{})
	locked := p.write(t, "locked.key", &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	broken := p.write(t, "broken.key", &pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	cert, err := os.ReadFile(p.file("one.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(p.file("one.key"))
	if err != nil {
		t.Fatal(err)
	}
	both := p.file("both.pem")
	if err := os.WriteFile(both, append(key, cert...), 0o600); err != nil {
		t.Fatal(err)
	}
	base, _, _ := ParseBase("https://host")
	for _, test := range []struct{ cert, key, text string }{
		{both, "", ""},
		{p.file("one.pem"), p.file("one.key"), ""},
		{p.file("one.pem"), p.file("two.key"), "is not that of the certificate in"},
		{p.file("one.pem"), "", "one.pem holds no private key"},
		{p.file("one.key"), p.file("one.key"), "one.key holds no certificate"},
		{p.file("none.pem"), "", "no such file"},
		{p.file("one.pem"), p.file("none.key"), "no such file"},
		{p.file("one.pem"), locked, "protected by a password"},
		{p.file("one.pem"), broken, "broken.key"},
	} {
		_, err := Open(Config{Address: base, ClientCert: test.cert, ClientKey: test.key})
		if test.text != "" {
			wantCause(t, err, CauseClientFiles, test.text)
		} else if err != nil {
			t.Errorf("%s with %s: %v", test.cert, test.key, err)
		}
	}
}

// A connection of its own speaks TLS where the URL is https, by the endpoint's authorities, and HTTP/1.1 alone.
func TestConnect(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto)
	}))
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(secure.Config.Handler)
	defer plain.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		url, ca string
		ok      bool
	}{{plain.URL, "", true}, {secure.URL, file, true}, {secure.URL, "", false}} {
		address, _, err := ParseBase(c.url)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Open(Config{Address: address, CAFile: c.ca, ConnectTimeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := e.Connect(t.Context())
		if (err == nil) != c.ok {
			t.Errorf("%s, authorities %q: %v", c.url, c.ca, err)
		}
		if err != nil {
			continue
		}
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		answer, _ := io.ReadAll(conn)
		if !strings.HasSuffix(string(answer), "HTTP/1.1") || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
			t.Errorf("%s answered %q", c.url, answer)
		}
		conn.Close()
	}
}
