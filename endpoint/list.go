package endpoint

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// Listing is what an endpoint says of its models, and how that came.
type Listing struct {
	Models []Model
	Wire   Wire
}

// Model is one model of an endpoint's list, as far as the engine tells. Its texts hold no secret.
type Model struct {
	ID      string `json:"id"`
	Owner   string `json:"owned_by"`      // by which most engines name themselves: vllm, sglang, llamacpp
	Parent  string `json:"parent"`        // of an adapter, the model that it belongs to
	Context int    `json:"max_model_len"` // the longest prompt and output together, in tokens; 0: not said
}

// Wire is how an endpoint was reached.
type Wire struct {
	// RoundTrip is how long the first connection attempt that was answered took: about one way there and back. 0 where
	// there was none.
	RoundTrip time.Duration
	Protocol  string // HTTP/1.1
	TLS       string // TLS 1.3; "" without TLS
	Proxy     bool   // it is the proxy that RoundTrip is to
}

// dialTimes takes down how long it takes to connect. Several addresses of a host may be tried at once.
type dialTimes struct {
	mu    sync.Mutex
	began map[string]time.Time // by address
	first time.Duration        // of the attempt that was answered first; 0: none was
}

// watch makes a trace note it.
func (d *dialTimes) watch(trace *httptrace.ClientTrace) {
	if d == nil {
		return
	}
	d.began = map[string]time.Time{}
	trace.ConnectStart = func(_, address string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.began[address] = time.Now()
	}
	trace.ConnectDone = func(_, address string, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if err == nil && d.first == 0 {
			d.first = time.Since(d.began[address])
		}
	}
}

func (d *dialTimes) roundTrip() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first
}

// List asks for the models that the endpoint serves. An error is an *Error.
func (e *Endpoint) List(ctx context.Context) (*Listing, error) {
	return e.list(ctx, e.Header())
}

// AsksForKey says whether the list of models is refused to who sends none of the endpoint's credentials. An error is an
// *Error.
func (e *Endpoint) AsksForKey(ctx context.Context) (bool, error) {
	header := http.Header{}
	for name, values := range e.header {
		if harmless(name) {
			header[name] = values
		}
	}
	_, err := e.list(ctx, header)
	var failed *Error
	if errors.As(err, &failed) && (failed.Cause == CauseUnauthorized || failed.Cause == CauseKeyRejected) {
		return true, nil
	}
	return false, err
}

func (e *Endpoint) list(ctx context.Context, header http.Header) (*Listing, error) {
	address := e.config.Address.Join("/models")
	doing := "GET " + address.String()
	ctx, cancel := context.WithTimeoutCause(ctx, modelsTime, noAnswer(modelsTime))
	defer cancel()
	var dials dialTimes
	resp, end, err := e.sendWith(ctx, http.MethodGet, address, nil, header, &dials)
	if err != nil {
		return nil, e.explain(doing, reason(ctx, err))
	}
	defer end()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return nil, e.fail(doing, CauseNoModels, ErrNoModels)
	default:
		return nil, e.refused(doing, "/models", resp)
	}
	body, err := readAnswer(ctx, resp)
	if err != nil {
		return nil, e.explain(doing, err)
	}
	list := &Listing{Wire: Wire{RoundTrip: dials.roundTrip(), Protocol: resp.Proto, Proxy: e.proxy != nil}}
	if resp.TLS != nil {
		list.Wire.TLS = tls.VersionName(resp.TLS.Version)
	}
	if list.Models, err = e.readModels(body); err != nil {
		err := fmt.Errorf("the answer is not a list of models (%q)", e.begin(body))
		return nil, e.fail(doing, CauseNotAPI, err)
	}
	if len(list.Models) == 0 {
		return nil, e.fail(doing, CauseNoModels, ErrNoModels)
	}
	return list, nil
}

// readModels reads a list of models. Only what is not a list is an error: what else stands in it is the server's own.
func (e *Endpoint) readModels(body []byte) ([]Model, error) {
	var list struct {
		Data []struct {
			ID      string
			OwnedBy any `json:"owned_by"`
			Parent  any `json:"parent"`
			Context any `json:"max_model_len"`
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	text := func(v any) string { s, _ := v.(string); return e.Redact(s) }
	var models []Model
	for _, m := range list.Data {
		length, _ := m.Context.(float64)
		if !(length > 0 && length < 1<<40) {
			length = 0
		}
		models = append(models, Model{
			ID: e.Redact(m.ID), Owner: text(m.OwnedBy), Parent: text(m.Parent), Context: int(length),
		})
	}
	return models, nil
}
