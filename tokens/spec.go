package tokens

// Spec says what is sent: exactly one of Synthetic, Data and Trace.
type Spec struct {
	Synthetic *SyntheticSpec
	Data      *DataSpec
	Trace     *TraceSpec

	Format      Format // the kind of request
	Extra       []byte // JSON object of further fields of every request body; nil for none
	NoIgnoreEOS bool   // leave ignore_eos out
	NoStream    bool   // ask for responses in one piece

	// Tokenizer is whose tokens prompts are made of: "auto" (the endpoint's own count), "o200k_base", "cl100k_base",
	// "none", or a file.
	Tokenizer string

	// Seed is that of the prompts. Every stage has prompts of its own, so that none is answered from a cache that an
	// earlier stage filled.
	Seed int64

	SaveTo string // file for every request that is sent, as JSON lines; "" for none
}

// SyntheticSpec describes prompts that are made up.
type SyntheticSpec struct {
	Prompt, Output Length
	Prefixes       []PrefixBucket
}

// DataSpec describes requests that are read.
type DataSpec struct {
	Source  string              // a file, or an array of records as JSON text
	Columns map[string][]string // as DataConfig.Columns
	Samples int                 // use so many records; 0: all
	Shuffle bool                // take the records in random order
	Seed    int64               // of that order
	Output  int                 // tokens to ask for where a record does not say; 0: as many as the model likes
}

// TraceSpec describes a recorded load.
type TraceSpec struct {
	File     string
	Speed    float64 // replay so many times as fast; 0: 1
	Requests int     // use so many of its requests; 0: all
}
