package llmsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxBody bounds a request body, in bytes.
const maxBody = 64 << 20

// apiError is an answer that refuses a request, in vLLM's form.
type apiError struct {
	status  int
	message string
	kind    string // the field "type"
	param   string // "" is null
}

func (e *apiError) Error() string { return e.message }

func badRequest(param, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, fmt.Sprintf(format, args...), "BadRequestError", param}
}

// invalid is vLLM's answer to a body that does not have the right shape.
func invalid(param, format string, args ...any) *apiError {
	return &apiError{
		http.StatusBadRequest, "1 validation error:\n  " + fmt.Sprintf(format, args...), "Bad Request", param,
	}
}

type errorBody struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    int     `json:"code"`
	} `json:"error"`
}

func (e *apiError) body() errorBody {
	var b errorBody
	b.Error.Message, b.Error.Type, b.Error.Code = e.message, e.kind, e.status
	if e.param != "" {
		b.Error.Param = &e.param
	}
	return b
}

func (e *apiError) write(w http.ResponseWriter) { writeJSON(w, e.status, e.body()) }

// writeJSON answers with one JSON value, without the newline that an Encoder would add.
func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client may be gone; there is nobody left to tell
}

// content is a message's content: a string, or a list of parts.
type content struct {
	text   string
	images []string // names of them: a hash of the URL, which for a data: URL is one of the image
}

// name is the content as one text, for telling prompts apart.
func (c *content) name() string {
	if len(c.images) == 0 {
		return c.text
	}
	return c.text + "\x00" + strings.Join(c.images, "\x00")
}

func (c *content) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &c.text)
	}
	var parts []struct {
		Type  string `json:"type"`
		Text  string `json:"text"`
		Image struct {
			URL string `json:"url"`
		} `json:"image_url"`
	}
	if string(data) == "null" {
		return nil
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return errors.New("content must be a string or a list of parts")
	}
	var b strings.Builder
	for i, p := range parts {
		switch p.Type {
		case "text", "input_text", "output_text":
		case "image_url":
			h := fnv.New64a()
			_, _ = h.Write([]byte(p.Image.URL)) // a hash does not fail
			c.images = append(c.images, strconv.FormatUint(h.Sum64(), 16))
			continue
		default:
			return errNotText
		}
		if i > 0 {
			b.WriteByte('\n') // as vLLM joins text parts for a template that takes strings
		}
		b.WriteString(p.Text)
	}
	c.text = b.String()
	return nil
}

var errNotText = errors.New("part is not text")

func notMultimodal() *apiError {
	return badRequest("", "the simulated model is not a multimodal model")
}

type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// prompt is a text completion's prompt: a string, a list of one string, or a list of token ids.
type prompt struct {
	text string
	ids  int // number of token ids, where it is a list of those
}

func (p *prompt) UnmarshalJSON(data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
	case string:
		p.text = v
	case []any:
		if len(v) == 1 {
			if s, ok := v[0].(string); ok {
				p.text = s
				return nil
			}
		}
		for _, id := range v {
			if _, ok := id.(float64); !ok {
				return errors.New("the simulated engine takes one prompt a request: a string, or a list of token ids")
			}
		}
		p.ids = len(v)
	default:
		return errors.New("prompt must be a string or a list")
	}
	return nil
}

