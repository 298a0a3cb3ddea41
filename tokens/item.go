package tokens

import "strings"

// Item is one request before it is bytes. The zero Item is an empty prompt with a free output length.
type Item struct {
	// Index is the item's place in its source, from 0.
	Index int
	// PrefixText is shared with other items; it becomes the system message, or the start of a text completion's prompt.
	PrefixText string
	// PromptText is the user's message, or the prompt of a text completion.
	PromptText string
	// Texts are those of an embeddings or a rerank request; none: the prefix and the prompt as one. Of a rerank request
	// PromptText is the query.
	Texts []string
	// Messages, where not empty, is a JSON array of chat messages that is sent instead of PrefixText and PromptText.
	Messages []byte
	// Images are further parts of the user's message, as JSON with a comma before each; empty for none.
	Images []byte
	// PrefixTokens and PromptTokens are the lengths of the two texts in tokens, 0 where not known. The chat template of
	// the endpoint adds its own constant.
	PrefixTokens, PromptTokens int
	// OutputTokens is how many tokens to ask for; 0 leaves the length to the model.
	OutputTokens int
	// Turns follow the request, as a session. AnswerMessage is JSON that stands for its answer in them; empty: the
	// model's own.
	Turns         []Turn
	AnswerMessage []byte
	whole         bool // the item is a session, also where it has one turn
	// fields are the item's own fields of the request body. Those of every body ([BodyConfig].Extra) go over them.
	fields []field
	// Body is the request body, once a [Body] made it or a saved workload gave it.
	Body []byte
}

// words are the texts of the item as one: the prompt, or the texts of a batch.
func (it *Item) words() string {
	if len(it.Texts) == 0 {
		return it.PromptText
	}
	return strings.Join(it.Texts, " ")
}

// InputTokens is the whole input in tokens as far as it is known, without the endpoint's chat template.
func (it Item) InputTokens() int { return it.PrefixTokens + it.PromptTokens }

// source gives the items of a load in order. It is called with 0, 1, 2 and so on by one goroutine at a time; io.EOF
// says that there are no more.
type source func(i int) (Item, error)
