// Package loadgen sends load on a schedule that never waits for the server, and records what became of every request.
//
// The way of the data is schedule → request → stream → record:
//
//	schedule.go   when requests are due: pure arithmetic, no clock
//	stage.go      one stage of load: what to send, how long, when to give up
//	run.go        a stage under way: pacer, streams, limits, the stage it leaves
//	client.go     connections, one HTTP exchange, HTTP/1.1 by hand so that the send stamp is the request's own
//	http2.go      the same exchange through net/http, where HTTP/2 or a proxy is asked for
//	stream.go     from received bytes to events: chunked framing, server-sent events
//	delta.go      from an event to what it says: content, usage, finish, error, with no decoding of JSON
//	record.go     what is kept of one request
//	stamp*.go     the kernel's receive time of every read
//	sleep*.go     waking at an absolute time, closer than Go's timers can
package loadgen
