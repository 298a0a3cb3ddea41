package guidellm

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// The objects below are what a Config holds as JSON, their fields in GuideLLM's order. What only some kinds of load
// have is left out for the others.

// Strategy is how the requests of a stage arrived (scheduler/strategies.py).
type Strategy struct {
	Type           string        `json:"type_"` // synchronous, concurrent, throughput, constant or poisson
	WorkerCount    int64         `json:"worker_count"`
	MaxConcurrency Null[int64]   `json:"max_concurrency"`
	Streams        Null[int64]   `json:"streams,omitempty"`
	Rate           Null[float64] `json:"rate,omitempty"` // requests per second
	RandomSeed     Null[int64]   `json:"random_seed,omitempty"`
	RampupDuration Null[float64] `json:"rampup_duration,omitempty"` // seconds
	Kind           string        `json:"kind,omitempty"`            // what later versions call the type
}

// Load is the stage's strategy, as far as it is known to this version.
func (c *Config) Load() Strategy {
	var s Strategy
	_ = DecodeFree(c.Strategy, &s) // what is not there stays empty
	if s.Type == "" {
		s.Type = s.Kind
	}
	return s
}

// Open says whether the strategy offers load on a schedule.
func (s Strategy) Open() bool { return s.Type == "constant" || s.Type == "poisson" }

// String names a stage by its strategy: "constant@12.5", "concurrent@8".
func (s Strategy) String() string {
	switch {
	case s.Open() && s.Rate.Valid:
		return fmt.Sprintf("%s@%.4g", s.Type, s.Rate.Value)
	case s.Streams.Valid:
		return fmt.Sprintf("%s@%d", s.Type, s.Streams.Value)
	case s.Type == "throughput" && s.MaxConcurrency.Valid:
		return fmt.Sprintf("%s@%d", s.Type, s.MaxConcurrency.Value)
	}
	return s.Type
}

// Model is the model that the backend was asked for, "" where it was not named.
func (c *Config) Model() string { return c.backend().Model.Value }

// Timeout is how long GuideLLM waited for one step of an exchange, in seconds; 0 where the report does not say.
func (c *Config) Timeout() float64 { return c.backend().Timeout }

func (c *Config) backend() (b backend) {
	_ = DecodeFree(c.Backend, &b)
	return b
}

// constraints are the limits of a stage, nil where it has no such limit (scheduler/constraints/).
type constraints struct {
	MaxSeconds         *maxDuration        `json:"max_seconds,omitempty"`
	MaxRequests        *maxNumber          `json:"max_requests,omitempty"`
	MaxErrors          *maxErrors          `json:"max_errors,omitempty"`
	MaxErrorRate       *maxErrorRate       `json:"max_error_rate,omitempty"`
	MaxGlobalErrorRate *maxGlobalErrorRate `json:"max_global_error_rate,omitempty"`
	OverSaturation     *overSaturation     `json:"over_saturation,omitempty"`
}

type maxDuration struct {
	Type         string  `json:"type_"`
	MaxDuration  float64 `json:"max_duration"` // seconds
	CurrentIndex int64   `json:"current_index"`
}

type maxNumber struct {
	Type         string `json:"type_"`
	MaxNum       int64  `json:"max_num"`
	CurrentIndex int64  `json:"current_index"`
}

type maxErrors struct {
	Type         string `json:"type_"`
	MaxErrors    int64  `json:"max_errors"`
	CurrentIndex int64  `json:"current_index"`
}

type maxErrorRate struct {
	Type         string   `json:"type_"`
	MaxErrorRate float64  `json:"max_error_rate"`
	WindowSize   int64    `json:"window_size"`
	ErrorWindow  []string `json:"error_window" report:"list"` // always empty
	CurrentIndex int64    `json:"current_index"`
}

type maxGlobalErrorRate struct {
	Type         string  `json:"type_"`
	MaxErrorRate float64 `json:"max_error_rate"`
	MinProcessed int64   `json:"min_processed"`
	CurrentIndex int64   `json:"current_index"`
}

type overSaturation struct {
	Type                 string  `json:"type_"`
	MinimumDuration      float64 `json:"minimum_duration"` // seconds
	MinimumTTFT          float64 `json:"minimum_ttft"`     // seconds
	MaximumWindowSeconds float64 `json:"maximum_window_seconds"`
	MaximumWindowRatio   float64 `json:"maximum_window_ratio"`
	MinimumWindowSize    int64   `json:"minimum_window_size"`
	MOEThreshold         float64 `json:"moe_threshold"`
	Confidence           float64 `json:"confidence"`
	Enabled              bool    `json:"enabled"`
}