// completionBody holds what the simulator understands of both completion requests; the rest is accepted and ignored.
type completionBody struct {
	Model               string     `json:"model"`
	Messages            *[]message `json:"messages"`
	Prompt              prompt     `json:"prompt"`
	MaxTokens           *int       `json:"max_tokens"`
	MaxCompletionTokens *int       `json:"max_completion_tokens"`
	MinTokens           int        `json:"min_tokens"`
	IgnoreEOS           bool       `json:"ignore_eos"`
	N                   *int       `json:"n"`
	Stream              bool       `json:"stream"`
	Input               *input     `json:"input"` // of a Responses request
	Instructions        string     `json:"instructions"`
	MaxOutputTokens     *int       `json:"max_output_tokens"`
	System              content    `json:"system"` // of a Messages request
	StreamOptions       *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

// request is a completion request that was found good.
type request struct {
	model        string
	api          api
	chat         bool // by the chat template
	stream       bool
	includeUsage bool
	promptTokens int
	images       int
	maxTokens    int
	minTokens    int
	ignoreEOS    bool
	prefix       prefixSource
	reasons      bool                 // its answer begins with reasoning
	texts        []string             // of an embeddings or a rerank request
	cached       *promptTokensDetails // of its prompt, for the usage; nil: not told
}

// readBody reads and decodes a JSON body into v.
func readBody(r *http.Request, v any) *apiError {
	if ct := r.Header.Get("Content-Type"); ct != "" && !strings.HasPrefix(ct, "application/json") {
		return invalid("", `Unsupported Media Type: Only 'application/json' is allowed`)
	}
	data, err := readAll(r)
	switch {
	case r.ContentLength > maxBody, len(data) > maxBody:
		return &apiError{
			http.StatusRequestEntityTooLarge,
			fmt.Sprintf("the body has more than the %d bytes that are taken", maxBody), "Bad Request", "",
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return invalid("", "the body was not there within %v", bodyTime)
	case err != nil:
		return invalid("", "the body could not be read: %v", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		if errors.Is(err, errNotText) {
			return notMultimodal()
		}
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return invalid("",
				"{'type': 'json_invalid', 'loc': ('body', %d), 'msg': 'JSON decode error', 'ctx': {'error': %q}}",
				syntax.Offset, err.Error())
		}
		return invalid("", "{'loc': ('body',), 'msg': %q}", err.Error())
	}
	return nil
}

// readAll reads a body, of one that is too long no more than shows that.
func readAll(r *http.Request) ([]byte, error) {
	// A client may announce more than it sends: memory is taken ahead for what is usual only.
	const usual = 1 << 20
	if size := r.ContentLength; size >= 0 && size <= usual {
		data := make([]byte, size)
		_, err := io.ReadFull(r.Body, data)
		return data, err
	}
	if r.ContentLength > maxBody {
		return nil, nil
	}
	return io.ReadAll(io.LimitReader(r.Body, maxBody+1))
}

// parseRequest reads a request, checks it as vLLM does, and counts its prompt.
func (s *Server) parseRequest(r *http.Request, by api) (*request, *apiError) {
	if by == embeddingsAPI || by == rerankAPI {
		var b poolingBody
		if e := readBody(r, &b); e != nil {
			return nil, e
		}
		return s.pooling(&b, by)
	}
	var b completionBody
	if e := readBody(r, &b); e != nil {
		return nil, e
	}
	if e := s.checkModel(b.Model); e != nil {
		return nil, e
	}
	chat := by != textAPI
	if by == responsesAPI || by == messagesAPI {
		list, e := b.conversation(by)
		if e != nil {
			return nil, e
		}
		b.Messages = &list
	}
	if by == responsesAPI {
		b.MaxCompletionTokens = b.MaxOutputTokens
	}
	req := &request{
		api: by, model: b.Model, chat: chat, stream: b.Stream, ignoreEOS: b.IgnoreEOS, minTokens: b.MinTokens,
	}
	if b.StreamOptions != nil {
		if !b.Stream {
			return nil, invalid("stream_options",
				"{'type': 'value_error', 'loc': ('body',), 'msg': "+
					"'Value error, Stream options can only be defined when `stream=True`. (parameter=stream_options)'}")
		}
		req.includeUsage = b.StreamOptions.IncludeUsage
	}
	if b.N != nil && *b.N != 1 {
		return nil, badRequest("n", "the simulated engine makes one completion a request, got n=%d", *b.N)
	}

	switch {
	case chat && b.Messages == nil:
		return nil, invalid("", "{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}")
	case chat && len(*b.Messages) == 0:
		return nil, badRequest("", "Cannot apply chat template to an empty conversation. Provide at least one message.")
	case chat:
		for i := range *b.Messages {
			req.images += len((*b.Messages)[i].Content.images)
		}
		if req.images > 0 && s.cfg.ImageTokens == 0 {
			return nil, notMultimodal()
		}
		req.promptTokens = s.countMessages(*b.Messages)
		req.prefix.messages = *b.Messages
	case b.Prompt.ids > 0:
		req.promptTokens = b.Prompt.ids
	case b.Prompt.text == "":
		return nil, invalid("prompt",
			"{'type': 'value_error', 'loc': ('body',), 'msg': "+
				"'Value error, Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)'}")
	default:
		req.promptTokens = s.cfg.CountTokens(b.Prompt.text)
		req.prefix.text = b.Prompt.text
	}
	req.promptTokens = max(req.promptTokens, 1)
	return req, s.checkLengths(req, &b)
}

// checkLengths settles the request's largest output and refuses what the context cannot hold.
func (s *Server) checkLengths(req *request, b *completionBody) *apiError {
	limit, given := 0, b.MaxTokens
	if req.chat && b.MaxCompletionTokens != nil {
		given = b.MaxCompletionTokens
	}
	switch {
	case given == nil && req.chat:
		limit = s.cfg.MaxModelLen - req.promptTokens
	case given == nil:
		limit = min(16, s.cfg.MaxModelLen-req.promptTokens) // the completions API's documented default
	case *given < 1:
		return badRequest("max_tokens", "max_tokens must be at least 1, got %d. (parameter=max_tokens, value=%d)",
			*given, *given)
	case *given > s.cfg.MaxModelLen:
		return badRequest("max_tokens",
			"max_tokens=%d cannot be greater than max_model_len=max_total_tokens=%d. "+
				"Please request fewer output tokens. (parameter=max_tokens, value=%d)",
			*given, s.cfg.MaxModelLen, *given)
	default:
		limit = *given
	}
	if req.promptTokens+max(limit, 1) > s.cfg.MaxModelLen {
		return badRequest("input_tokens", "This model's maximum context length is %d tokens. However, you requested "+
			"%d output tokens and your prompt contains %d input tokens, for a total of %d tokens. Please reduce the "+
			"length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=%d)",
			s.cfg.MaxModelLen, max(limit, 1), req.promptTokens, req.promptTokens+max(limit, 1), req.promptTokens)
	}
	if b.MinTokens > limit {
		return badRequest("", "min_tokens must be less than or equal to max_tokens=%d, got %d.", limit, b.MinTokens)
	}
	req.maxTokens = limit
	return nil
}

func (s *Server) checkModel(model string) *apiError {
	if model == "" || model == s.cfg.Model || slices.Contains(s.cfg.Adapters, model) {
		return nil
	}
	return &apiError{
		http.StatusNotFound, fmt.Sprintf("The model `%s` does not exist.", model), "NotFoundError", "model",
	}
}

func (s *Server) countMessages(ms []message) int {
	n := s.cfg.templateTokens()
	for i, m := range ms {
		n += s.cfg.CountTokens(m.Content.text) + len(m.Content.images)*s.cfg.ImageTokens
		if i > 0 && s.cfg.templateTokens() > 0 {
			n += 5 // a further message's own marks: start, role, newline, end, newline
		}
	}
	return n
}

type tokenizeBody struct {
	Model           string     `json:"model"`
	Prompt          *string    `json:"prompt"`
	Messages        *[]message `json:"messages"`
	ReturnTokenStrs bool       `json:"return_token_strs"`
}

type tokenizeAnswer struct {
	Count       int       `json:"count"`
	MaxModelLen int       `json:"max_model_len"`
	Tokens      []int     `json:"tokens"`
	TokenStrs   *[]string `json:"token_strs"`
}

// handleTokenize answers as vLLM's /tokenize. The count is the one that usage reports; the ids are made up.
func (s *Server) handleTokenize(w http.ResponseWriter, r *http.Request) {
	var b tokenizeBody
	if e := readBody(r, &b); e != nil {
		e.write(w)
		return
	}
	if e := s.checkModel(b.Model); e != nil {
		e.write(w)
		return
	}
	var n int
	switch {
	case b.Messages != nil:
		n = s.countMessages(*b.Messages)
	case b.Prompt != nil:
		n = s.cfg.CountTokens(*b.Prompt)
	default:
		invalid("", "{'type': 'missing', 'loc': ('body', 'prompt'), 'msg': 'Field required'}").write(w)
		return
	}
	answer := tokenizeAnswer{Count: n, MaxModelLen: s.cfg.MaxModelLen, Tokens: make([]int, n)}
	strs := make([]string, 0, n)
	for i := range answer.Tokens {
		answer.Tokens[i] = 1000 + i
		if b.ReturnTokenStrs {
			strs = append(strs, "Ġt"+strconv.Itoa(i))
		}
	}
	if b.ReturnTokenStrs {
		answer.TokenStrs = &strs
	}
	writeJSON(w, http.StatusOK, answer)
}

type modelList struct {
	Object string      `json:"object"`
	Data   []modelCard `json:"data"`
}

type modelCard struct {
	ID          string            `json:"id"`
	Object      string            `json:"object"`
	Created     int64             `json:"created"`
	OwnedBy     string            `json:"owned_by"`
	Root        string            `json:"root"`
	Parent      *string           `json:"parent"`
	MaxModelLen int               `json:"max_model_len"`
	Permission  []modelPermission `json:"permission"`
}

type modelPermission struct {
	ID                 string  `json:"id"`
	Object             string  `json:"object"`
	Created            int64   `json:"created"`
	AllowCreateEngine  bool    `json:"allow_create_engine"`
	AllowSampling      bool    `json:"allow_sampling"`
	AllowLogprobs      bool    `json:"allow_logprobs"`
	AllowSearchIndices bool    `json:"allow_search_indices"`
	AllowView          bool    `json:"allow_view"`
	AllowFineTuning    bool    `json:"allow_fine_tuning"`
	Organization       string  `json:"organization"`
	Group              *string `json:"group"`
	IsBlocking         bool    `json:"is_blocking"`
}

func (s *Server) handleModels(w http.ResponseWriter, _ *http.Request) {
	created := s.wallOrigin.Unix()
	permission := []modelPermission{{ID: "modelperm-llmsim", Object: "model_permission", Created: created,
		AllowSampling: true, AllowLogprobs: true, AllowView: true, Organization: "*"}}
	list := modelList{Object: "list", Data: []modelCard{{
		ID: s.cfg.Model, Object: "model", Created: created, OwnedBy: "vllm", Root: s.cfg.Model,
		MaxModelLen: s.cfg.MaxModelLen, Permission: permission,
	}}}
	for _, name := range s.cfg.Adapters { // as vLLM lists them: without a length of their own
		list.Data = append(list.Data, modelCard{ID: name, Object: "model", Created: created, OwnedBy: "vllm",
			Root: name, Parent: &s.cfg.Model, Permission: permission})
	}
	writeJSON(w, http.StatusOK, list)
}
