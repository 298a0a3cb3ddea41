// Package llmsim is a simulated inference engine behind an OpenAI-compatible server. Its capacity is known from its
// parameters, so that a load generator can be judged by it: what the client reports is held against what the server
// knows about itself.
//
// The package has three layers, each usable without the next:
//
//   - [Engine] is a pure step machine: continuous batching with chunked prefill, as vLLM's V1 scheduler does it. It has
//     no clock and does no I/O; the study of the search (bench/knee) runs it alone, faster than any clock.
//   - [Server] puts the engine (or fixed timing) on a clock and behind HTTP: chat and text completions, streamed or
//     not, /metrics, /tokenize, faults on demand, and a [Truth] record of every request.
//   - [ParseSpec] names a configuration in one string, as in "l4-qwen2.5-0.5b?max_num_seqs=64".
//
// [Config.Capacity] gives the request rate that the engine sustains, in closed form.
//
// A request passes through the files in this order: server.go (HTTP), api.go (what was asked), stream.go (the request
// between its handler and the loop), loop.go or fixed.go (the goroutine that keeps the time), engine.go (the batch),
// wire.go and conn.go (the bytes of a token, and how they are written), truth.go (what is recorded). config.go,
// spec.go, lengths.go, speed.go and fault.go say what is simulated.
package llmsim
