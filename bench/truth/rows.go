package main

import (
	"time"

	"github.com/openloop/openloop/audit"
)

// row is a load, and what the audit may say of the client that offers it.
type row struct {
	Name    string
	Engine  string  // llmsim's spec
	Rate    float64 // open loop, arrivals a second, evenly spaced
	Poisson bool    // … or by chance, and so are think times
	Streams int     // closed loop
	Output  int     // tokens a request
	Seconds float64 // 0: as -seconds says
	Extra   bool    // run only when it is named
	Report  int     // the client ends after so many requests, and writes its report of them

	// Turns makes each arrival a session of so many requests, with Think between an answer and the next.
	Turns int
	Think time.Duration

	// What is done to the client, to see whether its audit notices.
	Busy   int           // so many busy loops beside it, on one processor
	Stall  time.Duration // its pacer sleeps so long halfway
	Beyond bool          // the rate is doubled until the audit says that it was too much, at most up to mostRate

	Verdicts []audit.Level // the right ones; nil: any that check.go finds true
}

// steady is the rate of a load whose requests reach the server evenly spaced, in requests a second; 0 for others: by
// chance, and turns, which are due when answers have come.
func (r *row) steady() float64 {
	if r.Turns > 0 || r.Poisson {
		return 0
	}
	return r.Rate
}

// fit is what the audit may say of a client that has what it needs. A stall of the machine makes a stage suspect.
var fit = []audit.Level{audit.Valid, audit.Suspect}

// unfit is the only right verdict on a client that measured itself.
var unfit = []audit.Level{audit.Invalid}

// mostRate is where Beyond ends, in requests a second: 8 million tokens a second at 128 tokens a request.
const mostRate = 64_000

func rows() []row {
	const usual = "fixed?ttft=30ms&itl=5ms"
	return []row{
		{Name: "300", Engine: usual, Rate: 300, Output: 128, Verdicts: fit},
		// From here on two processors are so busy that it depends on the machine whether the client is late.
		{Name: "700", Engine: usual, Rate: 700, Output: 128},
		{Name: "1200", Engine: usual, Rate: 1200, Output: 128},
		{Name: "beyond", Engine: usual, Rate: 4000, Output: 128, Seconds: 3, Beyond: true},
		{Name: "starved", Engine: usual, Rate: 300, Output: 128, Seconds: 3, Busy: 4, Verdicts: unfit},
		{Name: "stalled", Engine: usual, Rate: 300, Output: 128, Seconds: 3, Stall: time.Second, Verdicts: unfit},
		{Name: "1024-streams", Engine: "fixed?ttft=30ms&itl=50ms", Streams: 1024, Output: 128, Seconds: 15},
		{Name: "8000-streams", Engine: "fixed?ttft=1s&itl=1s", Streams: 8000, Output: 16, Seconds: 40},
		{Name: "200-long", Engine: usual, Rate: 200, Output: 128, Seconds: 600, Verdicts: fit, Extra: true},
		{Name: "300-long", Engine: usual, Rate: 300, Output: 128, Seconds: 200, Verdicts: fit, Extra: true},
		// To be put beside it: 300 turns a second. After 135 s ten thousand sessions are under way, all but a hundred
		// of them thinking.
		{Name: "sessions", Engine: usual, Rate: 75, Turns: 4, Think: 44 * time.Second, Output: 128, Seconds: 200,
			Verdicts: fit, Extra: true},
		// Both by chance: what is evenly spaced meets tokens that come in step with it, or not, as the rates have it.
		{Name: "poisson-long", Engine: usual, Rate: 300, Poisson: true, Output: 128, Seconds: 200, Verdicts: fit,
			Extra: true},
		{Name: "sessions-poisson", Engine: usual, Rate: 75, Poisson: true, Turns: 4, Think: 44 * time.Second,
			Output: 128, Seconds: 200, Verdicts: fit, Extra: true},
		{Name: "report", Engine: "fixed?ttft=1ms&itl=1us", Streams: 64, Output: 128, Report: 1_000_000, Extra: true},
	}
}
