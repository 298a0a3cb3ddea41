package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/internal/shell"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep/enginemetrics"
	"github.com/openloop/openloop/tokens"
)

func newCheck(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [URL]",
		Short: "say what a run would find: engine, model, key, streaming, metrics, and what this client can offer",
		Example: `  openloop check http://localhost:8000
  openloop check https://gateway.example/openai --api-key-file FILE --json
  openloop check http://localhost:8000 --wait-ready 10m`,
		Args: urlArgument,
	}
	commonFlags(cmd, "target", "model", "api-key-file", "prompt-tokens", "output-tokens", "data", "wait-ready", "json")
	f := addSpecFlags(cmd.Flags(), p)
	asJSON := cmd.Flags().Bool("json", false, "print the findings as JSON")
	hideRest(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := f.spec(args)
		if err != nil {
			return err
		}
		if s.Mix != nil || s.Targets != nil {
			return usageError("check looks at one kind of requests, at one target: a mix or several targets are " +
				"tried by run, before any load")
		}
		s.Plan = spec.Plan{Sweep: &spec.Sweep{Size: 2}}
		if err := refuse(s.Validate()); err != nil {
			return err
		}
		c := &check{session: session{spec: s, stdout: p.stdout, stderr: p.stderr}, json: *asJSON,
			slo: len(f.objectives) > 0}
		defer c.close()
		return c.run(cmd.Context())
	}
	return cmd
}

// hideRest hides the flags of a command that sends no load: they are taken, so that the flags of a sweep may stay.
func hideRest(set *pflag.FlagSet) {
	for _, g := range flagGroups {
		if g.title == "Endpoint" || g.title == "Requests" || g.title == "Configuration" {
			continue
		}
		for _, name := range g.flags {
			if name != "slo" && name != "quiet" && set.Lookup(name) != nil {
				_ = set.MarkHidden(name) // it is there
			}
		}
	}
}

// checkState is what became of one check.
type checkState string

const (
	checkOK      checkState = "ok"
	checkWarning checkState = "warning" // a run works, and lacks something
	checkFailed  checkState = "failed"  // a run would be refused
)

var checkSigns = map[checkState]string{
	checkOK: report.SignGood, checkWarning: report.SignWarning, checkFailed: report.SignBad,
}

// finding is what one check found.
type finding struct {
	Name  string     `json:"name"`
	State checkState `json:"state"`
	Text  string     `json:"text"`
	Hint  string     `json:"hint,omitempty"` // what to do about it
}

// findings are what openloop check --json prints.
type findings struct {
	Target      string              `json:"target"`
	Ready       bool                `json:"ready"` // all that a run needs is there
	Checks      []finding           `json:"checks"`
	Engine      *enginemetrics.Info `json:"engine"`            // null: it does not say
	Engines     []report.Engine     `json:"engines,omitempty"` // that --server-metrics names
	Model       string              `json:"model"`             // that would be asked for
	Models      []endpoint.Model    `json:"models"`
	RoundTripMS float64             `json:"round_trip_ms"` // of a new connection
	// AboutMostRate is about how many requests a second of the asked output length this client can offer.
	AboutMostRate float64 `json:"about_most_rate"`
	Next          string  `json:"next"` // the command to go on with; "" where it would be refused
}

// check looks at an endpoint without load.
type check struct {
	session
	json  bool
	slo   bool // objectives were asked for, by whatever means
	found findings
	wire  endpoint.Wire
}