// profile is what a whole run was asked for (benchmark/profiles.py).
type profile struct {
	Type                string        `json:"type_"`
	CompletedStrategies []Strategy    `json:"completed_strategies" report:"list"`
	Constraints         limits        `json:"constraints"`
	RampupDuration      float64       `json:"rampup_duration"` // seconds
	SweepSize           Null[int64]   `json:"sweep_size,omitempty"`
	StrategyType        string        `json:"strategy_type,omitempty"`
	Rate                []float64     `json:"rate,omitempty"`
	Streams             []int64       `json:"streams,omitempty"`
	MaxConcurrency      *Null[int64]  `json:"max_concurrency,omitempty"` // nil where this type has no such field
	RandomSeed          Null[int64]   `json:"random_seed,omitempty"`
	SynchronousRate     Null[float64] `json:"synchronous_rate,omitempty"` // −1: not measured
	ThroughputRate      Null[float64] `json:"throughput_rate,omitempty"`
	AsyncRates          []float64     `json:"async_rates,omitempty"`
	MeasuredRates       []float64     `json:"measured_rates,omitempty"`
	StrategyTypes       []string      `json:"strategy_types" report:"list"`
}

// limits are a profile's, as they were asked for.
type limits struct {
	MaxSeconds         any           `json:"max_seconds,omitempty"` // int or float
	MaxRequests        Null[int64]   `json:"max_requests,omitempty"`
	MaxErrors          Null[int64]   `json:"max_errors,omitempty"`
	MaxErrorRate       Null[float64] `json:"max_error_rate,omitempty"`
	MaxGlobalErrorRate Null[float64] `json:"max_global_error_rate,omitempty"`
}

// requestsConfig says what was sent (benchmark/entrypoints.py). Its texts are those of Python's objects.
type requestsConfig struct {
	Data          string   `json:"data"`
	DataArgs      string   `json:"data_args"`
	DataSamples   int64    `json:"data_samples"`
	Preprocessors []string `json:"preprocessors"`
	Collator      string   `json:"collator"`
	Sampler       string   `json:"sampler"`
	NumWorkers    int64    `json:"num_workers"`
	RandomSeed    int64    `json:"random_seed"`
}

// backend says whom the requests went to (backends/openai/http.py, info).
type backend struct {
	Target          string          `json:"target"`
	Model           Null[string]    `json:"model"`
	Timeout         float64         `json:"timeout"` // seconds
	HTTP2           bool            `json:"http2"`
	FollowRedirects bool            `json:"follow_redirects"`
	Verify          bool            `json:"verify"`
	OpenAIPaths     openAIPaths     `json:"openai_paths"`
	ValidateBackend validateBackend `json:"validate_backend"`
}

type openAIPaths struct {
	Health              string `json:"health"`
	Models              string `json:"models"`
	TextCompletions     string `json:"text_completions"`
	ChatCompletions     string `json:"chat_completions"`
	AudioTranscriptions string `json:"audio_transcriptions"`
	AudioTranslations   string `json:"audio_translations"`
}

type validateBackend struct {
	Method string `json:"method"`
	URL    string `json:"url"`
}

type environment struct {
	Str        string                `json:"str"`
	Type       string                `json:"type"`
	Class      string                `json:"class"`
	Module     string                `json:"module"`
	Attributes environmentAttributes `json:"attributes"`
}

type environmentAttributes struct {
	RunErrors []string `json:"run_errors" report:"list"` // always empty
}

// objectOf is one of the objects above as JSON.
func objectOf(v any) json.RawMessage {
	raw, err := marshalFree(v)
	if err != nil {
		panic(err) // they hold nothing that JSON does not
	}
	return raw
}

// formatters are GuideLLM 0.5.0's classes that make requests (data/preprocessors/formatters.py). It has none for other
// kinds; 0.8.1 has no such classes, it tells kinds by their path.
var formatters = map[tokens.Format]string{
	tokens.ChatCompletions: "GenerativeChatCompletionsRequestFormatter",
	tokens.TextCompletions: "GenerativeTextCompletionsRequestFormatter",
}

