package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/openloop/openloop/endpoint"
)

func TestHintStandsOnALineOfItsOwn(t *testing.T) {
	failed := &endpoint.Error{Doing: "GET http://host/v1/models", Cause: endpoint.CauseRefused,
		Err: errors.New("connection refused")}
	var out strings.Builder
	printError(&out, &exitError{exitUsage, fmt.Errorf("wrapped: %w", failed)})
	want := "openloop: wrapped: GET http://host/v1/models: connection refused\n" +
		"hint: nothing listens there; is the server up, and the port right?\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	out.Reset()
	failed.Cause = endpoint.CauseStreamError // the error says all that is known
	printError(&out, failed)
	if want := "openloop: GET http://host/v1/models: connection refused\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if h := hint(errors.New("x")); h != "" {
		t.Errorf("a hint for what is not an endpoint's: %q", h)
	}
}
