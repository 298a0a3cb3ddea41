package tokens

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Spec says what is sent: exactly one of Synthetic, Data and Trace.
type Spec struct {
	Synthetic *SyntheticSpec
	Data      *DataSpec
	Trace     *TraceSpec

	Format      Format // the kind of request
	Extra       []byte // JSON object of further fields of every request body; nil for none
	NoIgnoreEOS bool   // leave ignore_eos out
	NoStream    bool   // ask for responses in one piece

	// Batch is how many texts an embeddings or a rerank request has, 0 for one. Query is the length of the query of a
	// rerank request in tokens, 0 for DefaultQuery.
	Batch, Query int

	// Tokenizer is whose tokens prompts are made of: "auto" or "" (the endpoint's own count), "o200k_base",
	// "cl100k_base", "none", or a file.
	Tokenizer string

	// Seed is that of the prompts. Every stage has prompts of its own, so that none is answered from a cache that an
	// earlier stage filled.
	Seed int64

	SaveTo string // file for every request that is sent, as JSON lines; "" for none
}

// Sessioned says whether sessions are sent, in the place of single requests.
func (s Spec) Sessioned() bool {
	return s.Synthetic != nil && s.Synthetic.Sessions != nil || s.Data != nil && s.Data.Sessions != nil ||
		s.Trace != nil && s.Trace.Sessions != nil
}

// SyntheticSpec describes prompts that are made up.
type SyntheticSpec struct {
	Prompt, Output Length // of the prompt without its prefix, and of the output; an Output.Mean of 0 leaves it free
	Prefixes       []PrefixBucket
	Sessions       *SessionSpec // nil: each prompt stands alone
	Images         *ImageSpec   // of each prompt; nil: none. Of chat requests that stand alone
}

// DataSpec describes requests that are read.
type DataSpec struct {
	// Source is a file of records, a folder of them that Hugging Face's datasets saved, an array of records as JSON
	// text, or a description of synthetic data as [ParseSynthetic] reads it.
	Source string
	// Further are files or folders of records whose records follow those of Source, in their order.
	Further []string
	// Columns maps GuideLLM's column types (text_column, prefix_column, prompt_tokens_count_column,
	// output_tokens_count_column) to names of columns, instead of the default names of all of them. A type that is left
	// out is then not read, as in GuideLLM.
	Columns map[string][]string
	// Samples is how many records are used, 0 is all. Fewer in the file are an error, as in GuideLLM. Synthetic data
	// goes on without end all the same.
	Samples int
	Shuffle bool  // take the records in random order; with Samples a random selection
	Seed    int64 // of that order
	// Sessions sends whole conversations as sessions, with its Think and Recorded; nil: each as one request.
	Sessions *SessionSpec
	Output   int // tokens to ask for where a record does not say; 0: as many as the model likes
	// GuideLLM takes of records what GuideLLM 0.5.0 takes and no more: its names of columns, and no fields of the
	// request.
	GuideLLM bool
}

// Sources are Source and those after it.
func (d *DataSpec) Sources() []string { return append([]string{d.Source}, d.Further...) }

// TraceSpec describes a recorded load.
type TraceSpec struct {
	File     string
	Speed    float64 // replay so many times as fast; 0: 1
	Requests int     // use so many of its requests, the first ones; 0: all

	// BlockTokens is how many tokens a hash identifier stands for; 0: as the identifiers and the lengths show.
	BlockTokens int
	// Sessions sends the sessions of JSON lines as such, with its Recorded; nil: every request at its own time.
	// Requests then counts sessions. Think takes the place of the trace's own times within sessions.
	Sessions *SessionSpec
	Think    *ThinkTime
	// TimeUnit is the unit of the time stamps of JSON lines, [Milliseconds] or [Seconds]; "": recognised.
	TimeUnit string
}

// SpecError says which field of a Spec is wrong.
type SpecError struct {
	Field string // "Extra", "Tokenizer", "Synthetic", "Data", "Data.Columns", "Trace" or "SaveTo"
	Err   error
}

// Error implements error.
func (e *SpecError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *SpecError) Unwrap() error { return e.Err }

// Describe says what is sent in one line, in the notation of GuideLLM's --data: synthetic prompts as [ParseSynthetic]
// reads them, of data and traces the file.
func (s Spec) Describe() string {
	switch {
	case s.Data != nil:
		return strings.Join(s.Data.Sources(), " ")
	case s.Trace != nil:
		return s.Trace.File
	case s.Synthetic != nil && s.Batch > 1:
		return fmt.Sprintf("%s,batch_size=%d", s.Synthetic.describe(), s.Batch)
	case s.Synthetic != nil:
		return s.Synthetic.describe()
	}
	return ""
}

func (s SyntheticSpec) describe() string {
	type pair struct {
		key   string
		value int
	}
	var pairs []pair
	length := func(name string, l Length) {
		for _, p := range []pair{{"", l.Mean}, {"_stdev", l.Stdev}, {"_min", l.Min}, {"_max", l.Max}} {
			if p.value > 0 {
				pairs = append(pairs, pair{name + p.key, p.value})
			}
		}
	}
	length("prompt_tokens", s.Prompt)
	length("output_tokens", s.Output)
	if s.Sessions != nil {
		length("turns", s.Sessions.Turns)
		length("turn_tokens", s.Sessions.Prompt)
	}
	if m := s.Images; m != nil {
		pairs = append(pairs, pair{"images", m.Count}, pair{"image_width", m.Width}, pair{"image_height", m.Height})
	}
	shared := len(s.Prefixes) == 1
	if shared {
		b := s.Prefixes[0]
		pairs = append(pairs, pair{"prefix_tokens", b.Tokens}, pair{"prefix_count", max(1, b.Count)})
	}
	var text strings.Builder
	if shared || len(s.Prefixes) == 0 {
		text.WriteString("kind=synthetic_text")
		for _, p := range pairs {
			fmt.Fprintf(&text, ",%s=%d", p.key, p.value)
		}
		return text.String()
	}
	// Several groups of prefixes can be written as JSON only.
	text.WriteString(`{"kind":"synthetic_text"`)
	for _, p := range pairs {
		fmt.Fprintf(&text, ",%q:%d", p.key, p.value)
	}
	buckets, err := json.Marshal(s.Prefixes)
	if err != nil {
		return text.String() + "}" // cannot be: whole numbers alone
	}
	return text.String() + `,"prefix_buckets":` + string(buckets) + "}"
}
