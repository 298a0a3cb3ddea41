package main

import (
	"errors"

	"github.com/openloop/openloop/endpoint"
)

// hint says what to do about an error, "" where nothing better is known than the error itself.
func hint(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	var failed *endpoint.Error
	if !errors.As(err, &failed) {
		return ""
	}
	return hints[failed.Cause]
}

// hints are what to do about what is wrong with an endpoint.
var hints = map[endpoint.Cause]string{
	endpoint.CauseUnknownHost:      "is the address right, and does this machine's DNS know it?",
	endpoint.CauseRefused:          "nothing listens there; is the server up, and the port right?",
	endpoint.CauseUnreachable:      "there is no way to that address from here",
	endpoint.CauseTimeout:          "is it the right host, and is nothing in between dropping packets?",
	endpoint.CauseUnknownAuthority: "trust its authority with --ca-file, or skip the check with --insecure",
	endpoint.CauseCertificate:      "the certificate does not fit; --insecure skips the check",
	endpoint.CauseNotTLS:           "try http:// in place of https://",
	endpoint.CauseNotHTTP:          "the server does not speak HTTP there, or only with TLS (try https://)",
	endpoint.CauseNoHTTP2:          "leave out --http2",
	endpoint.CauseClosed:           "does it speak HTTP?",
	endpoint.CauseUnauthorized:     "give the endpoint's key with --api-key-file, OPENAI_API_KEY or --api-key",
	endpoint.CauseKeyRejected:      "the key that was sent is not accepted",
	endpoint.CauseNotFound:         "is the base URL right, and the model known?",
	endpoint.CauseRedirect:         "give the address that it redirects to as the target",
	endpoint.CauseUnavailable:      "is the engine behind it up?",
	endpoint.CauseRateLimited:      "the endpoint limits the rate: its limit would be what is measured",
	endpoint.CauseNotAPI:           "is this the base URL of an OpenAI-compatible API?",
	endpoint.CauseCutShort:         "something between here and the engine cuts streams short",
}
