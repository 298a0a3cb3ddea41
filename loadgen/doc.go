// Package loadgen sends load on a schedule that never waits for the server, and records what became of every request.
//
// The way of the data is schedule → request → stream → record. A Stage says what load is sent and when it ends, a
// Runner runs it: the pacer (open loops) or streams (closed loops) hand requests to readers, each of which sends one at
// a time over an exchange of package transport, reads the response with package stream, and writes it down in a Record.
// What a stage leaves is a Measured.
package loadgen
