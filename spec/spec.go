// Package spec is what was asked for, whoever asked: openloop's own flags and GuideLLM's both produce a Spec, and
// everything else reads it. It is plain data, and knows no flag.
package spec

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/tokens"
)

// Spec is what was asked for.
type Spec struct {
	Endpoint   endpoint.Config
	Targets    []Target    // that the load is spread over, of which Endpoint is the first; nil: Endpoint alone
	Workload   tokens.Spec // not used where there is a Mix, but for what all its classes share
	Mix        []Class     // nil: all requests are of one kind
	Limits     Limits
	Plan       Plan
	Objectives []slo.Objective
	Gates      []slo.Gate
	Confidence float64 // of every judgement, between 0.5 and 1
	Output     Output
	Workers    Workers
}

// Sessioned says whether sessions are sent: of a mix, by any class.
func (s *Spec) Sessioned() bool {
	if s.Mix == nil {
		return s.Workload.Sessioned()
	}
	return slices.ContainsFunc(s.Mix, func(c Class) bool { return c.Workload.Sessioned() })
}

// Target is one of several endpoints that a load is spread over. They take turns, each Weight times in a round.
type Target struct {
	Name     string
	Weight   int
	Endpoint endpoint.Config
}

// TargetNames are the names of several targets; nil where there is one.
func (s *Spec) TargetNames() (names []string) {
	for _, t := range s.Targets {
		names = append(names, t.Name)
	}
	return names
}

// Class is a part of a mix: requests of one kind. Arrivals are drawn among the classes by their weights.
type Class struct {
	Name     string
	Weight   float64
	Model    string            // to ask for; "" for the endpoint's
	Headers  []endpoint.Header // beside those of the endpoint, over which they go
	Workload tokens.Spec
}

// Describe says what is sent in one line: see tokens.Spec.Describe.
func (s *Spec) Describe() string {
	if s.Mix == nil {
		return s.Workload.Describe()
	}
	sum := 0.0
	for _, c := range s.Mix {
		sum += c.Weight
	}
	var parts []string
	for _, c := range s.Mix {
		parts = append(parts, fmt.Sprintf("%s %s %%: %s", c.Name, num.Three(100*c.Weight/sum), c.Workload.Describe()))
	}
	return "mix of " + strings.Join(parts, "; ")
}

// Classes are the names of the classes of the mix; nil where there is none.
func (s *Spec) Classes() (names []string) {
	for _, c := range s.Mix {
		names = append(names, c.Name)
	}
	return names
}

// Workers say by whom the load is sent. The zero value: by this process.
type Workers struct {
	Count int // processes that send; 0: this one

	Listen            string // address of the leader
	TokenFile         string // of what the leader asks of workers; "": the environment's, or none
	CertFile, KeyFile string // for TLS between leader and workers; "": none
	Patience          time.Duration

	// Join is the leader's address for the other pods of an Indexed Job, which have the same command: the first leads.
	Join   string
	CAFile string // that they trust
}

// Limits say when a stage ends and what of it counts.
type Limits struct {
	MaxDuration        time.Duration // 0: no limit by time
	MaxRequests        int           // 0: no limit by requests
	MaxErrors          int           // the stage ends at this many errors; 0: no limit
	MaxErrorRate       float64       // … when this share of its last 30 requests failed; 0: no limit
	MaxGlobalErrorRate float64       // … when this share of all its requests failed; 0: no limit

	// Retries is how often a request is sent again that is refused with HTTP 429 or 503; 0: never.
	Retries int

	Warmup, Cooldown Trim
	Grace            time.Duration // how long what is in flight at the end may still run
	RampUp           time.Duration // over which the streams of a closed loop begin
	// MaxConcurrency is a safety limit of requests in flight. 0: loadgen.DefaultMaxConcurrency, or as many as the limit
	// of open files allows.
	MaxConcurrency int
}

// Trim is a part of a stage that is left out, at its start or its end, as GuideLLM's warmup and cooldown say it. The
// zero value leaves nothing out.
type Trim struct {
	Percent float64  // share of the stage, 0 to 1; 0 for none
	Value   float64  // seconds or requests; 0 for none
	Mode    TrimMode // what Value counts; "" is PreferDuration
	// Zero tells a zero that was asked for from none: GuideLLM's window then begins with the first request that
	// completed, where only requests limit the stage.
	Zero bool
}

// TrimMode says which limit of a stage a Trim belongs to.
type TrimMode string

// The modes, as GuideLLM names them.
const (
	ByDuration     TrimMode = "duration"
	ByRequests     TrimMode = "requests"
	PreferDuration TrimMode = "prefer_duration"
	PreferRequests TrimMode = "prefer_requests"
	ByBoth         TrimMode = "both"
)

// TrimOf reads a number as GuideLLM does: a share where it is below 1, else seconds or requests.
func TrimOf(v float64) Trim {
	if v < 1 {
		return Trim{Percent: v}
	}
	return Trim{Value: v}
}

// IsZero says whether nothing is left out.
func (t Trim) IsZero() bool { return t.Percent == 0 && t.Value == 0 }

// Duration is the part of a stage that is left out, 0 where it counts requests.
func (t Trim) Duration(l Limits) time.Duration {
	if l.MaxDuration == 0 || t.Mode == ByRequests || t.Mode == PreferRequests && l.MaxRequests > 0 {
		return 0
	}
	if t.Percent > 0 {
		return time.Duration(t.Percent * float64(l.MaxDuration))
	}
	return time.Duration(t.Value * float64(time.Second))
}

