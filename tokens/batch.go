package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
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
	case s.Format == Rerank && s.Data != nil && (s.Batch > 1 || s.Query > 0):
		return &SpecError{"Data", errors.New("a record has its own query and documents")}
	case s.Format == Rerank && s.Data != nil && s.Data.Columns != nil:
		return &SpecError{"Data.Columns", errors.New("the columns of a rerank request are query and documents")}
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
			if all.Texts = append(all.Texts, it.Texts...); len(it.Texts) == 0 {
				all.Texts = append(all.Texts, it.PrefixText+it.PromptText)
			}
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

// documentColumns are names of the list of documents of a rerank request: vLLM's and Cohere's, MS MARCO's, TEI's. Those
// of MTEB have two lists, which are sent as one.
var documentColumns = [][]string{{"documents"}, {"passages"}, {"texts"}, {"positive", "negative"}}

// rerankItem makes a rerank request of a record: its query and its documents.
func (f *fileSource) rerankItem(r record) (it Item, err error) {
	if it.PromptText, err = text(r["query"]); err != nil {
		return Item{}, fmt.Errorf("query: %w", err)
	}
	f.use("query")
	for _, names := range documentColumns {
		for _, name := range names {
			texts, ok := textList(r[name])
			if !ok && !empty(r[name]) {
				return Item{}, fmt.Errorf("%s: %s; want a list of texts", name, show(r[name]))
			}
			f.use(name)
			it.Texts = append(it.Texts, texts...)
		}
		if len(it.Texts) > 0 {
			break
		}
	}
	if it.PromptText == "" || len(it.Texts) == 0 {
		return Item{}, fmt.Errorf("%w: a rerank request has a query and documents", ErrNoPrompt)
	}
	err = f.measureTexts(&it)
	return it, err
}

// measureTexts counts the tokens of a request of several texts. A model reads the query with each of its documents.
func (f *fileSource) measureTexts(it *Item) error {
	if len(it.Texts) > MostTexts {
		return fmt.Errorf("it has %d texts; a request has at most %d", len(it.Texts), MostTexts)
	}
	if f.cfg.count == nil || it.PromptTokens > 0 {
		return nil
	}
	it.PromptTokens = f.cfg.count(it.PromptText) * len(it.Texts)
	for _, text := range it.Texts {
		it.PromptTokens += f.cfg.count(text)
	}
	return nil
}

// textList is a list of texts, or of objects that each have one as "text"; false where it is none.
func textList(value any) ([]string, bool) {
	raw, ok := value.(json.RawMessage)
	if s, isText := value.(string); isText { // CSV
		raw, ok = json.RawMessage(s), true
	}
	var list []json.RawMessage
	if !ok || json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	texts := make([]string, len(list))
	for i, one := range list {
		var of struct {
			Text *string `json:"text"`
		}
		if json.Unmarshal(one, &texts[i]) == nil && string(one) != "null" {
			continue
		}
		if json.Unmarshal(one, &of) != nil || of.Text == nil {
			return nil, false
		}
		texts[i] = *of.Text
	}
	return texts, true
}