// config says how a stage was run, in GuideLLM's objects.
func (e *Exporter) config(result *report.Result, index int) Config {
	a, limits := &e.Args, e.Spec.Limits
	stage := result.Stages[index].Measured.Stage
	preprocessors := []string{"GenerativeColumnMapper"}
	if name, ok := formatters[e.Spec.Workload.Format]; ok {
		preprocessors = append(preprocessors, name)
	}
	return Config{
		ID: newUUID(), RunID: e.id.String(), RunIndex: int64(index),
		Strategy:              objectOf(strategyOf(stage.Load, e.MaxConcurrency)),
		Constraints:           objectOf(constraintsOf(&stage, e.OverSaturation)),
		SampleRequests:        a.SampleRequests,
		Warmup:                transientConfig(limits.Warmup),
		Cooldown:              transientConfig(limits.Cooldown),
		PreferResponseMetrics: true,
		Profile:               objectOf(e.profile(result)),
		Requests: objectOf(requestsConfig{
			Data: pythonList(a.Data), DataArgs: "[]", DataSamples: a.DataSamples,
			Preprocessors: preprocessors,
			Collator:      "GenerativeRequestCollator", Sampler: "None", NumWorkers: 1, RandomSeed: a.RandomSeed,
		}),
		Backend: objectOf(e.backend()),
		Environment: objectOf(environment{
			Str: "openloop, one process", Type: "NonDistributedEnvironment", Class: "NonDistributedEnvironment",
			Module: "guidellm.scheduler.environments",
		}),
	}
}

// strategyOf is a load as GuideLLM's strategy. GuideLLM writes a cap for every kind; limit is that of the open loops.
func strategyOf(load loadgen.Load, limit int) Strategy {
	if limit <= 0 {
		limit = loadgen.DefaultMaxConcurrency
	}
	s := Strategy{Type: string(load.Kind), WorkerCount: 1, MaxConcurrency: Some(int64(1))}
	rampUp := Some(load.RampUp.Seconds())
	switch load.Kind {
	case loadgen.Concurrent:
		s.MaxConcurrency, s.Streams, s.RampupDuration = Some(int64(load.Streams)), Some(int64(load.Streams)), rampUp
	case loadgen.Throughput:
		s.MaxConcurrency, s.RampupDuration = Some(int64(load.Streams)), rampUp
	case loadgen.ConstantGap:
		s.MaxConcurrency, s.Rate = Some(int64(limit)), Some(meanRate(load))
	case loadgen.PoissonGaps:
		s.MaxConcurrency, s.Rate, s.RandomSeed = Some(int64(limit)), Some(meanRate(load)), Some(load.Seed)
	}
	return s
}

func constraintsOf(s *loadgen.Stage, over *oversaturation.Config) (c constraints) {
	if s.MaxDuration > 0 {
		c.MaxSeconds = &maxDuration{Type: "max_duration", MaxDuration: s.MaxDuration.Seconds()}
	}
	if s.MaxRequests > 0 {
		c.MaxRequests = &maxNumber{Type: "max_number", MaxNum: int64(s.MaxRequests)}
	}
	if s.MaxErrors > 0 {
		c.MaxErrors = &maxErrors{Type: "max_errors", MaxErrors: int64(s.MaxErrors)}
	}
	if s.MaxErrorRate > 0 {
		c.MaxErrorRate = &maxErrorRate{Type: "max_error_rate", MaxErrorRate: s.MaxErrorRate, WindowSize: 30}
	}
	if s.MaxGlobalErrorRate > 0 {
		c.MaxGlobalErrorRate = &maxGlobalErrorRate{
			Type: "max_global_error_rate", MaxErrorRate: s.MaxGlobalErrorRate, MinProcessed: 30,
		}
	}
	if over != nil {
		c.OverSaturation = &overSaturation{
			Type: "over_saturation", MinimumDuration: over.MinSeconds, MinimumTTFT: over.MinTTFT,
			MaximumWindowSeconds: over.MaxWindow, MaximumWindowRatio: over.MaxWindowRatio,
			MinimumWindowSize: int64(over.MinWindowSize), MOEThreshold: over.MOEThreshold,
			Confidence: over.Confidence, Enabled: over.Enabled,
		}
	}
	return c
}

