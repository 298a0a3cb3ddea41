// Package tokens is what is sent: synthetic prompts of an exact length, records of data sets, recorded traces, and the
// bytes of the request bodies, all built before they are due.
//
//	spec.go      Spec: the plain description of what is sent
//	workload.go  Workload: a Spec that was opened and checked, and the requests of each stage
//	summary.go   what a report says of the requests: whose tokens, how exact the lengths were
//	synth.go     prompts from nothing but a seed
//	data.go      records of a file, or synthetic data as GuideLLM describes it
//	folder.go    the files of a folder that Hugging Face's datasets saved
//	records.go   the rows of JSON, CSV, text and Parquet files
//	arrow.go     the rows of Arrow files
//	datascan.go  all records read once before any load: what can't be sent, and what is not used
//	bodyfields.go  what a record says of its own request: sampling, structure, tools
//	columns.go   which columns of a row are prompt, prefix and lengths
//	conversation.go  the messages of a conversation, as one request or as a session
//	turncolumns.go  the turns of a row that has a column for each
//	trace.go     recorded loads: when each request came, how long it was, what it shared with others
//	traceform.go recognising a trace's blocks and times, and saying what it asks for
//	tracesession.go  the sessions of a trace, whose turns are lines of it
//	tracegraph.go  recordings of agents: which answers a turn needs; traceweka.go and traceotel.go read them
//	tracemessages.go  messages as a trace has them
//	body.go      from an item to the JSON of a request, byte for byte as GuideLLM writes it
//	ahead.go     building requests in a goroutine of their own, so that whoever sends them never waits for a prompt
//	learn.go     asking an endpoint which words it counts as one token each
//	save.go      writing what was sent, so that it can be sent again
//
// How long a text is depends on who counts. The embedded words are one token each for every tokenizer they were made
// for; package tokenizer finds the words that are one token for another, and an endpoint shows those that are one for
// it.
package tokens
