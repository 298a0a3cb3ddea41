package main

import (
	"errors"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/report/bucket"
	"github.com/openloop/openloop/tokens"
)

// hint says what to do about an error, "" where nothing better is known than the error itself.
func hint(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	if errors.Is(err, endpoint.ErrLogin) {
		return "give a key with --api-key-file, and a name and password as http://NAME:PASSWORD@host, " +
			"with %40 for an @ in them, %3A for a colon, %2F for a slash, %25 for a %"
	}
	var open *tokens.HintError
	if errors.As(err, &open) {
		return open.Hint
	}
	var store *bucket.Error
	if errors.As(err, &store) {
		return store.Hint
	}
	var failed *endpoint.Error
	if !errors.As(err, &failed) {
		return ""
	}
	return hints[failed.Cause]
}

// hints are what to do about what is wrong with an endpoint.
var hints = map[endpoint.Cause]string{
	endpoint.CauseProxy: "HTTP_PROXY or HTTPS_PROXY names the proxy, with its name and password where it wants them; " +
		"NO_PROXY lists hosts to reach without it",
	endpoint.CauseUnknownHost:      "is the address right, and does this machine's DNS know it?",
	endpoint.CauseRefused:          "nothing listens there; is the server up, and the port right?",
	endpoint.CauseSocket:           "is the path right, the server up, and may this user write to the socket?",
	endpoint.CauseUnreachable:      "there is no way to that address from here",
	endpoint.CauseTimeout:          "is it the right host, and is nothing in between dropping packets?",
	endpoint.CauseNoAnswer:         "is the engine loading, or busy? the trial waits as long as --request-timeout",
	endpoint.CauseUnknownAuthority: "trust its authority with --ca-file, or skip the check with --insecure",
	endpoint.CauseCertificate: "the certificate does not fit; --server-name is for one of another name, and " +
		"--insecure skips the check",
	endpoint.CauseClientFiles: "--client-cert and --client-key are PEM files that belong together, the key without " +
		"a password (openssl pkey -in FILE -out NEW removes one)",
	endpoint.CauseWantsCertificate: "give the certificate that it asks clients for: --client-cert and --client-key",
	endpoint.CauseClientRefused: "it does not take the certificate of --client-cert: is it signed by an authority " +
		"that the server trusts, made for clients, and not expired?",
	endpoint.CauseNotTLS: "try http:// in place of https://",
	endpoint.CauseNotHTTP: "the server does not speak HTTP there, or only with TLS (try https://) " +
		"or as HTTP/2 (try --http2)",
	endpoint.CauseNoHTTP2:   "leave out --http2",
	endpoint.CauseHTTP2Only: "ask it in HTTP/2: --http2",
	endpoint.CauseBadHTTP:   "is this an HTTP server? its log, or that of what stands before it, may say more",
	endpoint.CauseFiles:     "raise the limit of open files (ulimit -n)",
	endpoint.CauseClosed: "the server gave up on the request: its log may say why; one that speaks HTTP/2 alone " +
		"needs --http2",
	endpoint.CauseUnauthorized: "give the endpoint's key with --api-key-file, OPENAI_API_KEY or --api-key",
	endpoint.CauseKeyRejected:  "the key that was sent is not accepted",
	endpoint.CauseNotFound:     "is the base URL right, and the model known?",
	endpoint.CauseRedirect:     "give the address that it redirects to as the target",
	endpoint.CauseUnavailable:  "is the engine behind it up?",
	endpoint.CauseRateLimited:  "the endpoint limits the rate: its limit would be what is measured",
	endpoint.CauseIgnoreEOS: "leave that field out of the requests: --no-ignore-eos (answers then end when the model " +
		"likes)",
	endpoint.CauseNotAPI:     "is this the base URL of an OpenAI-compatible API?",
	endpoint.CauseLimit:      "is this the base URL of an OpenAI-compatible API?",
	endpoint.CauseCompressed: "let what stands before the engine not compress; send no Accept-Encoding",
	endpoint.CauseCutShort:   "the engine died, or something between here and it cuts answers short",
}