func (e *Exporter) profile(result *report.Result) profile {
	a, plan := &e.Args, e.Spec.Plan
	p := profile{
		Type: plan.Profile, RampupDuration: a.Rampup,
		Constraints: limits{a.MaxSeconds, a.MaxRequests, a.MaxErrors, a.MaxErrorRate, a.MaxGlobalErrorRate},
	}
	arrivals := string(loadgen.ConstantGap) // of the open-loop stages
	for i := range result.Stages {
		stage := &result.Stages[i]
		if stage.Search {
			continue
		}
		p.CompletedStrategies = append(p.CompletedStrategies, strategyOf(stage.Load, e.MaxConcurrency))
		p.StrategyTypes = append(p.StrategyTypes, string(stage.Load.Kind))
		if stage.Load.Kind.Open() {
			arrivals = string(stage.Load.Kind)
		}
	}
	rates := ratesOf(plan)
	if speeds := e.speedRates(result); speeds != nil {
		p.Type, plan.Profile, rates = arrivals, arrivals, speeds
	}
	if plan.Profile == "sweep" {
		p.StrategyTypes = sweepTypes(arrivals, max(plan.Sweep.Size, len(p.StrategyTypes)))
	}
	switch plan.Profile {
	case "sweep":
		probes := report.Probes{}
		if result.Probes != nil {
			probes = *result.Probes
		}
		p.SweepSize, p.StrategyType = Some(int64(len(p.StrategyTypes))), arrivals
		p.MaxConcurrency, p.RandomSeed = &Null[int64]{}, Some(a.RandomSeed)
		p.SynchronousRate = Some(orMinusOne(probes.SynchronousRate))
		p.ThroughputRate = Some(orMinusOne(probes.SaturationRate))
		p.AsyncRates, p.MeasuredRates = []float64{}, append([]float64{}, probes.Rates...)
		if len(probes.Rates) == 0 { // --fast: the search chose them
			for _, s := range p.CompletedStrategies {
				if s.Open() {
					p.MeasuredRates = append(p.MeasuredRates, s.Rate.Value)
				}
			}
		}
	case "constant", "poisson":
		p.StrategyType, p.Rate = plan.Profile, append([]float64{}, rates...)
		p.MaxConcurrency, p.RandomSeed = &Null[int64]{}, Some(a.RandomSeed)
	case "concurrent":
		p.Streams = []int64{}
		for _, n := range rates {
			p.Streams = append(p.Streams, int64(n))
		}
	case "throughput":
		p.MaxConcurrency = &Null[int64]{}
		if len(rates) > 0 {
			*p.MaxConcurrency = Some(int64(rates[0]))
		}
	}
	return p
}

// speedRates are the mean rates of the stages of a search for the highest speed of a trace, nil for any other run.
// GuideLLM has no such search: its stages are those of a profile of given rates.
func (e *Exporter) speedRates(result *report.Result) []float64 {
	search := e.Spec.Plan.Search()
	if search == nil || !search.Speed {
		return nil
	}
	rates := []float64{}
	for i := range result.Stages {
		if stage := &result.Stages[i]; !stage.Search {
			rates = append(rates, meanRate(stage.Load))
		}
	}
	return rates
}

// sweepTypes are the kinds of a sweep's benchmarks, as GuideLLM computes them: the two probes, then the rates between.
func sweepTypes(arrivals string, size int) []string {
	types := []string{string(loadgen.Synchronous), string(loadgen.Throughput)}
	for len(types) < size {
		types = append(types, arrivals)
	}
	return types
}

func orMinusOne(v float64) float64 {
	if v <= 0 {
		return -1
	}
	return v
}

func (e *Exporter) backend() backend {
	c := e.Spec.Endpoint
	models := c.Target + "/v1/models" // of the simulated engine
	if !c.Address.IsZero() {
		models = c.Address.Join("/models").String()
	}
	b := backend{
		Target: e.Args.Target, Model: Null[string]{e.Model, e.Model != ""}, HTTP2: c.HTTP2, Verify: !c.Insecure,
		// GuideLLM holds a number here; openloop's default is no limit: the largest that GuideLLM reads back as one.
		Timeout: math.MaxInt32,
		OpenAIPaths: openAIPaths{
			Health: "health", Models: "v1/models",
			TextCompletions: "v1/completions", ChatCompletions: "v1/chat/completions",
			AudioTranscriptions: "v1/audio/transcriptions", AudioTranslations: "v1/audio/translations",
		},
		ValidateBackend: validateBackend{Method: "GET", URL: models},
	}
	if c.RequestTimeout > 0 {
		b.Timeout = c.RequestTimeout.Seconds()
	}
	return b
}

// transientConfig is a warm-up or cool-down as a stage's configuration.
func transientConfig(t spec.Trim) Transient {
	transient := TransientOf(t)
	c := Transient{Percent: float(transient.Percent), Mode: string(transient.Mode)}
	if t.Value > 0 {
		c.Value = wholeOr(t.Value)
	}
	return c
}
