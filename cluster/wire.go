// Package cluster sends one load from several machines: a leader, which decides and measures nothing itself, and
// workers, which send.
//
//	wire.go    what they tell each other, over NATS
//	clock.go   how far a worker's clock is from the leader's
//	server.go  the NATS server in the leader
//	leader.go  the leader: who has joined, who still answers
//	stage.go   a stage that the leader has under way
//	check.go   what a worker tells, before it is believed
//	supply.go  the requests of a stage, handed to whoever sends them
//	merge.go   what the workers measured, as one
//	worker.go  a worker
//	send.go    a stage that a worker has under way
//
// The schedule is pure, so that a worker needs no more than its share of it: worker k of N sends the arrivals k, k+N,
// k+2N, … Each stage begins at one instant of the leader's clock. Requests are made by the leader and fetched by the
// workers ahead of their time; records come back while the stage runs. Nothing secret is ever sent: a worker has its
// credentials from its own environment.
package cluster

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/loadgen"
)

// Protocol is the number of what follows. Leader and workers are of one version anyway; it tells those apart that were
// built without one.
const Protocol = 2

// Subjects of NATS. What is for one worker goes to its own, in which its number stands.
const (
	joinSubject     = "openloop.join"     // request of a worker: hello → welcome
	leaveSubject    = "openloop.leave"    // from a worker: leave
	requestsSubject = "openloop.requests" // request of a worker: wanted → supplied
)

// Subjects of one worker.
func pingSubject(worker string) string   { return "openloop.worker." + worker + ".ping" }   // request: → pong
func orderSubject(worker string) string  { return "openloop.worker." + worker + ".order" }  // request: order → answer
func reportSubject(worker string) string { return "openloop.worker." + worker + ".report" } // from the worker: batch

// hello is how a worker joins: first it asks what is to be sent, then it says that it is ready.
type hello struct {
	Ready    bool
	Protocol int
	Version  string
	ID       string // that nobody else has; its subjects begin with it
	Name     string // host and process
	Most     int    // requests that it may have in flight
	// Headers are the names of those that it has by itself, such as Authorization; what they hold is not told.
	Headers []string
	// Classes are the same of the classes of a mix, by the class.
	Classes map[string][]string
}

// leave is how a worker goes.
type leave struct {
	Worker string
	Why    string
}

// welcome is the answer to it.
type welcome struct {
	Refused string // why it can't join; "" if it can
	Setup   Setup
}

// Setup is what a worker needs to know of a run, beside what it has by itself.
type Setup struct {
	Targets        []string // URL of the API at each, as the requests number them
	Path           string   // below it, where requests are posted
	HTTP2          bool
	ConnectTimeout time.Duration
	RequestTimeout time.Duration
	// Headers are the names of those that every request has, and that a worker must have by itself.
	Headers []string
	// Classes are those of a mix, as the requests number them, with the names of their own headers.
	Classes        []Class
	MaxConcurrency int    // requests in flight, of all together; 0: as many as they can
	About          []byte // head of the journal
}

// Class is a class of a mix.
type Class struct {
	Name string
	// Headers are the names of those that its requests have beside the others, or in their place.
	Headers []string
}

// pong is a worker's clock, ns.
type pong struct{ Clock int64 }

// order is what the leader tells a worker to do.
type order struct {
	Kind  orderKind
	Stage int // number of the stage that it is about

	Load    loadgen.Stage // prepareStage: the worker's share
	Ahead   int           // … requests that it is to have fetched
	Most    int           // … and may have in flight; 0: as many as it can
	At      int64         // beginStage: when, by the worker's clock
	Streams int           // setStreams
	Reason  loadgen.StopReason
	Cancel  bool   // endStage: what is in flight, too
	Text    string // giveUp: why
}

type orderKind string

// The orders.
const (
	prepareStage orderKind = "prepare" // be ready to begin a stage
	beginStage   orderKind = "begin"
	setStreams   orderKind = "streams"
	endStage     orderKind = "end"
	tellGaps     orderKind = "gaps"   // the gaps between tokens so far
	goHome       orderKind = "home"   // the run is over
	giveUp       orderKind = "giveup" // the leader goes on without this worker
)

// answer is what a worker says to an order.
type answer struct {
	Error string
	Start int64         // to beginStage: when the stage begins, by the clock of its records
	Gaps  *hdr.Snapshot // to tellGaps
}

// wanted asks for the next requests of a worker's share.
type wanted struct {
	Worker string
	Stage  int
	Most   int
}

// supplied are requests, in the order in which they are to be sent.
type supplied struct {
	Requests []loadgen.Request
	Error    string // why there are no more behind them
}

// batch is what a worker has to tell of a stage, several times a second.
type batch struct {
	Stage    int
	Number   int // from 0, so that a lost one is noticed
	Events   []event
	Progress loadgen.Progress
	Left     *left // in the last batch
}

// event is a loadgen.Event. Index counts the worker's own requests of the stage, and times are those of its clock.
type event struct {
	Index    int
	Ended    bool
	At       time.Duration
	InFlight int
	Record   loadgen.Record
	Detail   *loadgen.Detail
}

// left is what a worker's stage left, beside its records.
type left struct {
	Start, Stopped, End int64
	Reason              loadgen.StopReason
	Error               string
	Offered             int
	Sessions            loadgen.Sessions
	Unsent              []event // the records that no event told of
	Gaps, TTFT, Delay   *hdr.Snapshot
	Client              loadgen.ClientStats
}

// encode writes a message.
func encode(v any) []byte {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		panic(fmt.Sprintf("cluster: %T can't be written: %v", v, err)) // the types above can be
	}
	return b.Bytes()
}

// decode reads a message.
func decode[T any](data []byte) (v T, err error) {
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&v); err != nil {
		return v, fmt.Errorf("a message that can't be read: %w", err)
	}
	return v, nil
}
