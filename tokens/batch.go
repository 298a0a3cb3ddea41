package tokens

import (
	"errors"
	"io"
)

// DefaultQuery is how many tokens the made-up query of a rerank request has.
const DefaultQuery = 16

// MostTexts is how many texts an embeddings or a rerank request may have.
const MostTexts = 10_000

// checkBatch says what is wrong with a spec of requests that generate nothing; nil for others that ask for nothing of
// the kind.
func (s *Spec) checkBatch() error {
	switch {
	case s.Format.Generates() && (s.Batch > 1 || s.Query > 0):
		return &SpecError{"Batch", errors.New("batches of texts are of embeddings and rerank requests")}
	case s.Format.Generates():
		return nil
	case s.Batch < 0 || s.Batch > MostTexts:
		return &SpecError{"Batch", errors.New("a request has 1 to 10000 texts")}
	case s.Query < 0 || s.Query > 0 && s.Format != Rerank:
		return &SpecError{"Query", errors.New("a query is of rerank requests, and has 1 token or more")}
	case s.Trace != nil:
		return &SpecError{"Trace", errors.New("a trace is of requests that generate text")}
	case s.Format == Rerank && s.Data != nil:
		return &SpecError{"Data", errors.New("rerank requests are made up: a record has no query and documents")}
	}
	return nil
}

// batches makes requests of several texts out of items of one. Of a rerank request the items are its documents, and
// queries give the query. What is left at the end of data makes a smaller batch.
func batches(texts, queries source, batch int) source {
	return func(i int) (Item, error) {
		all := Item{Index: i}
		for k := range max(batch, 1) {
			it, err := texts(i*max(batch, 1) + k)
			if errors.Is(err, io.EOF) && k > 0 {
				break
			}
			if err != nil {
				return it, err
			}
			all.Texts = append(all.Texts, it.PrefixText+it.PromptText)
			all.PrefixTokens += it.PrefixTokens
			all.PromptTokens += it.PromptTokens
			all.fields = it.fields
		}
		if queries == nil {
			return all, nil
		}
		query, err := queries(i)
		all.PromptText = query.PromptText
		all.PromptTokens += query.PromptTokens * len(all.Texts) // the model reads it before each document
		return all, err
	}
}
