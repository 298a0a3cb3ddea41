package llmsim

import (
	"bytes"
	"encoding/json"
	"strconv"

	sse "github.com/tmaxmax/go-sse"
)

// systemFingerprint is what vLLM 0.23.0 sends where it names the system, with its own name for the build.
const systemFingerprint = "vllm-0.23.0-llmsim"

// mark stands for the token's text while a chunk's template is encoded. It must survive JSON and SSE encoding
// unchanged.
const mark = "@TOKEN@"

// template holds the bytes of one streamed answer, encoded once per request by go-sse. All that differs between two
// token events of a request is the token's text, so per token the server only puts prefix, text and suffix together.
// (BenchmarkTokenEvent in wire_test.go compares this with a go-sse Message per token.)
type template struct {
	role   []byte // the event before the first token; chat only
	prefix []byte // of a token event
	suffix []byte
	// thought and thoughtEnd take the place of prefix and suffix where a token is reasoning; nil: none is.
	thought, thoughtEnd []byte

	last []byte // suffix of the last token's event where that carries the finish reason; else nil
	tail []byte // finish event, usage event where asked for, [DONE]

	api    api
	after  []byte // what comes behind the number of a token event, which follows suffix; nil: it has none
	number int    // of the next token event
}

type chunkChoiceDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
	Thought *string `json:"reasoning,omitempty"` // in the place of content
}

type chatChunkChoice struct {
	Index        int              `json:"index"`
	Delta        chunkChoiceDelta `json:"delta"`
	Logprobs     *struct{}        `json:"logprobs"`
	FinishReason *string          `json:"finish_reason"`
}

// The further shapes differ in which null fields vLLM puts into them.
type chatTokenChoice struct {
	chatChunkChoice
	TokenIDs *struct{} `json:"token_ids"`
}

type chatFinishChoice struct {
	chatChunkChoice
	StopReason *struct{} `json:"stop_reason"`
	TokenIDs   *struct{} `json:"token_ids"`
}

type textChunkChoice struct {
	Index          int       `json:"index"`
	Text           string    `json:"text"`
	Logprobs       *struct{} `json:"logprobs"`
	FinishReason   *string   `json:"finish_reason"`
	StopReason     *struct{} `json:"stop_reason"`
	PromptTokenIDs *struct{} `json:"prompt_token_ids"`
	TokenIDs       *struct{} `json:"token_ids"`
}

type chunk struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Model   string `json:"model"`
	Choices []any  `json:"choices"`
}

type roleChunk struct {
	chunk
	PromptTokenIDs *struct{} `json:"prompt_token_ids"`
	PromptText     *struct{} `json:"prompt_text"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	TotalTokens      int `json:"total_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	// PromptTokensDetails is in a stream's usage only where there is something to say, as vLLM has it.
	PromptTokensDetails *promptTokensDetails `json:"prompt_tokens_details,omitempty"`
}

// promptTokensDetails is what vLLM adds with --enable-prompt-tokens-details.
type promptTokensDetails struct {
	CachedTokens int `json:"cached_tokens"`
}

// cachedDetails says how much of a prompt was cached; nil of an engine without a prefix cache.
func (c *Config) cachedDetails(seq *Sequence) *promptTokensDetails {
	if !c.PrefixCaching {
		return nil
	}
	return &promptTokensDetails{min(seq.Cached, max(seq.Prompt-1, 0))}
}

func usageOf(prompt, completion int) usage {
	return usage{PromptTokens: prompt, CompletionTokens: completion, TotalTokens: prompt + completion}
}

type usageChunk struct {
	chunk
	Usage             usage  `json:"usage"`
	SystemFingerprint string `json:"system_fingerprint"`
}

// event encodes one server-sent event through go-sse.
func event(to *bytes.Buffer, data string) {
	var m sse.Message
	m.AppendData(data)
	_, _ = m.WriteTo(to) // a bytes.Buffer takes everything
}

func jsonEvent(to *bytes.Buffer, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		// Only strings, numbers and null are in there.
		data = []byte(`{"error":` + strconv.Quote(err.Error()) + `}`)
	}
	event(to, string(data))
}