func (c *check) run(ctx context.Context) error {
	c.found.Target = c.spec.Endpoint.Target
	c.found.Checks, c.found.Models = []finding{}, []endpoint.Model{}
	if err := c.all(ctx); err != nil {
		return err
	}
	if err := c.checkBucket(ctx); err != nil {
		return err
	}
	c.found.Ready = !slices.ContainsFunc(c.found.Checks, func(f finding) bool { return f.State == checkFailed })
	if c.found.Ready {
		c.found.Next = c.next()
	}
	if c.json {
		encoder := json.NewEncoder(forData(c.stdout))
		encoder.SetEscapeHTML(false) // objectives have "<"
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(c.found); err != nil {
			return err
		}
	} else if c.found.Ready {
		fmt.Fprintf(c.stdout, "next: %s\n", c.found.Next)
	}
	if c.found.Ready {
		return nil
	}
	var failed []string
	for _, f := range c.found.Checks {
		if f.State == checkFailed {
			failed = append(failed, f.Name)
		}
	}
	return usageError("a run would be refused: see %s", strings.Join(failed, ", "))
}

// add takes down what was found, and prints it.
func (c *check) add(name string, state checkState, format string, args ...any) *finding {
	f := finding{Name: name, State: state, Text: fmt.Sprintf(format, args...)}
	c.found.Checks = append(c.found.Checks, f)
	if !c.json {
		fmt.Fprintf(c.stdout, "%s %-12s %s\n", checkSigns[state], name, f.Text)
	}
	return &c.found.Checks[len(c.found.Checks)-1]
}

// fail takes down that something a run needs is missing.
func (c *check) fail(name string, err error) {
	f := c.add(name, checkFailed, "%v", err)
	if f.Hint = hint(err); f.Hint != "" && !c.json {
		fmt.Fprintf(c.stdout, "  hint: %s\n", f.Hint)
	}
}

// all makes the checks, one after the other, as far as each lets the next one go on. Its error is an interruption, or
// something wrong with what was asked for.
func (c *check) all(ctx context.Context) error {
	defer c.thisClient()
	_, err := c.concurrencyCap()
	if err != nil {
		return err
	}
	if err := c.findEndpoint(); err != nil {
		return err
	}
	list, err := c.firstList(ctx)
	var failed *endpoint.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, endpoint.ErrNoModels):
		c.add("reachable", checkOK, "it answers, and lists no models")
	case errors.As(err, &failed) && (failed.Cause == endpoint.CauseUnauthorized ||
		failed.Cause == endpoint.CauseKeyRejected):
		c.add("reachable", checkOK, "it answers")
		c.fail("key", err)
		return nil
	case err != nil:
		c.fail("reachable", err)
		return nil
	default:
		c.models, c.wire = list.Models, list.Wire
		c.found.Models, c.found.RoundTripMS = list.Models, float64(list.Wire.RoundTrip.Nanoseconds())/1e6
	}
	metrics, metricsErr := c.metrics(ctx)
	c.model = c.spec.Endpoint.Model
	if c.model == "" && len(c.models) > 0 {
		c.model = c.models[0].ID
	}
	c.found.Model = c.model
	c.engine, c.engines = c.ask(ctx, metrics)
	c.found.Engine, c.found.Engines = c.engine, c.engines
	if err == nil {
		c.reachable()
	}
	if !c.checkModel() {
		return nil
	}
	c.key(ctx)
	if err := c.streaming(ctx); err != nil {
		return err
	}
	c.checkMetrics(ctx, metrics, metricsErr)
	return ctx.Err()
}

// reachable says what answered, and how far away it is.
func (c *check) reachable() {
	var parts []string
	if name := c.engine.String(); name != "" {
		parts = append(parts, name)
	}
	if d := c.wire.RoundTrip; d > 0 {
		away := num.Three(float64(d.Nanoseconds())/1e6) + " ms away"
		if c.wire.Proxy {
			away = "through a proxy " + away
		}
		parts = append(parts, away)
	}
	parts = append(parts, c.wire.Protocol)
	if c.wire.TLS == "" {
		parts = append(parts, "no TLS")
	} else {
		parts = append(parts, c.wire.TLS)
	}
	c.add("reachable", checkOK, "%s", strings.Join(parts, ", "))
}

