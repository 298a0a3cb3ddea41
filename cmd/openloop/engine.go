package main

import (
	"context"
	"net/http"

	"github.com/openloop/openloop/sweep/enginemetrics"
)

// ask asks the endpoint once what serves it; nil where it does not say.
func (s *session) ask(ctx context.Context, metrics *enginemetrics.Source) *enginemetrics.Info {
	asker := enginemetrics.Asker{
		Base: s.endpoint.Base(), Headers: s.spec.Endpoint.Headers,
		Client:  &http.Client{Transport: s.endpoint.Transport(s.endpoint.Base())},
		Metrics: metrics, Models: s.models, Model: s.model,
		ListOnly: s.spec.Endpoint.Metrics.Off,
	}
	return asker.Ask(ctx)
}
