// Package endpoint is who is asked: an address without credentials, the secrets beside it, the models, and the request
// that is tried before any load is sent.
package endpoint

import (
	"slices"
	"strings"
	"time"
)

// Config says which endpoint is asked, and how it is reached.
type Config struct {
	Target  string  // as people name it: the address, or sim:PRESET
	Address Address // base URL of the API, ending in /v1; zero for the simulated engine
	Sim     string  // the simulated engine in the process, as llmsim.ParseSpec reads it; "" for a real endpoint

	Model   string   // to ask for; "" for the first that the endpoint lists
	Headers []Header // of every request, the key's among them

	CAFile   string // PEM file of authorities to trust instead of the system's
	Insecure bool   // do not verify the endpoint's certificate

	// ClientCert and ClientKey are PEM files of the certificate by which the endpoint knows this client, and of its
	// key; "" for none. The key may be in the certificate's file.
	ClientCert, ClientKey string
	// ServerName is asked for by SNI and must be in the endpoint's certificate; "" for the address's host.
	ServerName string

	HTTP2 bool // speak HTTP/2 where the endpoint offers it

	ConnectTimeout time.Duration // for DNS, TCP and TLS together
	RequestTimeout time.Duration // from the first byte sent to the end of the response; 0: none

	// WaitReady is how long the endpoint may take to come up; 0: it has to be there.
	WaitReady time.Duration

	Metrics MetricsConfig
}

// DefaultRequestTimeout is how long a request may take unless something else is asked for: a stream that never ends
// must not hold up a stage that is limited by requests alone.
const DefaultRequestTimeout = 10 * time.Minute

// Header is a header of every request. Its value may be a credential.
type Header struct {
	Name  string
	Value Secret
}

// MetricsConfig says where the engine's own metrics are read.
type MetricsConfig struct {
	Off     bool
	Sources []MetricsSource // nil: /metrics at the root of the endpoint's host, if it is there
}

// MetricsSource is an address of an engine's metrics.
type MetricsSource struct {
	Name    string // of the engine; "" where there is one, without a name
	Address Address
	Login   Secret // value of an Authorization header for that address, from its URL
}

// Authorize adds an Authorization header, unless there is one already or the value is empty: what was given as a header
// goes over the name and password of the target, and they over the key.
func (c *Config) Authorize(value Secret) {
	given := slices.ContainsFunc(c.Headers, func(h Header) bool { return strings.EqualFold(h.Name, "Authorization") })
	if !given && !value.IsEmpty() {
		c.Headers = append(c.Headers, Header{"Authorization", value})
	}
}