// checkModel says which model is asked for, and whether requests fit into its context.
func (c *check) checkModel() bool {
	if c.model == "" {
		c.fail("model", withHint(endpoint.ErrNoModels, "name the model to ask for: --model"))
		return false
	}
	if len(c.models) == 0 {
		c.add("model", checkWarning, "%s; the endpoint lists no models, so that the name is not checked", c.model)
		return true
	}
	at := slices.IndexFunc(c.models, func(m endpoint.Model) bool { return m.ID == c.model })
	if at < 0 {
		c.fail("model", withHint(fmt.Errorf("it does not serve %q", c.model), "it serves "+names(c.models)))
		return false
	}
	text, adapters := c.model, 0
	for _, m := range c.models {
		if m.Parent != "" {
			adapters++
		}
	}
	length := c.models[at].Context
	if length == 0 {
		length = c.engine.MaxContext()
	}
	if length > 0 {
		text += ", context " + num.Thousands(length)
	}
	if adapters > 0 {
		text += fmt.Sprintf("; %d LoRA adapters listed", adapters)
	}
	if others := len(c.models) - adapters; others > 1 {
		text += fmt.Sprintf("; %d models listed", others)
	}
	if w := c.spec.Workload.Synthetic; w != nil && length > 0 && w.Prompt.Mean+w.Output.Mean > length {
		c.fail("model", withHint(fmt.Errorf("%s: %d and %d tokens do not fit", text, w.Prompt.Mean, w.Output.Mean),
			"ask for less with --prompt-tokens and --output-tokens"))
		return false
	}
	c.add("model", checkOK, "%s", text)
	return true
}

// key says whether a key is asked for.
func (c *check) key(ctx context.Context) {
	given := slices.ContainsFunc(c.spec.Endpoint.Headers, func(h endpoint.Header) bool {
		return strings.EqualFold(h.Name, "Authorization")
	})
	if !given {
		c.add("key", checkOK, "not asked for")
		return
	}
	asked, err := c.endpoint.AsksForKey(ctx)
	switch {
	case err != nil:
		c.add("key", checkOK, "accepted")
	case asked:
		c.add("key", checkOK, "asked for, and accepted")
	default:
		c.add("key", checkWarning, "given, and not asked for by the list of models")
	}
}

// streaming sends one request as the load would, and says how it is answered. Its error is an interruption.
func (c *check) streaming(ctx context.Context) error {
	items, err := c.openWork(ctx)
	if err != nil {
		return err
	}
	item := items[0] // check takes no mix
	trial, err := c.trial(ctx, &c.endpoint, item)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		c.fail("streaming", err)
	default:
		state, text := describeTrial(trial, item, c.spec.Workload)
		c.add("streaming", state, "%s", text)
	}
	return nil
}

// describeTrial says how a request was answered.
func describeTrial(trial *endpoint.Trial, item tokens.Item, w tokens.Spec) (checkState, string) {
	state := checkOK
	warn := func(text string) string { state = checkWarning; return text }
	var parts []string
	add := func(text string) { parts = append(parts, text) }
	lack := lackOf(trial, item, w)
	switch {
	case lack.stream:
		add(warn("it does not stream: no time to first token will be known"))
	case !trial.Streamed:
		add("not asked for")
	case trial.Ended && trial.OutputTokens > 0 && trial.OutputTokens != trial.Tokens:
		add(fmt.Sprintf("%s tokens an event", num.Three(float64(trial.OutputTokens)/float64(trial.Tokens))))
	case trial.Ended && trial.OutputTokens > 0:
		add("one token an event")
	default:
		add("it streams")
	}
	switch {
	case !trial.Ended:
		add("too long an answer to be followed to its end")
	case lack.usage:
		add(warn("no usage: output tokens will be token events"))
	case lack.length:
		add(warn(fmt.Sprintf("usage reported, %d tokens came of %d: ignore_eos is not honoured", trial.OutputTokens,
			item.OutputTokens)))
	case w.NoIgnoreEOS || item.OutputTokens <= 0:
		add("usage reported")
	default:
		add("usage reported, ignore_eos honoured")
	}
	if trial.TTFT > 0 {
		add("first token after " + num.Duration(num.RoundDuration(trial.TTFT)))
	}
	return state, strings.Join(parts, ", ")
}