// Stage is the template of every stage: all but its load.
func (l Limits) Stage() loadgen.Stage {
	return loadgen.Stage{
		Load:        loadgen.Load{RampUp: l.RampUp},
		MaxDuration: l.MaxDuration, MaxRequests: l.MaxRequests,
		MaxErrors: l.MaxErrors, MaxErrorRate: l.MaxErrorRate, MaxGlobalErrorRate: l.MaxGlobalErrorRate,
		Retries: l.Retries, Grace: l.Grace, Warmup: l.Warmup.Duration(l), Cooldown: l.Cooldown.Duration(l),
		KeepDetails: true,
	}
}

// Plan is what is run: given stages, or a sweep.
type Plan struct {
	Profile string         // synchronous, concurrent, throughput, constant, poisson or sweep
	Stages  []loadgen.Load // nil for a sweep
	// Limits are those of each stage in turn, the last ones those of all further stages; nil: all have the Spec's.
	Limits []Limits
	Sweep  *Sweep
	// Decide lets each of the stages, all open loops of one rate, be repeated until the gate at its rate is decided.
	Decide *Decide
}

// LimitsOf are the limits of stage i, from 0, where they are not the Spec's.
func (p Plan) LimitsOf(i int) Limits { return p.Limits[min(i, len(p.Limits)-1)] }

// Decide says how gates are decided.
type Decide struct {
	Arrival loadgen.Arrival
	Seed    int64         // of the first stage; each further one has another
	Budget  time.Duration // wall time for each gate
}

// Seed is that of the first random arrivals.
func (p Plan) Seed() int64 {
	if p.Sweep != nil {
		return p.Sweep.Seed
	}
	for _, load := range p.Stages {
		if load.Kind.Open() {
			return load.Seed
		}
	}
	return 0
}

// Search is the search of the plan; nil where there is none.
func (p Plan) Search() *Search {
	if p.Sweep == nil {
		return nil
	}
	return p.Sweep.Search
}

// Sweep is a synchronous probe, a saturation probe, rates between the two, and a search.
type Sweep struct {
	Size    int             // stages in all: synchronous, throughput, and the open-loop ones between; at least 2
	Arrival loadgen.Arrival // of the open-loop stages
	Seed    int64           // of random arrivals
	Search  *Search         // nil: no stages after the interpolated ones
}

// Search looks for the highest rate at which the objectives hold.
type Search struct {
	Arrival loadgen.Arrival
	Seed    int64 // of the first stage; each further one has another

	Precision   float64       // half width of the interval at which the search ends, as a share; 0: 0.05
	MaxStages   int           // that the search may run; 0: 24
	Budget      time.Duration // of wall time; 0: none
	MaxPerStage time.Duration // longest stage; 0: as the search needs it
	NoEarlyStop bool          // run every stage for all of its time
	Speed       bool          // it looks for the highest speed of the workload's trace

	// Drain is how long the server may take to get rid of the stage before; 0: 60 s.
	Drain time.Duration
}

// Output says what is written, and where.
type Output struct {
	// Dir is the folder for the results; "" is a new one, named after the time and the model.
	Dir            string
	Earlier        Earlier  // what becomes of an earlier run's results in Dir
	Files          []string // forms, or file names whose ending is one
	Records        string   // file for the requests, one line each; "": none
	HLog           string   // file for their latencies as an HdrHistogram log; "": none
	LogReport      bool     // print the report, too, as text that a log can hold
	SampleRequests int      // keep prompt and response of so many requests of a stage
	Style          Style    // what is printed at the end
	MetricsAddr    string   // where the run's own metrics are served while it runs; "" for nowhere
	Quiet          bool     // no progress
	Progress       Progress // how it is shown; "" is AutoProgress
	NoColor        bool     // on no terminal
	Wide           bool     // all columns at the end, not those alone that fit in 80
	AllowInvalid   bool     // exit 0 even where the client was invalid
	Command        []string // as it was given, credentials left out
	Labels         map[string]string
	Cost           *Cost  // of the endpoint; nil: not said
	Repeat         string // a configuration that repeats the run, credentials left out; "" for none
}

// Earlier is what becomes of the results of an earlier run where a run is to write its own.
type Earlier string

// What may become of them.
const (
	KeepEarlier      Earlier = ""          // they get another name
	RefuseEarlier    Earlier = "refuse"    // the run is refused
	OverwriteEarlier Earlier = "overwrite" // they are replaced
)

// Cost is what running the endpoint costs.
type Cost struct {
	PerHour  float64 `json:"per_hour"`
	Currency string  `json:"currency"` // a sign or a code, written before the amount: "$"
}

// Amount is a sum of money, to the hundredth or to three significant digits: $0.20, EUR 1.10, $0.00421.
func (c Cost) Amount(sum float64) string {
	text := num.Three(sum)
	if sum < 0.1 {
		text = num.Rate(sum)
	}
	return c.InCurrency(text)
}

// InCurrency writes the currency before a number: a sign stands close to it, a code of letters does not.
func (c Cost) InCurrency(number string) string {
	if len(c.Currency) > 1 && c.Currency[0] < utf8.RuneSelf {
		return c.Currency + " " + number
	}
	return c.Currency + number
}

// Progress is how a run is shown as it goes.
type Progress string

// The ways.
const (
	AutoProgress   Progress = "auto"   // a screen on a terminal, else plain
	ScreenProgress Progress = "screen" // drawn in place
	PlainProgress  Progress = "plain"  // a line a stage, and one every ten seconds
	JSONProgress   Progress = "json"   // the same as JSON lines
	NoProgress     Progress = "none"
)

// Style is what is printed at the end of a run.
type Style string

// The styles.
const (
	StyleOpenLoop Style = "openloop"
	StyleGuideLLM Style = "guidellm"
	StyleNone     Style = "none"
)
