package endpoint

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// openTLS reads the files of certificates.
func (e *Endpoint) openTLS() error {
	c := e.config
	e.tls = &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.Insecure, ServerName: c.ServerName,
	}
	if c.CAFile != "" {
		const doing = "reading the authorities to trust"
		raw, err := os.ReadFile(c.CAFile)
		if err != nil {
			return e.fail(doing, CauseCAFile, err)
		}
		e.tls.RootCAs = x509.NewCertPool()
		if !e.tls.RootCAs.AppendCertsFromPEM(raw) {
			return e.fail(doing, CauseCAFile, fmt.Errorf("%s holds no certificate in PEM form", c.CAFile))
		}
	}
	if c.ClientCert == "" {
		return nil
	}
	cert, err := readClientCert(c.ClientCert, c.ClientKey)
	if err != nil {
		return e.fail("reading the client's certificate", CauseClientFiles, err)
	}
	e.tls.Certificates = []tls.Certificate{cert}
	return nil
}

// readClientCert reads a certificate and its key; keyFile is "" where both are in one file.
func readClientCert(certFile, keyFile string) (tls.Certificate, error) {
	none := tls.Certificate{}
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return none, err
	}
	key := cert
	if keyFile == "" {
		keyFile = certFile
	} else if key, err = os.ReadFile(keyFile); err != nil {
		return none, err
	}
	if !holds(cert, func(kind string) bool { return kind == "CERTIFICATE" }) {
		return none, fmt.Errorf("%s holds no certificate in PEM form", certFile)
	}
	if !holds(key, func(kind string) bool { return strings.HasSuffix(kind, "PRIVATE KEY") }) {
		return none, fmt.Errorf("%s holds no private key in PEM form", keyFile)
	}
	if locked(key) {
		return none, fmt.Errorf("the key in %s is protected by a password", keyFile)
	}
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err == nil:
		return pair, nil
	case strings.Contains(err.Error(), "does not match"):
		return none, fmt.Errorf("the key in %s is not that of the certificate in %s", keyFile, certFile)
	}
	return none, fmt.Errorf("%s with the key in %s: %w", certFile, keyFile, err)
}

// holds says whether a PEM file has a block of a kind.
func holds(raw []byte, is func(kind string) bool) bool {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if is(block.Type) {
			return true
		}
	}
	return false
}

// locked says whether the key of a PEM file needs a password.
func locked(raw []byte) bool {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return true
		}
	}
	return false
}

// tlsFor is how TLS is spoken with an address: another host than the endpoint's is not shown the client's certificate,
// and has a name of its own.
func (e *Endpoint) tlsFor(to Address) *tls.Config {
	c := e.tls.Clone()
	if to.url.Hostname() != e.config.Address.url.Hostname() {
		c.Certificates, c.ServerName = nil, ""
	}
	return c
}

// clientRefused finds the alert with which a server refuses a client's certificate, or the lack of one; "" for none.
// What a server says in its place, in HTTP, is in refused.
func clientRefused(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return ""
	}
	alert := strings.TrimPrefix(op.Err.Error(), "tls: ")
	for _, about := range []string{"certificate", "access denied", "handshake failure"} {
		if strings.Contains(alert, about) {
			return alert
		}
	}
	return ""
}