// checkMetrics says what the engine's metrics are.
func (c *check) checkMetrics(ctx context.Context, all *enginemetrics.Sources, err error) {
	if err != nil {
		c.fail("metrics", err)
		return
	}
	if all == nil {
		if c.spec.Endpoint.Metrics.Off {
			c.add("metrics", checkOK, "not asked for (--server-metrics off)")
			return
		}
		c.add("metrics", checkWarning, "none at /metrics: the engine's queue and cache will not be known")
		return
	}
	for k, m := range all.All {
		info := c.engine
		if m.Name != "" {
			info = c.engines[k].Engine
		}
		where := "/metrics"
		if len(c.spec.Endpoint.Metrics.Sources) > 0 {
			where = describe(m)
		}
		series, err := m.Series(ctx)
		if err != nil { // one of several
			c.add("metrics", checkWarning, "%s: %v", m.Name, err)
			continue
		}
		var parts []string
		if n := info.MaxRunning(); n > 0 {
			parts = append(parts, "max_num_seqs "+num.Thousands(n))
		}
		if on, known := info.PrefixCaching(); known {
			parts = append(parts, "prefix caching "+map[bool]string{true: "on", false: "off"}[on])
		}
		text := fmt.Sprintf("%s: %s series", where, num.Thousands(series))
		if len(parts) > 0 {
			text += "; " + strings.Join(parts, ", ")
		}
		c.add("metrics", checkOK, "%s", text)
	}
}

// What a token costs this client, of one processor, and which share of the processors it may use and still be believed
// (docs/performance.md).
const (
	tokenCost   = 8.5 * float64(time.Microsecond)
	usableShare = 0.5
)

// mostRate is about how many requests a second of so many tokens a client offers: by its processors, and by the files
// that requests in flight take, where each is in flight for a second or two.
func mostRate(processors, files, tokens int) float64 {
	rate := usableShare * float64(processors) * float64(time.Second) / (tokenCost * float64(max(tokens, 1)))
	if files > 0 {
		rate = min(rate, float64(files)/2)
	}
	return rate
}

// thisClient says what this machine can offer.
func (c *check) thisClient() {
	files, known := openFileLimit()
	if !known {
		files = 0
	}
	output := 128
	if w := c.spec.Workload.Synthetic; w != nil {
		output = w.Output.Mean
	}
	processors := runtime.GOMAXPROCS(0)
	if c.sim != nil {
		processors-- // which the simulated engine was given
	}
	c.found.AboutMostRate = num.Digits(mostRate(processors, files, output), 2)
	parts := []string{num.Count(processors, "processor")}
	state := checkOK
	if known {
		parts = append(parts, num.Thousands(files)+" open files")
		if files < fewStreams {
			state = checkWarning
		}
	}
	c.add("this client", state, "%s: about %s req/s of %d tokens", strings.Join(parts, ", "),
		num.Thousands(int(c.found.AboutMostRate)), output)
}

// next is the command to go on with: the same flags, for a sweep.
func (c *check) next() string {
	words := []string{"openloop", "sweep"}
	args := c.spec.Output.Command
	if len(args) > 2 {
		args = args[2:]
	}
	for _, arg := range args {
		if arg == "--json" || strings.HasPrefix(arg, "--json=") {
			continue
		}
		words = append(words, shell.Word(arg))
	}
	if !c.slo {
		words = append(words, "--slo", shell.Word("ttft:p95<250ms tpot:p95<50ms"))
	}
	return strings.Join(words, " ")
}
