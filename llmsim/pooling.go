package llmsim

import (
	"encoding/json"
	"errors"
)

// poolingBody holds what the simulator understands of embeddings and rerank requests.
type poolingBody struct {
	Model     string `json:"model"`
	Input     texts  `json:"input"`
	Query     string `json:"query"`
	Documents texts  `json:"documents"`
}

// texts are several texts, or one.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	var all []string
	if json.Unmarshal(data, &all) != nil {
		return errors.New("the simulated engine takes a text, or a list of texts")
	}
	*t = all
	return nil
}

// pooling makes the request of an embeddings or a rerank body: its texts are prefilled, and nothing is generated. Each
// text counts by itself; a document is scored together with the query.
func (s *Server) pooling(b *poolingBody, by api) (*request, *apiError) {
	if e := s.checkModel(b.Model); e != nil {
		return nil, e
	}
	of, missing := b.Input, "input"
	if by == rerankAPI {
		if of, missing = b.Documents, "documents"; b.Query == "" {
			missing, of = "query", nil
		}
	}
	if len(of) == 0 {
		return nil, invalid("", "{'type': 'missing', 'loc': ('body', '%s'), 'msg': 'Field required'}", missing)
	}
	req := &request{api: by, model: b.Model, texts: of, maxTokens: 1, minTokens: 1, ignoreEOS: true}
	query := s.cfg.CountTokens(b.Query)
	for _, text := range of {
		n := max(s.cfg.CountTokens(text)+query, 1)
		if n > s.cfg.MaxModelLen {
			return nil, badRequest("input_tokens", "This model's maximum context length is %d tokens. However, you "+
				"requested %d tokens in the input. Please reduce the length of the input.", s.cfg.MaxModelLen, n)
		}
		req.promptTokens += n
	}
	return req, nil
}

// wholePooling is the answer to an embeddings or a rerank request, as vLLM 0.23.0 gives it.
func (st *stream) wholePooling() any {
	n := st.truth.PromptTokens
	usage := fields{"prompt_tokens": n, "total_tokens": n}
	if st.req.api == rerankAPI {
		results := make([]fields, 0, len(st.req.texts))
		for i, text := range st.req.texts {
			results = append(results, fields{"index": i, "document": fields{"text": text},
				"relevance_score": 1 / float64(i+1)})
		}
		return fields{"id": st.truth.ID, "model": st.req.model, "usage": usage, "results": results}
	}
	data := make([]fields, 0, len(st.req.texts))
	for i := range st.req.texts {
		data = append(data, fields{"index": i, "object": "embedding", "embedding": []float64{0.5, -0.5, 0.5, -0.5}})
	}
	return fields{"id": st.truth.ID, "object": "list", "created": st.server.wallOrigin.Unix(), "model": st.req.model,
		"data": data, "usage": usage}
}
