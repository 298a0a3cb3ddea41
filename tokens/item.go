// Package tokens makes what is sent: prompts of an exact length, records of data sets and traces, and the bytes of the
// request bodies, all built before they are due.
//
// A [Source] gives the item of an index. [Synth] makes items from nothing but a seed, [OpenData] reads them from files,
// [ReadTrace] makes them to the lengths of a recorded load. A [Body] turns an item into the JSON of a request, and an
// [Ahead] does both in its own goroutine while the load runs, so that whoever fires the requests never waits for a prompt.
//
// How long a text is depends on who counts. The embedded words are one token each for every tokenizer they were made for;
// [Fit] finds the words that are one token for another [Tokenizer], [Learn] those that an endpoint counts as one.
package tokens

// Item is one request before it is bytes. The zero Item is an empty prompt with a free output length.
type Item struct {
	// Index is the item's place in its source, from 0.
	Index int
	// PrefixText is shared with other items; it becomes the system message, or the start of a text completion's prompt.
	PrefixText string
	// PromptText is the user's message, or the prompt of a text completion.
	PromptText string
	// Messages, where not empty, is a JSON array of chat messages that is sent instead of PrefixText and PromptText.
	Messages []byte
	// PrefixTokens and PromptTokens are the lengths of the two texts in tokens, 0 where not known. The chat template of
	// the endpoint adds its own constant.
	PrefixTokens, PromptTokens int
	// OutputTokens is how many tokens to ask for; 0 leaves the length to the model.
	OutputTokens int
	// Body is the request body, once a [Body] made it or a saved workload gave it.
	Body []byte
}

// InputTokens is the whole input in tokens as far as it is known, without the endpoint's chat template.
func (it Item) InputTokens() int { return it.PrefixTokens + it.PromptTokens }

// size is what an item holds in memory, in bytes, near enough to bound a buffer by it.
func (it Item) size() int {
	return 160 + len(it.PromptText) + len(it.Messages) + len(it.Body) // prefixes are shared
}

// Source gives the items of a load in order. It is called with 0, 1, 2 and so on by one goroutine at a time; io.EOF says
// that there are no more. The sources of this package that say so are pure functions of the index.
type Source func(i int) (Item, error)
