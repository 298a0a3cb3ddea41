package main

import (
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/tokens"
)

// poolingObjectives are the default where nothing is generated.
const poolingObjectives = "e2e:p95<1s errors<1%"

// isPooling says whether requests of a kind generate no text: embeddings and rerank.
func isPooling(requestType string) bool {
	f, err := tokens.ParseFormat(requestType)
	return err == nil && !f.Generates()
}

// poolingWorkload takes in the flags of requests that generate nothing.
func (f *specFlags) poolingWorkload(w *tokens.Spec) error {
	if w.Format.Generates() {
		for _, name := range []string{"batch-size", "query-tokens"} {
			if f.set.Changed(name) {
				return usageError("--%s is of --request-type embeddings and rerank", name)
			}
		}
		return nil
	}
	for _, name := range []string{"output-tokens", "output-tokens-stdev", "output-tokens-min", "output-tokens-max",
		"images", "trace"} {
		if f.set.Changed(name) {
			return usageError("--%s and --request-type %s contradict each other: nothing is generated", name,
				f.requestType)
		}
	}
	switch {
	case f.batch < 1 || f.batch > tokens.MostTexts:
		return usageError("--batch-size %d: it is 1 to %d", f.batch, tokens.MostTexts)
	case w.Format == tokens.Rerank && f.queryTokens < 1:
		return usageError("--query-tokens %d: it must be at least 1", f.queryTokens)
	case w.Format != tokens.Rerank && f.set.Changed("query-tokens"):
		return usageError("--query-tokens is of --request-type rerank")
	}
	w.NoStream = true
	if w.Format == tokens.Rerank && len(f.data) > 0 {
		for _, name := range []string{"batch-size", "query-tokens", "data-column-mapper"} {
			if f.set.Changed(name) {
				return withHint(usageError("--%s and --request-type rerank with --data contradict each other: a "+
					"record has its own query and documents", name), "leave --"+name+" out")
			}
		}
		return nil
	}
	w.Batch = f.batch
	if w.Format == tokens.Rerank {
		w.Query = f.queryTokens
	}
	return nil
}

// checkPooling refuses objectives on tokens, of which there are none.
func checkPooling(objectives []slo.Objective) error {
	for _, o := range objectives {
		on := []slo.Metric{o.Metric}
		for _, b := range o.Each {
			on = append(on, b.Metric)
		}
		for _, m := range on {
			switch m {
			case slo.E2E, slo.Errors, slo.Goodput:
			default:
				return withHint(usageError("--slo: %s: requests that generate nothing have no %s", o, m),
					"--slo 'e2e:p95<200ms errors<1%'")
			}
		}
	}
	return nil
}