// buildTemplate encodes the events of a streamed answer.
func buildTemplate(
	req *request, id, model string, created int64, finishReason string, completion int, merged bool,
) template {
	var (
		t    template
		buf  bytes.Buffer
		none string
		text = mark
	)
	cut := func() []byte {
		b := bytes.Clone(buf.Bytes())
		buf.Reset()
		return b
	}
	head := chunk{ID: id, Object: "text_completion", Created: created, Model: model}
	token := func(finish *string) chunk {
		c := head
		chat := chatChunkChoice{Delta: chunkChoiceDelta{Content: &text}, FinishReason: finish}
		switch {
		case !req.chat:
			c.Choices = []any{textChunkChoice{Text: text, FinishReason: finish}}
		case finish == nil:
			c.Choices = []any{chatTokenChoice{chatChunkChoice: chat}}
		default:
			c.Choices = []any{chatFinishChoice{chatChunkChoice: chat}}
		}
		return c
	}
	if req.chat {
		head.Object = "chat.completion.chunk"
		c := roleChunk{chunk: head}
		c.Choices = []any{chatChunkChoice{Delta: chunkChoiceDelta{Role: "assistant", Content: &none}}}
		jsonEvent(&buf, c)
		t.role = cut()
	}

	jsonEvent(&buf, token(nil))
	t.prefix, t.suffix = cutAtMark(cut())
	if req.chat && req.reasons {
		c := head
		c.Choices = []any{chatTokenChoice{chatChunkChoice: chatChunkChoice{Delta: chunkChoiceDelta{Thought: &text}}}}
		jsonEvent(&buf, c)
		t.thought, t.thoughtEnd = cutAtMark(cut())
	}
	if merged {
		jsonEvent(&buf, token(&finishReason))
		_, t.last = cutAtMark(cut())
	} else {
		text = ""
		jsonEvent(&buf, token(&finishReason))
	}
	if req.includeUsage {
		c := usageChunk{chunk: head, SystemFingerprint: systemFingerprint}
		c.Usage = usageOf(req.promptTokens, completion)
		c.Usage.PromptTokensDetails = req.cached
		c.Choices = []any{}
		jsonEvent(&buf, c)
	}
	event(&buf, "[DONE]")
	t.tail = cut()
	return t
}

// cutAtMark splits an event where the token's text goes: at the last mark, for a model's name precedes it and may hold
// anything.
func cutAtMark(b []byte) (before, after []byte) {
	i := bytes.LastIndex(b, []byte(mark))
	return b[:i:i], b[i+len(mark):]
}

// appendThought adds the event of one token of reasoning to b.
func (t *template) appendThought(b []byte, text string) []byte {
	return append(append(append(b, t.thought...), text...), t.thoughtEnd...)
}

// appendToken adds the event of one token to b. Token texts need no JSON escaping.
func (t *template) appendToken(b []byte, text string, last bool) []byte {
	b = append(b, t.prefix...)
	b = append(b, text...)
	if last && t.last != nil {
		return append(b, t.last...)
	}
	b = append(b, t.suffix...)
	if t.after != nil {
		b = append(strconv.AppendInt(b, int64(t.number), 10), t.after...)
		t.number++
	}
	return b
}

// appendChunk frames payload as one chunk of HTTP/1.1's chunked transfer coding (RFC 9112, section 7.1).
func appendChunk(b, payload []byte) []byte {
	b = strconv.AppendUint(b, uint64(len(payload)), 16)
	b = append(b, '\r', '\n')
	b = append(b, payload...)
	return append(b, '\r', '\n')
}

// words are the token texts: frequent English words that common tokenizers hold as one token with the space before
// them.
var words = [...]string{
	" the", " of", " and", " to", " in", " a", " is", " that",
	" for", " it", " as", " was", " with", " be", " by", " on",
	" not", " he", " this", " are", " or", " his", " from", " at",
	" which", " but", " have", " an", " had", " they", " you", " were",
	" there", " one", " all", " we", " can", " her", " has", " their",
	" been", " if", " more", " when", " will", " would", " who", " so",
	" no", " out", " up", " into", " than", " them", " only", " some",
	" could", " time", " these", " two", " may", " then", " do", " first",
}

// tokenText is the text of a request's k-th token: always the same for the same request index and position.
func tokenText(index uint64, k int) string {
	// Multiplication by an odd constant mixes both numbers enough that the text does not look periodic.
	h := (index*0x9e3779b97f4a7c15 + uint64(k)) * 0xbf58476d1ce4e5b9
	return words[h>>58]
}
